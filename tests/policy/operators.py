"""The operators and functions of the condition language over Python values, as the CEL specification defines them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.policy.strict_json import I64_MAX, I64_MIN, U64_MAX, Uint

# Classes of errors. The engine's codes are finer; `tests.policy.engine` maps each to its class.
MISSING = "missing"  # a field, key, index or variable that is not there
TYPE = "type"  # an operand of the wrong type, or a condition that gives no bool
JSON = "json"  # a value or arguments that are not acceptable JSON
ARITHMETIC = "arithmetic"  # overflow, division by zero, a conversion that does not fit


class ConditionError(Exception):
    """An evaluation failed.

    `classes` holds every class that an implementation may report: where two operands fail, CEL leaves open which
    failure is seen.
    """

    def __init__(self, *classes: str) -> None:
        super().__init__(", ".join(classes))
        self.classes = frozenset(classes)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in an environment for a field whose reading is an error."""

    error: str


NUMERIC = (int, Uint, float)


KINDS: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
}


def kind(value: Any) -> str:
    """The CEL type of a Python value."""
    return KINDS[type(value)]


def equal(left: Any, right: Any) -> bool:
    """`==`: numbers compare over one number line, other types only with their own; different types are unequal."""
    if type(left) in NUMERIC and type(right) in NUMERIC:
        return bool(left == right)
    if kind(left) != kind(right):
        return False
    if type(left) is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if type(left) is dict:
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    return bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        numeric = type(left) in NUMERIC and type(right) in NUMERIC
        if not numeric and (kind(left) != kind(right) or kind(left) not in ("bool", "string", "bytes")):
            raise ConditionError(TYPE)
        return compare(left, right)

    return ordered


def _in(element: Any, container: Any) -> bool:
    if type(container) not in (list, dict):
        raise ConditionError(TYPE)
    if type(container) is dict and type(element) not in (*NUMERIC, bool, str):
        # Implementations of CEL differ here; what can be no key is refused, so that a mistake shows.
        raise ConditionError(TYPE)
    return any(equal(element, item) for item in container)


def _fit(value: int, kind_of: type) -> int:
    low, high = (0, U64_MAX) if kind_of is Uint else (I64_MIN, I64_MAX)
    if not low <= value <= high:
        raise ConditionError(ARITHMETIC)
    return Uint(value) if kind_of is Uint else int(value)


def _arithmetic(whole: Callable[[int, int], int], real: Callable[[float, float], float] | None) -> Callable[..., Any]:
    def apply(left: Any, right: Any) -> Any:
        if type(left) is not type(right):
            raise ConditionError(TYPE)
        if type(left) in (int, Uint):
            return _fit(whole(int(left), int(right)), type(left))
        if type(left) is float and real is not None:
            return real(left, right)
        raise ConditionError(TYPE)

    return apply


def _add(left: Any, right: Any) -> Any:
    if type(left) is type(right) and type(left) in (str, bytes, list):
        return left + right
    return _arithmetic(operator.add, operator.add)(left, right)


def _truncated(left: int, right: int) -> int:
    if right == 0:
        raise ConditionError(ARITHMETIC)
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    if right == -1:
        _fit(-left, int)  # The quotient of the least int does not fit, and its remainder errs with it, as in cel-go.
    return left - right * _truncated(left, right)


def _divided(left: float, right: float) -> float:
    if right == 0:
        return float("nan") if left == 0 else float("inf") * left
    return left / right


def negated(value: Any) -> Any:
    if type(value) is int:
        return _fit(-value, int)
    if type(value) is float:
        return -value
    raise ConditionError(TYPE)


def _size(value: Any) -> int:
    if type(value) not in (str, bytes, list, dict):
        raise ConditionError(TYPE)
    return len(value)


def _matches(subject: str, pattern: str) -> bool:
    # The generator's patterns mean the same to a linear-time engine and to `re`, but for `$`.
    return re.search(pattern.replace("$", r"\Z"), subject) is not None


def method_of_string(method: str, operands: list[Any]) -> Any:
    if method == "size":
        return _size(operands[0])
    if any(type(operand) is not str for operand in operands):
        raise ConditionError(TYPE)
    return STRING_METHODS[method](*operands)


def _to_int(value: Any) -> Any:
    if type(value) in (int, Uint):
        return _fit(int(value), int)
    if type(value) is float:
        if math.isnan(value) or math.isinf(value):
            raise ConditionError(ARITHMETIC)
        return _fit(math.trunc(value), int)
    return _parsed(value, r"[+-]?[0-9]+", lambda text: _fit(int(text), int))


def _to_uint(value: Any) -> Any:
    if type(value) in (int, Uint):
        return _fit(int(value), Uint)
    if type(value) is float:
        if math.isnan(value) or math.isinf(value) or value < 0:
            raise ConditionError(ARITHMETIC)
        return _fit(math.trunc(value), Uint)
    return _parsed(value, r"[+]?[0-9]+", lambda text: _fit(int(text), Uint))


def _to_double(value: Any) -> Any:
    if type(value) in NUMERIC:
        return float(value)
    return _parsed(value, r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?", float)


def _parsed(value: Any, form: str, convert: Callable[[str], Any]) -> Any:
    if type(value) is not str:
        raise ConditionError(TYPE)
    if not re.fullmatch(form, value):
        raise ConditionError(ARITHMETIC)
    return convert(value)


STRING_METHODS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda subject, part: part in subject,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "matches": _matches,
}
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "size": _size,
    "int": _to_int,
    "uint": _to_uint,
    "double": _to_double,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": _in,
    "+": _add,
    "-": _arithmetic(operator.sub, operator.sub),
    "*": _arithmetic(operator.mul, operator.mul),
    "/": _arithmetic(_truncated, _divided),
    "%": _arithmetic(_remainder, None),
}

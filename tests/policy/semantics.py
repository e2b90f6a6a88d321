"""What an expression tree means: the CEL specification, spelled out over Python values.

Written for reading, not for speed: https://github.com/google/cel-spec/blob/master/doc/langdef.md, sections
"Evaluation", "Logical operators", "Equality", "Ordering" and "Macros".
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.policy.expressions import (
    Binary,
    Call,
    Field,
    Has,
    Index,
    ListOf,
    Lit,
    Method,
    Name,
    Negate,
    Node,
    Not,
    Quantifier,
    Ternary,
)
from tests.policy.strict_json import I64_MAX, I64_MIN, U64_MAX, Uint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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


def kind(value: Any) -> str:
    """The CEL type of a Python value."""
    names: dict[type, str] = {
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
    return names[type(value)]


def condition(node: Node, environment: Mapping[str, Any]) -> bool:
    """Whether a condition holds.

    Raises:
        ConditionError: its final result is an error or not a bool.
    """
    result = evaluate(node, environment)
    if type(result) is not bool:
        raise ConditionError(TYPE)
    return result


def evaluate(node: Node, environment: Mapping[str, Any]) -> Any:  # noqa: C901 - one arm for each kind of node
    """The value of `node`.

    Raises:
        ConditionError: the value is an error.
    """
    match node:
        case Lit(value):
            return value
        case Name(name):
            return _readable(_lookup(environment, name))
        case Field(of, name):
            return _field(evaluate(of, environment), name)
        case Has(of, name):
            return _has(evaluate(of, environment), name)
        case Index(of, at):
            return _index(*_operands(of, at, environment))
        case Not(of):
            return not _bool(evaluate(of, environment))
        case Negate(of):
            return _negate(evaluate(of, environment))
        case Binary("&&" | "||" as op, left, right):
            terms = [partial(evaluate, operand, environment) for operand in (left, right)]
            return _fold(terms, decisive=op == "||")
        case Binary(op, left, right):
            return BINARY[op](*_operands(left, right, environment))
        case Ternary(test, then, otherwise):
            return evaluate(then if _bool(evaluate(test, environment)) else otherwise, environment)
        case Call(function, argument):
            return FUNCTIONS[function](evaluate(argument, environment))
        case Method(method, of, arguments):
            return _method(method, _values([of, *arguments], environment))
        case ListOf(items):
            return _values(items, environment)
        case Quantifier(macro, over, variable, test):
            return _quantifier(macro, evaluate(over, environment), variable, test, environment)
    raise TypeError(f"not an expression: {node!r}")


def _values(nodes: Any, environment: Mapping[str, Any]) -> list[Any]:
    """All operands of a strict function; any error is the function's error."""
    values: list[Any] = []
    classes: set[str] = set()
    for node in nodes:
        try:
            values.append(evaluate(node, environment))
        except ConditionError as error:
            classes |= error.classes
    if classes:
        raise ConditionError(*classes)
    return values


def _operands(left: Node, right: Node, environment: Mapping[str, Any]) -> list[Any]:
    return _values([left, right], environment)


def _fold(terms: Iterable[Callable[[], Any]], *, decisive: bool) -> bool:
    """`||` (decisive true) and `&&` (decisive false) over any number of terms.

    One decisive term decides, whatever the others are; without one, any error is the result.
    """
    classes: set[str] = set()
    for term in terms:
        try:
            if _bool(term()) is decisive:
                return decisive
        except ConditionError as error:
            classes |= error.classes
    if classes:
        raise ConditionError(*classes)
    return not decisive


def _quantifier(macro: str, over: Any, variable: str, test: Node, environment: Mapping[str, Any]) -> bool:
    if type(over) not in (list, dict):
        raise ConditionError(TYPE)
    terms = [partial(evaluate, test, {**environment, variable: element}) for element in over]
    if macro in ("all", "exists"):
        return _fold(terms, decisive=macro == "exists")
    # exists_one absorbs nothing: the count needs every term.
    classes: set[str] = set()
    count = 0
    for term in terms:
        try:
            count += _bool(term())
        except ConditionError as error:
            classes |= error.classes
    if classes:
        raise ConditionError(*classes)
    return count == 1


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ConditionError(TYPE)
    return value


def _lookup(environment: Mapping[str, Any], name: str) -> Any:
    if name not in environment:
        raise ConditionError(MISSING)
    return environment[name]


def _readable(value: Any) -> Any:
    if isinstance(value, Unreadable):
        raise ConditionError(value.error)
    return value


def _field(of: Any, name: str) -> Any:
    if type(of) is not dict:
        raise ConditionError(TYPE)
    if name not in of:
        raise ConditionError(MISSING)
    return _readable(of[name])


def _has(of: Any, name: str) -> bool:
    if type(of) is not dict:
        raise ConditionError(TYPE)
    return name in of


def _index(of: Any, at: Any) -> Any:
    if type(of) is dict:
        for key, value in of.items():
            if equal(key, at):
                return _readable(value)
        # Whether a key of another type is a missing key or a type error is left open.
        raise ConditionError(MISSING) if type(at) is str else ConditionError(MISSING, TYPE)
    if type(of) is list:
        if type(at) not in NUMERIC or at != int(at):
            raise ConditionError(TYPE)
        if not 0 <= at < len(of):
            raise ConditionError(MISSING)
        return of[int(at)]
    raise ConditionError(TYPE)


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
    return left - right * _truncated(left, right)


def _divided(left: float, right: float) -> float:
    if right == 0:
        return float("nan") if left == 0 else float("inf") * left
    return left / right


def _negate(value: Any) -> Any:
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


def _method(method: str, operands: list[Any]) -> Any:
    if method == "size":
        return _size(operands[0])
    if any(type(operand) is not str for operand in operands):
        raise ConditionError(TYPE)
    return STRING_METHODS[method](*operands)


STRING_METHODS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda subject, part: part in subject,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "matches": _matches,
}
FUNCTIONS: dict[str, Callable[[Any], Any]] = {"size": _size}
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

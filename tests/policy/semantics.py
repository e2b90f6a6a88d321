"""What an expression tree means: the CEL specification, spelled out over Python values.

Written for reading, not for speed: https://github.com/google/cel-spec/blob/master/doc/langdef.md, sections
"Evaluation", "Logical operators", "Equality", "Ordering" and "Macros".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tests.policy.expressions import (
    Binary,
    Call,
    Comprehension,
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
from tests.policy.operators import (
    BINARY,
    FUNCTIONS,
    MISSING,
    NUMERIC,
    TYPE,
    ConditionError,
    Unreadable,
    equal,
    method_of_string,
    negated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


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
            return negated(evaluate(of, environment))
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
            return method_of_string(method, _values([of, *arguments], environment))
        case ListOf(items):
            return _values(items, environment)
        case Comprehension(macro, over, variable, body):
            return _comprehension(macro, evaluate(over, environment), variable, body, environment)
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


def _comprehension(macro: str, over: Any, variable: str, body: Node, environment: Mapping[str, Any]) -> list[Any]:
    """`map` and `filter`: lists, so an error of any element is an error of the whole."""
    if type(over) not in (list, dict):
        raise ConditionError(TYPE)
    found: list[Any] = []
    classes: set[str] = set()
    for element in over:
        try:
            value = evaluate(body, {**environment, variable: element})
            if macro == "map":
                found.append(value)
            elif _bool(value):
                found.append(element)
        except ConditionError as error:
            classes |= error.classes
    if classes:
        raise ConditionError(*classes)
    return found


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

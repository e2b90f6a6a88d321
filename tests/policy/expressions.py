"""Expression trees of the condition language and their text.

The generator builds trees; `text` renders one with only the parentheses that precedence asks for, and
`tests.policy.semantics` evaluates the tree itself. So the engine parses text and the reference never does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.policy.strict_json import Uint

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Words that the CEL grammar keeps for itself: not usable after a dot.
RESERVED = frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    }
)
# Binding strength of the binary operators, weakest first; a ternary is weaker than all of them.
LEVELS = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(["<", "<=", ">", ">=", "==", "!=", "in"], 3),
    **dict.fromkeys(["+", "-"], 4),
    **dict.fromkeys(["*", "/", "%"], 5),
}
UNARY_LEVEL = 6
PRIMARY_LEVEL = 7


class Node:
    """One node of a tree."""


def path(dotted: str) -> Node:
    """The node for a dotted name: `path("event.value.amount")`."""
    first, *rest = dotted.split(".")
    node: Node = Name(first)
    for name in rest:
        node = Field(node, name)
    return node


@dataclass(frozen=True, slots=True)
class Lit(Node):
    """A constant: None, bool, int, `Uint`, float, str or bytes."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable: one of the environment's, or one that a comprehension binds."""

    name: str


@dataclass(frozen=True, slots=True)
class Field(Node):
    """`of.name`, written `of["name"]` where the name is no identifier."""

    of: Node
    name: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`of[at]`."""

    of: Node
    at: Node


@dataclass(frozen=True, slots=True)
class Has(Node):
    """`has(of.name)`; the name is always an identifier."""

    of: Node
    name: str


@dataclass(frozen=True, slots=True)
class Not(Node):
    """`!of`."""

    of: Node


@dataclass(frozen=True, slots=True)
class Negate(Node):
    """`-of`."""

    of: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`left op right` for every operator in `LEVELS`."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Ternary(Node):
    """`test ? then : otherwise`."""

    test: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A global function: `size(x)`, `int(x)`, …."""

    function: str
    argument: Node


@dataclass(frozen=True, slots=True)
class Method(Node):
    """`of.method(arguments)`: `contains`, `startsWith`, `endsWith`, `matches`, `size`."""

    method: str
    of: Node
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """`over.filter(variable, body)`, or `map`: a list."""

    macro: str
    over: Node
    variable: str
    body: Node


@dataclass(frozen=True, slots=True)
class Quantifier(Node):
    """`over.all(variable, test)`, `exists` or `exists_one`."""

    macro: str
    over: Node
    variable: str
    test: Node


def text(node: Node) -> str:
    """The CEL text of `node`."""
    return _render(node)[0]


def _render(node: Node) -> tuple[str, int]:  # noqa: C901 - one arm for each kind of node
    """Text and binding strength of `node`."""
    match node:
        case Lit(value):
            return literal(value), UNARY_LEVEL if isinstance(value, int | float) and value < 0 else PRIMARY_LEVEL
        case Name(name):
            return name, PRIMARY_LEVEL
        case Field(of, name):
            if IDENTIFIER.match(name) and name not in RESERVED:
                return f"{_at(of, PRIMARY_LEVEL)}.{name}", PRIMARY_LEVEL
            return f"{_at(of, PRIMARY_LEVEL)}[{literal(name)}]", PRIMARY_LEVEL
        case Index(of, at):
            return f"{_at(of, PRIMARY_LEVEL)}[{text(at)}]", PRIMARY_LEVEL
        case Has(of, name):
            return f"has({_at(of, PRIMARY_LEVEL)}.{name})", PRIMARY_LEVEL
        case Not(of):
            return f"!{_at(of, PRIMARY_LEVEL)}", UNARY_LEVEL
        case Negate(of):
            return f"-{_at(of, PRIMARY_LEVEL)}", UNARY_LEVEL
        case Binary(op, left, right):
            level = LEVELS[op]
            return f"{_at(left, level)} {op} {_at(right, level + 1)}", level
        case Ternary(test, then, otherwise):
            return f"{_at(test, 1)} ? {_at(then, 1)} : {_at(otherwise, 0)}", 0
        case _:
            return _render_call(node), PRIMARY_LEVEL


def _render_call(node: Node) -> str:
    match node:
        case Call(function, argument):
            return f"{function}({text(argument)})"
        case Method(method, of, arguments):
            return f"{_at(of, PRIMARY_LEVEL)}.{method}({', '.join(map(text, arguments))})"
        case ListOf(items):
            return f"[{', '.join(map(text, items))}]"
        case Quantifier(macro, over, variable, test) | Comprehension(macro, over, variable, test):
            return f"{_at(over, PRIMARY_LEVEL)}.{macro}({variable}, {text(test)})"
    raise TypeError(f"not an expression: {node!r}")


def _at(node: Node, level: int) -> str:
    """The text of `node` where at least binding strength `level` is needed."""
    rendered, own = _render(node)
    return rendered if own >= level else f"({rendered})"


def literal(value: Any) -> str:
    """The CEL literal of a constant."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Uint():
            return f"{int(value)}u"
        case float():
            return repr(value)
        case int():
            return str(value)
        case bytes():
            return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
        case str():
            return '"' + "".join(map(_escape, value)) + '"'
    raise TypeError(f"no literal for {value!r}")


def _escape(character: str) -> str:
    simple = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if character in simple:
        return simple[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    return character


def children(node: Node) -> tuple[Node, ...]:
    """The operands of `node`, in order."""
    match node:
        case Field(of) | Has(of) | Not(of) | Negate(of):
            return (of,)
        case Index(left, right) | Binary(_, left, right):
            return (left, right)
        case Ternary(test, then, otherwise):
            return (test, then, otherwise)
        case Call(_, argument):
            return (argument,)
        case Method(_, of, arguments):
            return (of, *arguments)
        case ListOf(items):
            return items
        case Quantifier(_, over, _, test) | Comprehension(_, over, _, test):
            return (over, test)
        case _:
            return ()

"""Seeded generation of condition trees over the environment of a boundary.

Most trees are well typed and read fields that the generated records have, so that conditions hold, fail and decide;
the rest mix types, read what is not there, and divide by zero. Constants come from the same small pools as the
records' values, so that comparisons meet their boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from tests.policy.strict_json import Uint

if TYPE_CHECKING:
    from random import Random

INTEGERS = (-1, 0, 1, 2, 3, 999, 1000, 1001, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
UNSIGNED = (Uint(0), Uint(1), Uint(1000), Uint(2**63), Uint(2**64 - 1))
REALS = (0.0, 1.0, -0.5, 1.5, 1000.0, 1000.5, 9007199254740992.0, 9.223372036854775807e18, 1e308, -1e-7)
STRINGS = (
    "",
    "7",
    "-1.5",
    "1e3",
    "EUR",
    "eur",
    "orders",
    "gold",
    "gold-1",
    "user-17",
    "ünï",
    "日本",
    "😀",
    "a\nb",
    'q"\\',
    "x" * 40,
)
PATTERNS = ("^EUR$", "^[a-z]+$", "gold", "^user-[0-9]+$", "o.d", "(EUR|eur)", "^$", "[^a-z]", "r{1,2}s?$", "^.{2}$")
# What a record's JSON object usually holds.
NUMBER_FIELDS = ("amount", "count", "price")
STRING_FIELDS = ("currency", "note", "x-id")
LIST_FIELDS = ("items", "tags")
BOOL_FIELDS = ("vip",)
ALL_FIELDS = (*NUMBER_FIELDS, *STRING_FIELDS, *LIST_FIELDS, *BOOL_FIELDS, "customer", "nothing", "missing")
HEADERS = ("trace", "X-Tenant", "empty")
ATTRIBUTES = ("region", "level", "teams", "missing")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where in a tree the generator is: how much deeper it may go, and which variables comprehensions have bound."""

    depth: int
    variables: tuple[str, ...] = ()

    def deeper(self) -> Surroundings:
        return replace(self, depth=self.depth - 1)


class ConditionGenerator:
    """Makes condition trees from a random source."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.focus = "event"

    def condition(self) -> Node:
        """A whole condition, mostly about one document; now and then one that cannot give a bool."""
        self.focus = self.random.choices(("event", "arguments", "output"), (6, 2, 2))[0]
        where = Surroundings(depth=self.random.choice((1, 2, 2, 3, 4)))
        if self.random.random() < 0.03:
            return self.anything(where)
        return self.boolean(where)

    # -- by wished type ----------------------------------------------------------------------------------------------

    def boolean(self, where: Surroundings) -> Node:
        if where.depth <= 0:
            return self._leaf_boolean(where)
        makers = (
            (self._connective, 5),
            (self._comparison, 7),
            (self._equality, 4),
            (self._membership, 3),
            (self._string_test, 4),
            (self._presence, 3),
            (self._negation, 2),
            (self._ternary_boolean, 1),
            (self._quantifier, 3),
            (self._leaf_boolean, 1),
        )
        make = self.random.choices([maker for maker, _ in makers], [weight for _, weight in makers])[0]
        return make(where)

    def number(self, where: Surroundings) -> Node:
        choice = self.random.random()
        if where.depth <= 0 or choice < 0.6:
            return self._leaf_number(where)
        deeper = where.deeper()
        if choice < 0.8:
            operator = self.random.choice("+-*/%")
            return Binary(operator, self._leaf_number(deeper), self._leaf_number(deeper))
        if choice < 0.9:
            sized = self.random.choice((self.string, self.listing))(deeper)
            return Call("size", sized) if self.random.random() < 0.7 else Method("size", sized, ())
        if choice < 0.93:
            return Negate(self._leaf_number(deeper))
        if choice < 0.97:
            converted = self.random.choice((self._leaf_number, self.string, self.anything))(deeper)
            return Call(self.random.choice(("int", "uint", "double")), converted)
        return Ternary(self.boolean(deeper), self._leaf_number(deeper), self._leaf_number(deeper))

    def string(self, where: Surroundings) -> Node:
        choice = self.random.random()
        if choice < 0.3:
            return Lit(self.random.choice(STRINGS))
        if choice < 0.4:
            return self.random.choice((Name("scope"), Name("kind"), Field(Name("identity"), "name")))
        if choice < 0.5:
            return self._header()
        if choice < 0.6:
            return Field(self._record(), "topic")
        if choice < 0.65 and not where.variables and where.depth > 0:
            return Binary("+", self.string(where.deeper()), self.string(where.deeper()))
        if choice < 0.7 and where.variables:
            return Name(self.random.choice(where.variables))
        return self._json_field(STRING_FIELDS)

    def listing(self, where: Surroundings) -> Node:
        choice = self.random.random()
        if choice < 0.3 and not where.variables:
            return ListOf(tuple(self._constant() for _ in range(self.random.randrange(4))))
        if choice < 0.45:
            return self._attribute(("teams",))
        if choice < 0.5:
            return self._json_field(("customer",))
        if choice < 0.6 and where.depth > 0 and not where.variables:
            return self._comprehension(where)
        return self._json_field(LIST_FIELDS)

    def _comprehension(self, where: Surroundings) -> Node:
        inside = Surroundings(min(where.depth - 1, 1), ("item",))
        if self.random.random() < 0.6:
            return Comprehension("filter", self._json_field(LIST_FIELDS), "item", self._about_variable(inside))
        body = self.random.choice((self._about_variable(inside), Field(Name("item"), "price"), Name("item")))
        return Comprehension("map", self._json_field(LIST_FIELDS), "item", body)

    def anything(self, where: Surroundings) -> Node:
        makers = (self.number, self.string, self.listing, self._any_field, lambda _: self._constant())
        return self.random.choice(makers)(where)

    # -- booleans ----------------------------------------------------------------------------------------------------

    def _leaf_boolean(self, where: Surroundings) -> Node:
        if self.random.random() < 0.3:
            return Lit(self.random.random() < 0.5)
        if self.random.random() < 0.1:
            return self._any_field(where)
        return self._json_field(BOOL_FIELDS)

    def _connective(self, where: Surroundings) -> Node:
        deeper = where.deeper()
        return Binary(self.random.choice(("&&", "||")), self.boolean(deeper), self.boolean(deeper))

    def _comparison(self, where: Surroundings) -> Node:
        deeper = where.deeper()
        operator = self.random.choice(("<", "<=", ">", ">="))
        make = self.random.choices((self.number, self.string, self.anything), (8, 2, 1))[0]
        other = self.anything if self.random.random() < 0.05 else make
        return Binary(operator, make(deeper), other(deeper))

    def _equality(self, where: Surroundings) -> Node:
        deeper = where.deeper()
        operator = self.random.choice(("==", "!="))
        make = self.random.choices((self.number, self.string, self.listing, self.anything), (4, 4, 1, 3))[0]
        right = self._constant() if self.random.random() < 0.6 else make(deeper)
        return Binary(operator, make(deeper), right)

    def _membership(self, where: Surroundings) -> Node:
        deeper = where.deeper()
        element = self.random.choice((self.string, self.number, self.anything))(deeper)
        return Binary("in", element, self.listing(deeper))

    def _string_test(self, where: Surroundings) -> Node:
        deeper = where.deeper()
        method = self.random.choice(("contains", "startsWith", "endsWith", "matches"))
        subject = self.anything(deeper) if self.random.random() < 0.05 else self.string(deeper)
        argument = Lit(self.random.choice(PATTERNS)) if method == "matches" else self.string(deeper)
        return Method(method, subject, (argument,))

    def _presence(self, _: Surroundings) -> Node:
        choice = self.random.random()
        if choice < 0.5:
            field = self.random.choice([name for name in ALL_FIELDS if "-" not in name])
            return Has(self._document(), field)
        if choice < 0.65:
            return Has(Field(self._document(), "customer"), self.random.choice(("tier", "missing")))
        if choice < 0.8:
            return Has(Field(Name("identity"), "attributes"), self.random.choice(ATTRIBUTES))
        return Has(Field(self._record(), "headers"), self.random.choice(("trace", "empty", "missing")))

    def _negation(self, where: Surroundings) -> Node:
        return Not(self.boolean(where.deeper()))

    def _ternary_boolean(self, where: Surroundings) -> Node:
        deeper = where.deeper()
        return Ternary(self.boolean(deeper), self.boolean(deeper), self.boolean(deeper))

    def _quantifier(self, where: Surroundings) -> Node:
        if len(where.variables) >= 2:
            return self._leaf_boolean(where)
        variable = ("item", "other")[len(where.variables)]
        inside = Surroundings(min(where.depth - 1, 2), (*where.variables, variable))
        return Quantifier(
            self.random.choice(("all", "exists", "all", "exists", "exists_one")),
            self.listing(where.deeper()),
            variable,
            self._about_variable(inside) if self.random.random() < 0.7 else self.boolean(inside),
        )

    def _about_variable(self, where: Surroundings) -> Node:
        variable = Name(where.variables[-1])
        subject = self.random.choices((variable, Field(variable, "price"), Field(variable, "sku")), (6, 3, 1))[0]
        operator = self.random.choice(("<", ">", "==", "!=", "=="))
        about = Binary(operator, subject, self._constant())
        if where.depth <= 0 or self.random.random() < 0.5:
            return about
        return Binary(self.random.choice(("&&", "||")), about, self.boolean(where.deeper()))

    # -- leaves ------------------------------------------------------------------------------------------------------

    def _constant(self) -> Node:
        pool = self.random.choices((INTEGERS, STRINGS, REALS, UNSIGNED, (True, False), (None,)), (6, 6, 2, 2, 1, 1))[0]
        return Lit(self.random.choice(pool))

    def _leaf_number(self, where: Surroundings) -> Node:
        choice = self.random.random()
        if choice < 0.3:
            pool = self.random.choices((INTEGERS, REALS, UNSIGNED), (6, 2, 2))[0]
            return Lit(self.random.choice(pool))
        if choice < 0.4:
            return Field(Name("event"), self.random.choice(("partition", "offset", "timestamp", "size")))
        if choice < 0.42:
            return Name("now")
        if choice < 0.5:
            return self._attribute(("level",))
        if choice < 0.55 and where.variables:
            return Name(self.random.choice(where.variables))
        if choice < 0.6:
            return Index(self._json_field(("items",)), Lit(self.random.choice((0, 1, 5, -1))))
        return self._json_field(NUMBER_FIELDS)

    def _record(self) -> Node:
        return Name("output" if self.focus == "output" and self.random.random() < 0.7 else "event")

    def _document(self) -> Node:
        """An expression for a JSON document: the value of a record, or a tool's arguments."""
        focus = self.focus if self.random.random() < 0.9 else self.random.choice(("event", "arguments", "output"))
        return Name("arguments") if focus == "arguments" else Field(Name(focus), "value")

    def _json_field(self, names: tuple[str, ...]) -> Node:
        name = self.random.choice(names)
        document = self._document()
        if self.random.random() < 0.1:
            return Field(Field(document, "customer"), self.random.choice(("tier", "vip", "score")))
        if self.random.random() < 0.05:
            return Index(document, Lit(name))
        return Field(document, name)

    def _any_field(self, _: Surroundings) -> Node:
        choice = self.random.random()
        if choice < 0.7:
            return Field(self._document(), self.random.choice(ALL_FIELDS))
        if choice < 0.85:
            return self._attribute(ATTRIBUTES)
        return self.random.choice((self._header(), Name("tool"), Field(self._record(), "key"), self._document()))

    def _header(self) -> Node:
        return Field(Field(self._record(), "headers"), self.random.choice((*HEADERS, "missing")))

    def _attribute(self, names: tuple[str, ...]) -> Node:
        return Field(Field(Name("identity"), "attributes"), self.random.choice(names))


def usual_document(random: Random) -> dict[str, Any]:
    """A JSON object with most of the usual fields, of mostly the usual types."""

    def odd(usual: Any) -> Any:
        if random.random() < 0.92:
            return usual
        return random.choice((None, True, 7, 1.5, "EUR", [], {}, [1], {"tier": 1}))

    numbers = (*INTEGERS, *(int(value) for value in UNSIGNED), *(value for value in REALS if value != 1e308))
    fields: dict[str, Any] = {name: odd(random.choice(numbers)) for name in NUMBER_FIELDS}
    fields |= {name: odd(random.choice(STRINGS)) for name in STRING_FIELDS}
    fields["items"] = odd(
        random.choice(
            (
                [],
                [1, 2, 3],
                [random.choice(numbers) for _ in range(3)],
                [{"price": random.choice(numbers), "sku": random.choice(STRINGS)} for _ in range(2)],
                [1, "EUR", None],
            )
        )
    )
    fields["tags"] = odd([random.choice(STRINGS) for _ in range(random.randrange(4))])
    fields["vip"] = odd(random.random() < 0.5)
    fields["customer"] = odd({"tier": random.choice(STRINGS), "vip": True, "score": random.choice(numbers)})
    fields["nothing"] = None
    return {name: value for name, value in fields.items() if random.random() < 0.93}

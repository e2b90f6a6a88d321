"""Named conditions over one event: those that hold, and those that err, with the class of the error."""

from __future__ import annotations

from tests.policy import operators
from tests.policy.expressions import (
    Binary,
    Call,
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
    path,
)
from tests.policy.strict_json import Uint

SCOPE = "events:consume:orders"
HOLDS = Lit(value=True)
FAILS = Lit(value=False)
ERRS = Binary("==", path("event.value.missing"), Lit(1))
VALUE = (
    b'{"amount": 1500, "price": 2.5, "big": 18446744073709551615, "name": "d\xc3\xa9j\xc3\xa0", "vip": true,'
    b' "nothing": null, "tags": ["a", "b"], "items": [{"price": 5}, {"price": 50}], "customer": {"tier": "gold"}}'
)
amount, name, tags = path("event.value.amount"), path("event.value.name"), path("event.value.tags")
missing, items = path("event.value.missing"), path("event.value.items")
item = Name("item")
TRUTHS: tuple[tuple[str, Node], ...] = (
    ("or absorbs an error on its left", Binary("||", ERRS, HOLDS)),
    ("or absorbs an error on its right", Binary("||", HOLDS, ERRS)),
    ("and absorbs an error on its left", Not(Binary("&&", ERRS, FAILS))),
    ("and absorbs an error on its right", Not(Binary("&&", FAILS, ERRS))),
    ("and absorbs an operand of the wrong type", Not(Binary("&&", Lit("horses"), FAILS))),
    ("a ternary evaluates one branch only", Ternary(HOLDS, HOLDS, ERRS)),
    ("an int compares with a double", Binary("==", amount, Lit(1500.0))),
    ("an int compares with a uint", Binary("<", amount, Lit(Uint(1501)))),
    ("a negative int is less than a uint", Binary("<", Lit(-1), Lit(Uint(0)))),
    ("a json integer above i64 is a uint", Binary("==", path("event.value.big"), Lit(Uint(2**64 - 1)))),
    ("an int beyond 2^53 is not rounded to compare", Binary("!=", Lit(2**53 + 1), Lit(9007199254740992.0))),
    ("values of different types are unequal", Binary("!=", amount, Lit("1500"))),
    ("null equals null", Binary("==", path("event.value.nothing"), Lit(None))),
    ("null is not zero", Binary("!=", path("event.value.nothing"), Lit(0))),
    ("a null field is there", Has(path("event.value"), "nothing")),
    ("has of a missing field is false", Not(Has(path("event.value"), "missing"))),
    ("an element is in a list", Binary("in", Lit("a"), tags)),
    ("in compares numbers across types", Binary("in", Lit(1500.0), ListOf((amount,)))),
    ("a key is in a map", Binary("in", Lit("tier"), path("event.value.customer"))),
    ("size of a string counts code points", Binary("==", Call("size", name), Lit(4))),
    ("size as a method", Binary("==", Method("size", tags, ()), Lit(2))),
    ("event.size counts bytes", Binary("==", path("event.size"), Lit(len(VALUE)))),
    ("contains", Method("contains", name, (Lit("éj"),))),
    ("startsWith the empty string", Method("startsWith", name, (Lit(""),))),
    ("endsWith", Method("endsWith", name, (Lit("à"),))),
    ("matches searches", Method("matches", name, (Lit("j"),))),
    ("matches is anchored on request", Not(Method("matches", name, (Lit("^j"),)))),
    ("strings order by code point", Binary("<", Lit("Z"), Lit("a"))),
    ("false orders before true", Binary("<", FAILS, HOLDS)),
    ("an index into a list", Binary("==", Index(tags, Lit(1)), Lit("b"))),
    ("an index into a map", Binary("==", Index(path("event.value"), Lit("amount")), Lit(1500))),
    ("a header", Binary("==", path("event.headers.trace"), Lit("t-1"))),
    ("division truncates towards zero", Binary("==", Binary("/", Lit(-7), Lit(2)), Lit(-3))),
    ("remainder takes the sign of the dividend", Binary("==", Binary("%", Lit(-7), Lit(2)), Lit(-1))),
    ("exists", Quantifier("exists", items, "item", Binary(">", path("item.price"), Lit(10)))),
    ("all", Quantifier("all", items, "item", Binary(">", path("item.price"), Lit(1)))),
    ("exists_one", Quantifier("exists_one", items, "item", Binary(">", path("item.price"), Lit(10)))),
    ("all over nothing holds", Quantifier("all", ListOf(()), "item", FAILS)),
    ("exists absorbs errors", Quantifier("exists", ListOf((Lit("x"), Lit(2))), "item", Binary(">", item, Lit(1)))),
    ("all absorbs errors", Not(Quantifier("all", ListOf((Lit("x"), Lit(0))), "item", Binary(">", item, Lit(1))))),
    ("a comprehension over a map takes its keys", Quantifier("exists", path("event.value"), "item",
                                                              Binary("==", item, Lit("vip")))),
    ("identity.name", Binary("==", path("identity.name"), Lit("agent"))),
    ("identity.attributes", Binary("==", path("identity.attributes.region"), Lit("eu"))),
    ("scope, kind and now", Binary("&&", Binary("==", Name("scope"), Lit(SCOPE)),
                                   Binary("==", Name("kind"), Lit("consume")))),
)  # fmt: skip
FAILURES: tuple[tuple[str, Node, str], ...] = (
    ("a missing field", Binary("==", missing, Lit(1)), operators.MISSING),
    ("a field of a missing field", Has(missing, "x"), operators.MISSING),
    ("has of a field of a string", Has(name, "x"), operators.TYPE),
    ("an error that and cannot absorb", Binary("&&", HOLDS, ERRS), operators.MISSING),
    ("an error that or cannot absorb", Binary("||", FAILS, ERRS), operators.MISSING),
    ("a ternary whose test errs", Ternary(ERRS, HOLDS, HOLDS), operators.MISSING),
    ("a ternary whose test is no bool", Ternary(amount, HOLDS, HOLDS), operators.TYPE),
    ("not of a number", Not(amount), operators.TYPE),
    ("ordering a string and a number", Binary("<", name, Lit(1)), operators.TYPE),
    ("ordering null", Binary("<", path("event.value.nothing"), Lit(1)), operators.TYPE),
    ("in a string", Binary("in", Lit("d"), name), operators.TYPE),
    ("an int plus a double", Binary("==", Binary("+", amount, Lit(1.0)), Lit(1)), operators.TYPE),
    ("division by zero", Binary("==", Binary("/", amount, Lit(0)), Lit(1)), operators.ARITHMETIC),
    ("overflow", Binary(">", Binary("+", Lit(2**63 - 1), amount), Lit(0)), operators.ARITHMETIC),
    ("negating the smallest int", Binary(">", Negate(Lit(-(2**63))), Lit(0)), operators.ARITHMETIC),
    ("unsigned below zero", Binary(">", Binary("-", Lit(Uint(0)), Lit(Uint(1))), Lit(0)), operators.ARITHMETIC),
    ("an index out of range", Binary("==", Index(tags, Lit(2)), Lit("b")), operators.MISSING),
    ("contains of a number", Method("contains", amount, (Lit("1"),)), operators.TYPE),
    ("size of a number", Binary("==", Call("size", amount), Lit(4)), operators.TYPE),
    ("all over a number", Quantifier("all", amount, "item", HOLDS), operators.TYPE),
    ("exists where nothing holds and one errs",
     Quantifier("exists", ListOf((Lit("x"), Lit(0))), "item", Binary(">", item, Lit(1))), operators.TYPE),
    ("exists_one absorbs nothing",
     Quantifier("exists_one", ListOf((Lit("x"), Lit(2))), "item", Binary(">", item, Lit(1))), operators.TYPE),
    ("a missing header", Binary("==", path("event.headers.missing"), Lit("x")), operators.MISSING),
    ("tool at the consume boundary", Binary("==", Name("tool"), Lit("x")), operators.MISSING),
    ("output at the consume boundary", Binary("==", path("output.topic"), Lit("x")), operators.MISSING),
)  # fmt: skip

"""The table of named cases: what a decision is, one promise a line.

Every case is run against the reference evaluator and against the compiled engine, so a disagreement between the two
about one of these is a disagreement with the definition.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tests.policy import reference, semantics
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
from tests.policy.generate import NOW
from tests.policy.model import Identity, PolicyModel, Record, Request, Rule
from tests.policy.reference import FOREVER
from tests.policy.strict_json import Uint

SCOPE = "events:consume:orders"
EVENT = Record("orders", partition=1, offset=7, timestamp=NOW, headers=(("trace", b"t-1"),), value=b'{"amount": 1500}')


@dataclass(frozen=True, slots=True)
class Case:
    """One named case and the decision that the definition gives."""

    name: str
    policy: PolicyModel
    request: Request
    verdict: str
    rule: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    guards: frozenset[str] = frozenset()
    valid_until: int = FOREVER


def _request(**changes: Any) -> Request:
    return replace(Request(identity="agent", scope=SCOPE, kind="consume", now=NOW, event=EVENT), **changes)


def _rule(effect: str = "allow", when: Node | None = None, *, name: str = "rule", **changes: Any) -> Rule:
    return replace(Rule(name, effect, ("agent",), (SCOPE,), when), **changes)


def _rules(*rules: Rule) -> PolicyModel:
    return PolicyModel(identities=(Identity("agent"),), rules=rules)


def _capability(pattern: str, *, identity: str = "agent") -> PolicyModel:
    return PolicyModel(identities=(Identity(identity, (pattern,)),))


ALLOWED: dict[str, Any] = {"verdict": "allow", "rule": "rule"}
NOT_ALLOWED: dict[str, Any] = {"verdict": "deny", "rule": ""}
HOLDS = Lit(value=True)
FAILS = Lit(value=False)
ERRS = Binary("==", path("event.value.missing"), Lit(1))


def _scope_cases() -> list[Case]:
    table = (
        ("literal segments match themselves", "a:b", "a:b", True),
        ("a literal segment is not a prefix", "a:b", "a:bc", False),
        ("a shorter pattern does not match", "a", "a:b", False),
        ("a longer pattern does not match", "a:b:c", "a:b", False),
        ("a star is exactly one segment", "a:*", "a:b", True),
        ("a star is not two segments", "a:*", "a:b:c", False),
        ("a star is not zero segments", "a:*", "a", False),
        ("a star matches in the middle", "a:*:c", "a:b:c", True),
        ("a prefix star extends", "a:or*", "a:orders", True),
        ("a prefix star matches the prefix itself", "a:or*", "a:or", True),
        ("a prefix star does not cross a segment", "a:or*", "a:orders:x", False),
        ("a prefix star needs the prefix", "a:or*", "a:o", False),
        ("a double star is one segment", "a:**", "a:b", True),
        ("a double star is many segments", "a:**", "a:b:c:d", True),
        ("a double star is not zero segments", "a:**", "a", False),
        ("a double star alone matches everything", "**", "a:b", True),
        ("a prefix star before a double star", "a*:**", "ab:c", True),
        ("comparison is case sensitive", "a:B", "a:b", False),
    )
    malformed = ("", ":", "a:", "a::b", "a:*", "a*", "a b", "a:\n", "a" * 513, ":".join("a" * 17))
    return [
        *(
            Case(
                f"scope: a request for the malformed {scope[:10]!r} is denied",
                _capability("**"),
                _request(scope=scope),
                "deny",
                errors={"": reference.MALFORMED},
            )
            for scope in malformed
        ),
        *_pattern_cases(table),
    ]


def _pattern_cases(table: tuple[tuple[str, str, str, bool], ...]) -> list[Case]:
    return [
        Case(
            f"scope: {name}",
            _capability(pattern),
            _request(scope=scope),
            "allow" if matches else "deny",
            f"capability:agent:{pattern}" if matches else "",
        )
        for name, pattern, scope, matches in table
    ]


def _identity_cases() -> list[Case]:
    table = (
        ("an exact name", "agent", "agent", True),
        ("an exact name is not a prefix", "agent", "agent-1", False),
        ("a prefix", "agent-*", "agent-1", True),
        ("a prefix matches itself", "agent*", "agent", True),
        ("a star is everybody", "*", "stranger", True),
    )
    return [
        Case(
            f"identity: {name}",
            _rules(_rule(identities=(pattern,))),
            _request(identity=identity),
            **(ALLOWED if matches else NOT_ALLOWED),
        )
        for name, pattern, identity, matches in table
    ]


def _precedence_cases() -> list[Case]:
    def two(first: str, second: str) -> PolicyModel:
        return _rules(_rule(first, name="first"), _rule(second, name="second"))

    cases = []
    for strong, weak in (
        ("deny", "escalate"),
        ("deny", "delay"),
        ("deny", "allow"),
        ("escalate", "delay"),
        ("escalate", "allow"),
        ("delay", "allow"),
    ):
        cases.append(Case(f"precedence: {strong} before {weak}", two(strong, weak), _request(), strong, "first"))
        cases.append(Case(f"precedence: {weak} after {strong}", two(weak, strong), _request(), strong, "second"))
    capability_and_deny = PolicyModel((Identity("agent", (SCOPE,)),), (_rule("deny"),))
    return [
        *cases,
        Case("precedence: no match is a deny", PolicyModel((Identity("agent"),)), _request(), "deny"),
        Case("precedence: a deny rule beats a capability", capability_and_deny, _request(), "deny", "rule"),
        Case("precedence: the first of equals is named", two("allow", "allow"), _request(), "allow", "first"),
    ]


def _error_cases() -> list[Case]:
    missing = {"rule": semantics.MISSING}
    also_allowed = PolicyModel((Identity("agent", (SCOPE,)),), (_rule(when=ERRS),))
    broken = _request(event=replace(EVENT, value=b'{"amount": 1} x'))
    return [
        Case(
            "errors: an allow rule that errs does not grant", _rules(_rule(when=ERRS)), _request(), "deny", "", missing
        ),
        *(
            Case(
                f"errors: {effect} rule that errs denies",
                PolicyModel((Identity("agent", (SCOPE,)),), (_rule(effect, ERRS),)),
                _request(),
                "deny",
                "rule",
                missing,
            )
            for effect in ("deny", "escalate", "delay")
        ),
        Case(
            "errors: another rule still grants, and the error is recorded",
            also_allowed,
            _request(),
            "allow",
            f"capability:agent:{SCOPE}",
            missing,
        ),
        Case(
            "errors: a condition that gives no bool errs",
            _rules(_rule(when=path("event.value.amount"))),
            _request(),
            "deny",
            "",
            {"rule": semantics.TYPE},
        ),
        Case(
            "errors: a value that is not json errs",
            _rules(_rule("deny", Binary(">", path("event.value.amount"), Lit(1)))),
            broken,
            "deny",
            "rule",
            {"rule": semantics.JSON},
        ),
        Case(
            "errors: a condition that does not read the value does not care that it is not json",
            _rules(_rule(when=Binary("==", path("event.topic"), Lit("orders")))),
            broken,
            **ALLOWED,
        ),
        Case(
            "errors: the event is absent outside a handler",
            _rules(_rule("deny", Binary("==", path("event.topic"), Lit("orders")))),
            _request(event=None),
            "deny",
            "rule",
            missing,
        ),
    ]


def _window_cases() -> list[Case]:
    def window(now: int, *, valid_until: int, verdict: str, name: str) -> Case:
        rule = _rule(not_before=NOW, expires_at=NOW + 1000)
        decided = "rule" if verdict == "allow" else ""
        return Case(f"window: {name}", _rules(rule), _request(now=now), verdict, decided, valid_until=valid_until)

    reads_now = Binary(">=", Name("now"), Lit(NOW))
    return [
        window(NOW - 1, valid_until=NOW, verdict="deny", name="before its start a rule is not there"),
        window(NOW, valid_until=NOW + 1000, verdict="allow", name="the start is inside"),
        window(NOW + 999, valid_until=NOW + 1000, verdict="allow", name="the last millisecond is inside"),
        window(NOW + 1000, valid_until=FOREVER, verdict="deny", name="the end is outside"),
        Case(
            "window: a condition that reads now holds for a second",
            _rules(_rule(when=reads_now)),
            _request(),
            "allow",
            "rule",
            valid_until=NOW + 1000,
        ),
    ]


def _guard_cases() -> list[Case]:
    def guarded(effect: str, guard: str, when: Node | None = None) -> Rule:
        return _rule(effect, when, name=f"{effect}-{guard}", guards=(guard,))

    both = _rules(guarded("allow", "pii"), guarded("escalate", "schema"))
    with_deny = _rules(guarded("allow", "pii"), guarded("deny", "schema"))
    not_held = _rules(guarded("allow", "pii"), guarded("escalate", "schema", FAILS))
    return [
        Case(
            "guards: of every matching rule that held, whatever its effect",
            both,
            _request(),
            "escalate",
            "escalate-schema",
            guards=frozenset({"pii", "schema"}),
        ),
        Case("guards: none once the verdict is deny", with_deny, _request(), "deny", "deny-schema"),
        Case(
            "guards: not those of a rule whose condition did not hold",
            not_held,
            _request(),
            "allow",
            "allow-pii",
            guards=frozenset({"pii"}),
        ),
    ]


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
    ("a missing field", Binary("==", missing, Lit(1)), semantics.MISSING),
    ("a field of a missing field", Has(missing, "x"), semantics.MISSING),
    ("has of a field of a string", Has(name, "x"), semantics.TYPE),
    ("an error that and cannot absorb", Binary("&&", HOLDS, ERRS), semantics.MISSING),
    ("an error that or cannot absorb", Binary("||", FAILS, ERRS), semantics.MISSING),
    ("a ternary whose test errs", Ternary(ERRS, HOLDS, HOLDS), semantics.MISSING),
    ("a ternary whose test is no bool", Ternary(amount, HOLDS, HOLDS), semantics.TYPE),
    ("not of a number", Not(amount), semantics.TYPE),
    ("ordering a string and a number", Binary("<", name, Lit(1)), semantics.TYPE),
    ("ordering null", Binary("<", path("event.value.nothing"), Lit(1)), semantics.TYPE),
    ("in a string", Binary("in", Lit("d"), name), semantics.TYPE),
    ("an int plus a double", Binary("==", Binary("+", amount, Lit(1.0)), Lit(1)), semantics.TYPE),
    ("division by zero", Binary("==", Binary("/", amount, Lit(0)), Lit(1)), semantics.ARITHMETIC),
    ("overflow", Binary(">", Binary("+", Lit(2**63 - 1), amount), Lit(0)), semantics.ARITHMETIC),
    ("negating the smallest int", Binary(">", Negate(Lit(-(2**63))), Lit(0)), semantics.ARITHMETIC),
    ("unsigned below zero", Binary(">", Binary("-", Lit(Uint(0)), Lit(Uint(1))), Lit(0)), semantics.ARITHMETIC),
    ("an index out of range", Binary("==", Index(tags, Lit(2)), Lit("b")), semantics.MISSING),
    ("contains of a number", Method("contains", amount, (Lit("1"),)), semantics.TYPE),
    ("size of a number", Binary("==", Call("size", amount), Lit(4)), semantics.TYPE),
    ("all over a number", Quantifier("all", amount, "item", HOLDS), semantics.TYPE),
    ("exists where nothing holds and one errs",
     Quantifier("exists", ListOf((Lit("x"), Lit(0))), "item", Binary(">", item, Lit(1))), semantics.TYPE),
    ("exists_one absorbs nothing",
     Quantifier("exists_one", ListOf((Lit("x"), Lit(2))), "item", Binary(">", item, Lit(1))), semantics.TYPE),
    ("a missing header", Binary("==", path("event.headers.missing"), Lit("x")), semantics.MISSING),
    ("tool at the consume boundary", Binary("==", Name("tool"), Lit("x")), semantics.MISSING),
    ("output at the consume boundary", Binary("==", path("output.topic"), Lit("x")), semantics.MISSING),
)  # fmt: skip


def _condition_cases() -> list[Case]:
    identities = (Identity("agent", attributes={"region": "eu"}),)
    request = _request(event=replace(EVENT, value=VALUE))
    truths = [
        Case(f"condition: {title}", PolicyModel(identities, (_rule(when=when),)), request, **ALLOWED)
        for title, when in TRUTHS
    ]
    failures = [
        Case(
            f"condition: {title} errs",
            PolicyModel(identities, (_rule(when=when),)),
            request,
            "deny",
            "",
            {"rule": code},
        )
        for title, when, code in FAILURES
    ]
    return truths + failures


def _boundary_cases() -> list[Case]:
    refund = _rule("escalate", Binary(">", path("arguments.amount"), Lit(1000)))
    produced = _rule("deny", Binary("==", path("output.value.secret"), HOLDS))
    invoke = _request(kind="invoke", tool="refund", arguments=b'{"amount": 1001}')
    produce = _request(kind="produce", output=Record("out", value=b'{"secret": true}'))
    from_event = _rule(when=Binary("==", path("event.value.amount"), Lit(1500)))
    return [
        Case("boundary: invoke reads the arguments", _rules(refund), invoke, "escalate", "rule"),
        Case("boundary: invoke reads the tool", _rules(_rule(when=Binary("==", Name("tool"), Lit("refund")))), invoke,
             **ALLOWED),
        Case("boundary: produce reads the output", _rules(produced), produce, "deny", "rule"),
        Case("boundary: invoke still sees the inbound event", _rules(from_event), invoke, **ALLOWED),
        Case("boundary: produce still sees the inbound event", _rules(from_event), produce, **ALLOWED),
        Case("boundary: a tombstone's value is null",
             _rules(_rule(when=Binary("==", path("event.value"), Lit(None)))),
             _request(event=replace(EVENT, value=None)), **ALLOWED),
    ]  # fmt: skip


CASES: tuple[Case, ...] = (
    *_scope_cases(),
    *_identity_cases(),
    *_precedence_cases(),
    *_error_cases(),
    *_window_cases(),
    *_guard_cases(),
    *_condition_cases(),
    *_boundary_cases(),
)

"""The table of named cases: what a decision is, one promise a line.

Every case is run against the reference evaluator and against the compiled engine, so a disagreement between the two
about one of these is a disagreement with the definition.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tests.policy import operators, reference
from tests.policy.cases_conditions import ERRS, FAILS, FAILURES, HOLDS, SCOPE, TRUTHS, VALUE
from tests.policy.expressions import (
    Binary,
    Lit,
    Name,
    Node,
    path,
)
from tests.policy.generate import NOW
from tests.policy.model import Identity, PolicyModel, Record, Request, Rule
from tests.policy.reference import FOREVER

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
    missing = {"rule": operators.MISSING}
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
            {"rule": operators.TYPE},
        ),
        Case(
            "errors: a value that is not json errs",
            _rules(_rule("deny", Binary(">", path("event.value.amount"), Lit(1)))),
            broken,
            "deny",
            "rule",
            {"rule": operators.JSON},
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

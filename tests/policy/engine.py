"""The compiled engine, asked through its Python surface and compared with the reference evaluator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chio_fast import Policy
from tests.policy import operators, reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.policy.model import PolicyModel, Request
    from tests.policy.reference import Outcome

CLASSES = {
    "no_such_variable": operators.MISSING,
    "no_such_field": operators.MISSING,
    "index_out_of_range": operators.MISSING,
    "type_mismatch": operators.TYPE,
    "not_bool": operators.TYPE,
    "overflow": operators.ARITHMETIC,
    "division_by_zero": operators.ARITHMETIC,
    "invalid_argument": operators.ARITHMETIC,
    "not_json": operators.JSON,
    "not_utf8": operators.JSON,
    "duplicate_member": operators.JSON,
    "json_too_deep": operators.JSON,
    "number_out_of_range": operators.JSON,
    "invalid_scope": reference.MALFORMED,
    "invalid_identity": reference.MALFORMED,
}


def compiled(policy: PolicyModel) -> Policy:
    """The engine's compiled form of a generated policy."""
    return Policy.from_dict(policy.document())


def arguments(request: Request) -> dict[str, Any]:
    """A request as the keyword arguments of `Policy.decide`."""
    return {
        "kind": request.kind,
        "event": request.event.mapping() if request.event else None,
        "tool": request.tool,
        "arguments": None if request.arguments is None else json.loads(request.arguments),
        "output": request.output.mapping() if request.output else None,
        "now": request.now,
    }


def decide(policy: Policy, request: Request) -> Any:
    """The engine's decision."""
    return policy.decide(request.identity, request.scope, **arguments(request))


def differences(decision: Any, expected: Outcome) -> list[str]:
    """Where the engine's decision is not the one of the definition."""
    pairs = (
        ("verdict", decision.verdict, expected.verdict),
        ("rule", decision.rule or "", expected.rule),
        ("guards", frozenset(decision.guards), expected.guards),
        ("valid_until", decision.valid_until, expected.valid_until),
        ("rules that erred", sorted(error.rule for error in decision.errors), sorted(expected.errors)),
    )
    found = [f"{name}: engine {got!r}, reference {want!r}" for name, got, want in pairs if got != want]
    found.extend(
        f"error of {error.rule}: engine {error.code}, reference {expected.errors.get(error.rule)}"
        for error in decision.errors
        if CLASSES.get(error.code, error.code) not in expected.errors.get(error.rule, ())
    )
    return found


def explanation_differences(explanation: Any, expected: list[tuple[str, frozenset[str], bool]]) -> list[str]:
    """Where the engine's explanation is not the one of the definition."""
    got = {rule.rule: ({CLASSES.get(rule.result, rule.result)}, rule.decided) for rule in explanation.rules}
    want = {rule: (results, decided) for rule, results, decided in expected}
    if got.keys() != want.keys():
        return [f"explain: engine tells of {sorted(got)}, reference of {sorted(want)}"]
    return [
        f"explain {rule}: engine {got[rule]}, reference {want[rule]}"
        for rule in want
        if not got[rule][0] <= want[rule][0] or got[rule][1] != want[rule][1]
    ]


def disagreements(cases: Iterable[tuple[PolicyModel, list[Request]]]) -> tuple[int, list[str]]:
    """Runs cases against both; the number of cases, and a description of each on which the two disagree.

    Each request is decided; every fourth is asked as `has_scope` as well, and every eighth is explained.
    """
    count = 0
    found: list[str] = []
    for policy, requests in cases:
        engine = compiled(policy)
        for request in requests:
            count += 1
            expected = reference.decide(policy, request)
            keywords = arguments(request)
            wrong = differences(engine.decide(request.identity, request.scope, **keywords), expected)
            if count % 4 == 0:
                allowed = engine.has_scope(request.identity, request.scope, **keywords)
                wrong += ["has_scope"] if allowed != (expected.verdict == "allow") else []
            if count % 8 == 0:
                explanation = engine.explain(request.identity, request.scope, **keywords)
                wrong += explanation_differences(explanation, reference.explain(policy, request))
            if wrong:
                found.append(f"{'; '.join(wrong)}\n  policy {policy.document()}\n  request {request}")
    return count, found

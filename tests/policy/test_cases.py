"""Every named case gives the decision of the definition, in the reference evaluator and in the engine."""

from __future__ import annotations

import pytest

from tests.policy import engine, reference
from tests.policy.cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reference_decides_as_defined(case: Case) -> None:
    outcome = reference.decide(case.policy, case.request)
    assert (outcome.verdict, outcome.rule) == (case.verdict, case.rule)
    assert outcome.errors.keys() == case.errors.keys()
    for rule, expected in case.errors.items():
        assert expected in outcome.errors[rule]
    assert outcome.guards == case.guards
    assert outcome.valid_until == case.valid_until


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_decides_as_defined(case: Case) -> None:
    decision = engine.decide(engine.compiled(case.policy), case.request)
    assert (decision.verdict, decision.rule) == (case.verdict, case.rule)
    assert {error.rule: engine.CLASSES[error.code] for error in decision.errors} == case.errors
    assert frozenset(decision.guards) == case.guards
    assert decision.valid_until == case.valid_until


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_explains_what_it_decided(case: Case) -> None:
    engine_policy = engine.compiled(case.policy)
    explanation = engine_policy.explain(case.request.identity, case.request.scope, **engine.arguments(case.request))
    assert engine.explanation_differences(explanation, reference.explain(case.policy, case.request)) == []

"""The compiled engine decides as the reference evaluator does: 100,000 generated cases with fixed seeds.

`python -m tests.policy.long_run` runs as many more as there is time for.
"""

from __future__ import annotations

import pytest

from tests.policy import engine, generate, generate_json, operators, reference, strict_json

SHARDS = 8
CASES_PER_SHARD = 12_500
TEXTS = 10_000


def _report(found: list[str]) -> str:
    return f"{len(found)} disagreements, the first ones:\n" + "\n".join(found[:5])


@pytest.mark.parametrize("seed", range(SHARDS))
def test_the_engine_agrees_with_the_reference(seed: int) -> None:
    count, found = engine.disagreements(generate.take(seed, CASES_PER_SHARD))
    assert not found, _report(found)
    assert count == CASES_PER_SHARD


def test_the_json_scanner_agrees_with_the_strict_parser() -> None:
    count, found = engine.disagreements(generate_json.take(0, TEXTS))
    assert not found, _report(found)
    assert count == TEXTS


def test_the_generated_cases_reach_every_kind_of_decision() -> None:
    outcomes = [
        reference.decide(policy, request)
        for policy, requests in generate.take("coverage", 5000)
        for request in requests
    ]
    assert {outcome.verdict for outcome in outcomes} == {"allow", "deny", "escalate", "delay"}
    assert {name for outcome in outcomes for names in outcome.errors.values() for name in names} == {
        "missing",
        "type",
        "json",
        "arithmetic",
        "malformed",
    }
    for wanted in ("rule", "guards", "errors"):
        assert sum(bool(getattr(outcome, wanted)) for outcome in outcomes) > 200
    assert sum(outcome.valid_until != reference.FOREVER for outcome in outcomes) > 200


MISTAKES: dict[str, tuple[object, str, object]] = {
    "deny is not the strongest": (reference, "PRECEDENCE", ("escalate", "deny", "delay", "allow")),
    "a prefix star is a literal": (reference, "segment_matches", lambda pattern, segment: pattern in ("*", segment)),
    "a window holds its end": (reference, "in_window", lambda rule, now: now <= (rule.expires_at or now)),
    "the clock does not age": (reference, "NOW_LIFETIME_MS", 2000),
    "json may name a member twice": (strict_json, "_unique_members", dict),
    "numbers of different types differ": (operators, "NUMERIC", ()),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_either_evaluator_would_be_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MISTAKES[mistake])
    monkeypatch.setattr(strict_json, "_DECODER", strict_json.decoder())
    _, found = engine.disagreements(generate.take("mistakes", 3000))
    assert found

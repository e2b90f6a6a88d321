"""Hostile policies and requests get an error or a bounded cost: never a panic, never a hang.

The time bounds are generous, for slow machines and debug builds; what they exclude is growth that runs away.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from chio_fast import Policy, PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE = 1_000_000
pytestmark = pytest.mark.timeout(120, method="thread")


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def policy_of(when: str, effect: str = "allow") -> Policy:
    rule = {"id": "rule", "effect": effect, "identities": ["*"], "scopes": ["**"], "when": when}
    return Policy.from_dict({"chio": "policy/v1", "rules": [rule]})


def event(value: bytes, **fields: Any) -> dict[str, Any]:
    return {
        "topic": "t",
        "partition": 0,
        "offset": 0,
        "key": None,
        "timestamp": 0,
        "headers": [],
        "value": value,
    } | fields


def codes(decision: Any) -> list[str]:
    return [error.code for error in decision.errors]


@pytest.mark.parametrize(
    "scope",
    [
        "a" * MEGABYTE,
        "a:" * (MEGABYTE // 2) + "a",
        ":" * MEGABYTE,
        "*" * MEGABYTE,
        "**:" * 300_000 + "**",
        "\0" * MEGABYTE,
    ],
    ids=["one segment", "many segments", "only separators", "only stars", "double stars", "zero bytes"],
)
def test_a_scope_of_a_megabyte_is_decided_or_refused_at_once(scope: str) -> None:
    policy = Policy.from_dict(
        {"chio": "policy/v1", "identities": {"agent": {"capabilities": ["a*:*:a*:b", "*:*:*", "a:a:a:**", "b"]}}}
    )
    with within(2), contextlib.suppress(ValueError):
        assert policy.decide("agent", scope).verdict in ("allow", "deny")


def test_an_identity_of_a_megabyte_is_denied() -> None:
    policy = Policy.from_dict({"chio": "policy/v1", "identities": {"agent": {"capabilities": ["**"]}}})
    with within(2):
        assert policy.decide("a" * MEGABYTE, "x").verdict == "deny"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["', b"[{},"])
def test_a_deeply_nested_value_is_an_error(opening: bytes) -> None:
    policy = policy_of("event.value.a == 1")
    with within(2):
        decision = policy.decide("agent", "x", event=event(opening * 200_000))
    assert decision.verdict == "deny"
    assert codes(decision)[0] in ("json_too_deep", "not_json")


def test_a_hundred_thousand_rules_compile_and_decide() -> None:
    rules = [
        {"id": f"r{number}", "effect": "allow", "identities": [f"agent-{number % 100}"], "scopes": [f"a:b{number}:c"]}
        for number in range(100_000)
    ]
    with within(60):
        policy = Policy.from_dict({"chio": "policy/v1", "rules": rules})
    with within(1):
        assert policy.decide("agent-99", "a:b99999:c").rule == "r99999"
        assert policy.decide("agent-98", "a:b99999:c").verdict == "deny"


def test_a_hundred_thousand_rules_that_all_match_are_bounded() -> None:
    rules = [
        {"id": f"r{number}", "effect": "allow", "identities": ["*"], "scopes": ["**"], "when": "event.value.a == 1"}
        for number in range(20_000)
    ]
    with within(60):
        policy = Policy.from_dict({"chio": "policy/v1", "rules": rules})
    with within(5):
        assert policy.decide("agent", "x", event=event(b"{}")).verdict == "deny"


def test_overlapping_wildcards_do_not_multiply() -> None:
    segments = ("a", "a*", "*", "aa*")
    patterns = {":".join(choice) + ":end" for choice in itertools.product(segments, repeat=5)}
    patterns |= {":".join(choice) for choice in itertools.product(("a*", "*"), repeat=10)}
    with within(30):
        policy = Policy.from_dict({"chio": "policy/v1", "identities": {"agent": {"capabilities": sorted(patterns)}}})
    with within(2):
        for length in range(1, 40):
            policy.decide("agent", ":".join(["aa"] * length))


EXPLODING = {
    "nested parentheses": "(" * 5000 + "true" + ")" * 5000,
    "a few too many parentheses": "(" * 40 + "true" + ")" * 40,
    "nested lists": "[" * 5000 + "]" * 5000,
    "long negation": "!" * 4000 + "true",
    "long minus": "-" * 4000 + "1 == 1",
    "too long": "true || " * 2000 + "true",
    "deep selection": "event" + ".a" * 1500 + " == 1",
    "nested ternaries": "true ? " * 500 + "true" + " : true" * 500,
    "long index": "event.value" + "[0]" * 1000 + " == 1",
    "three comprehensions deep": "[1].all(a, [1].all(b, [1].all(c, true)))",
    "list building in a comprehension": "[1].all(a, [a, a].all(b, true))",
    "string building in a comprehension": "event.value.items.all(a, ('x' + a) != '')",
    "map building": "event.value.items.map(a, [a, a]).size() > 0",
    "regex that explodes on compilation": "'a'.matches('((a{1000}){1000}){1000}')",
    "regex from the event": "'a'.matches(event.value.pattern)",
    "broken regex": "'a'.matches('(')",
    "unterminated string": "'abc",
    "empty": "",
    "only space": "   ",
    "zero byte": "true\0",
    "unknown function": "launch(1)",
    "unknown variable": "enviroment.name == 'x'",
}


@pytest.mark.parametrize("when", EXPLODING.values(), ids=EXPLODING.keys())
def test_a_condition_made_to_explode_is_refused_or_bounded(when: str) -> None:
    value = b'{"items": [' + b",".join([b'"x"'] * 2000) + b"]}"
    with within(10), contextlib.suppress(PolicyError):
        policy_of(when).decide("agent", "x", event=event(value))


MUST_BE_REFUSED = (
    "nested parentheses",
    "too long",
    "three comprehensions deep",
    "string building in a comprehension",
    "map building",
    "regex that explodes on compilation",
    "regex from the event",
    "broken regex",
    "unterminated string",
    "empty",
    "unknown function",
)


@pytest.mark.parametrize("name", MUST_BE_REFUSED)
def test_a_condition_over_the_limits_is_refused_when_the_policy_is_loaded(name: str) -> None:
    with pytest.raises(PolicyError, match="rule"):
        policy_of(EXPLODING[name])


def test_strings_of_the_event_are_not_joined_inside_a_comprehension() -> None:
    policy = policy_of("event.value.items.all(a, (a + a) != '')")
    assert codes(policy.decide("agent", "x", event=event(b'{"items": ["x"]}'))) == ["type_mismatch"]


def test_nested_comprehensions_over_a_large_event_hit_the_step_limit() -> None:
    policy = policy_of("event.value.items.all(a, event.value.items.all(b, a <= b || a >= b))")
    value = b'{"items": [' + b",".join(b"%d" % number for number in range(20_000)) + b"]}"
    with within(10):
        decision = policy.decide("agent", "x", event=event(value))
    assert codes(decision) == ["step_limit"]
    assert decision.verdict == "deny"


def test_a_backtracking_pattern_takes_linear_time() -> None:
    policy = policy_of("event.value.text.matches('^(a+)+$')")
    with within(5):
        assert policy.decide("agent", "x", event=event(b'{"text": "' + b"a" * MEGABYTE + b'!"}')).verdict == "deny"


def test_a_large_value_is_read_in_linear_time() -> None:
    policy = policy_of("event.value.last == 1")
    members = b",".join(b'"m%d": [1, "x", {}]' % number for number in range(50_000))
    with within(5):
        assert policy.decide("agent", "x", event=event(b"{" + members + b', "last": 1}')).verdict == "allow"


LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
BAD_YAML = {
    "billion laughs": "chio: policy/v1\n" + LAUGHS + "identities: {agent: {capabilities: *a11}}\n",
    "deep flow": "chio: policy/v1\nidentities: " + "[" * 100_000,
    "deep mapping": "chio: policy/v1\nidentities: " + "{a: " * 50_000,
    "deep block": "".join(" " * level + "a:\n" for level in range(3000)),
    "self reference": "chio: policy/v1\nidentities: &a {agent: *a}\n",
    "language tag": "chio: policy/v1\nidentities: !!python/object/apply:os.system ['true']\n",
    "duplicate key": "chio: policy/v1\nidentities: {}\nidentities: {}\n",
    "two documents": "chio: policy/v1\nidentities: {agent: {capabilities: [a]}}\n---\nchio: policy/v1\n",
    "empty": "",
    "scalar": "5",
    "list": "- a\n",
    "tab": "chio: policy/v1\n\tidentities: {}\n",
    "zero byte": "chio: policy/v1\0",
    "wrong version": "chio: policy/v2\nidentities: {agent: {capabilities: [a]}}\n",
    "no version": "identities: {agent: {capabilities: [a]}}\n",
    "unknown field": "chio: policy/v1\nidentity: {agent: {capabilities: [a]}}\n",
    "unknown field of a rule": "chio: policy/v1\nrules: [{id: r, effect: deny, identities: [a], scopes: [a], if: x}]\n",
    "unknown effect": "chio: policy/v1\nrules: [{id: r, effect: permit, identities: [a], scopes: [a]}]\n",
    "two rules of one id": "chio: policy/v1\nrules:\n" + "- {id: r, effect: allow, identities: [a], scopes: [a]}\n" * 2,
    "window that is empty": "chio: policy/v1\nrules: [{id: r, effect: allow, identities: [a], scopes: [a], "
    "not_before: 2026-01-02T00:00:00Z, expires_at: 2026-01-01T00:00:00Z}]\n",
    "time without zone": "chio: policy/v1\nrules: [{id: r, effect: allow, identities: [a], scopes: [a], "
    "not_before: 2026-01-02T00:00:00}]\n",
}


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML.keys())
def test_a_bad_document_is_a_policy_error_in_short_time(text: str) -> None:
    with within(10), pytest.raises(PolicyError) as caught:
        Policy.from_yaml(text)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ":",
        "a:",
        ":a",
        "a::b",
        "a:**:b",
        "**:a",
        "a***",
        "a*b",
        "*a",
        "a:b c",
        "a:\tb",
        "a:b\n",
        "***",
        "a:**b",
        "a:b**",
    ],
)
def test_a_malformed_scope_pattern_is_a_policy_error(pattern: str) -> None:
    document = {"chio": "policy/v1", "identities": {"agent": {"capabilities": [pattern]}}}
    with pytest.raises(PolicyError):
        Policy.from_dict(document)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"chio": "policy/v1", "chio": "policy/v1"}', "NaN", "{} {}", ""])
def test_a_bad_json_document_is_a_policy_error(text: str) -> None:
    with within(5), pytest.raises(PolicyError):
        Policy.from_json(text)

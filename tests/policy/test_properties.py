"""Properties that hypothesis can shrink: small policies, small requests, and any text where text is taken."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chio_fast import Policy, PolicyError
from tests.policy import engine, reference
from tests.policy.expressions import Binary, Has, Lit, Node, Not, Ternary, path
from tests.policy.generate import EFFECTS, NOW
from tests.policy.model import Identity, PolicyModel, Record, Request, Rule

SEGMENT = st.sampled_from(("a", "ab", "b"))
SCOPE = st.lists(SEGMENT, min_size=1, max_size=4).map(":".join)
PATTERN_SEGMENT = st.sampled_from(("a", "ab", "b", "*", "a*", "ab*"))
PATTERN = st.builds(
    lambda segments, tail: ":".join([*segments, *tail]),
    st.lists(PATTERN_SEGMENT, min_size=1, max_size=3),
    st.sampled_from(((), ("**",))),
)
FIELD = st.sampled_from(("event.value.n", "event.value.s", "event.value.missing", "event.topic")).map(path)
CONSTANT: st.SearchStrategy[Node] = st.sampled_from((0, 1, 1.0, "", "x", True, None)).map(Lit)
LEAF = st.one_of(
    st.booleans().map(Lit),
    st.builds(Binary, st.sampled_from(("==", "!=", "<", ">=")), FIELD, CONSTANT),
    st.builds(Has, st.just(path("event.value")), st.sampled_from(("n", "missing"))),
    FIELD,
)
CONDITION: st.SearchStrategy[Node] = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Binary, st.sampled_from(("&&", "||", "==")), inner, inner),
        st.builds(Ternary, inner, inner, inner),
    ),
    max_leaves=6,
)
RULES = st.lists(
    st.builds(
        lambda effect, patterns, when: Rule("", effect, ("*",), tuple(patterns), when),
        st.sampled_from(EFFECTS),
        st.lists(PATTERN, min_size=1, max_size=2, unique=True),
        st.none() | CONDITION,
    ),
    max_size=4,
).map(lambda rules: tuple(Rule(f"r{n}", r.effect, r.identities, r.scopes, r.when) for n, r in enumerate(rules)))
VALUE = st.sampled_from((None, b"{}", b'{"n": 1, "s": "x"}', b'{"n": 1.0}', b'{"n": "1"}', b'{"n": 1,}', b"[]"))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(RULES, st.lists(PATTERN, max_size=2, unique=True), SCOPE, VALUE)
def test_the_engine_agrees_with_the_reference(
    rules: tuple[Rule, ...], capabilities: list[str], scope: str, value: bytes | None
) -> None:
    policy = PolicyModel((Identity("agent", tuple(capabilities)),), rules)
    request = Request("agent", scope, "consume", NOW, Record("t", 0, 0, None, 0, (), value))
    expected = reference.decide(policy, request)
    assert engine.differences(engine.decide(engine.compiled(policy), request), expected) == []


@settings(max_examples=500, deadline=None, derandomize=True)
@given(PATTERN, SCOPE)
def test_a_pattern_covers_what_the_definition_says(pattern: str, scope: str) -> None:
    policy = Policy.from_dict({"chio": "policy/v1", "identities": {"agent": {"capabilities": [pattern]}}})
    assert policy.has_scope("agent", scope) == reference.scope_matches(pattern, scope)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_condition_text_compiles_or_is_refused(when: str) -> None:
    rule = {"id": "r", "effect": "allow", "identities": ["*"], "scopes": ["**"], "when": when}
    with contextlib.suppress(PolicyError):
        Policy.from_dict({"chio": "policy/v1", "rules": [rule]}).decide("agent", "a")


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(max_size=300))
def test_any_yaml_text_loads_or_is_refused(text: str) -> None:
    with contextlib.suppress(PolicyError):
        Policy.from_yaml(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_value_is_decided(value: bytes) -> None:
    policy = Policy.from_dict(_reading({"n": 1}))
    decision = policy.decide("agent", "a", event={"topic": "t", "value": value, "headers": []})
    assert decision.verdict == "deny" or b'"n"' in value or b"\\u006" in value


def _reading(fields: dict[str, Any]) -> dict[str, Any]:
    when = " && ".join(f"event.value.{name} == {value}" for name, value in fields.items())
    rule = {"id": "r", "effect": "allow", "identities": ["*"], "scopes": ["**"], "when": when}
    return {"chio": "policy/v1", "rules": [rule]}


def _with_attribute(value: Any) -> dict[str, Any]:
    return {"chio": "policy/v1", "identities": {"agent": {"attributes": {"a": value}}}}


@pytest.mark.parametrize(
    "document",
    [
        *(None, 5, [], {"chio": 5}, {"chio": "policy/v1", "rules": {}}, {1: 2}, {None: 1}),
        *map(
            _with_attribute, (float("nan"), float("-inf"), 2**64, -(2**63) - 1, "\ud800", object(), {"b": 1, None: 2})
        ),
    ],
)
def test_a_dict_that_is_no_policy_is_refused(document: Any) -> None:
    with pytest.raises(PolicyError):
        Policy.from_dict(document)

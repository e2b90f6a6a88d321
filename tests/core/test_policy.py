"""The surface of `Policy`: what it takes, what it answers, what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message

from chio_fast import Decision, Policy, PolicyError
from chio_fast.decision import FOREVER
from tests.core.conftest import DOCUMENT, IDENTITY


def test_a_policy_is_the_same_from_every_source(tmp_path: Path, policy: Policy) -> None:
    (tmp_path / "policy.yaml").write_text(DOCUMENT)
    (tmp_path / "policy.json").write_text(policy.canonical)
    versions = {
        policy.version,
        Policy.from_file(tmp_path / "policy.yaml").version,
        Policy.from_file(str(tmp_path / "policy.json")).version,
        Policy.from_json(policy.canonical).version,
        Policy.from_dict(msgspec.json.decode(policy.canonical)).version,
    }
    assert len(versions) == 1
    assert len(policy.version) == 64


def test_sets_give_one_version_in_every_process() -> None:
    document = 'capabilities={f"tools:{n}" for n in range(20)}'
    code = (
        "from chio_fast import Policy; "
        f"print(Policy.from_dict({{'chio': 'policy/v1', 'identities': {{'a': dict({document})}}}}).version)"
    )
    versions = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(versions) == 1


def test_it_knows_where_it_came_from(tmp_path: Path, policy: Policy) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(DOCUMENT)
    assert Policy.from_file(path).source == str(path)
    assert policy.source == "<yaml>"
    assert policy.guards == ("watch",)


def test_a_malformed_policy_says_where(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "chio: policy/v1\nrules:\n  - id: broken\n    effect: maybe\n    identities: [a]\n    scopes: [b]\n"
    )
    with pytest.raises(PolicyError, match="maybe") as caught:
        Policy.from_file(path)
    assert (caught.value.source, caught.value.line, caught.value.rule) == (str(path), 4, "broken")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"chio: policy/v2\n", b"[]"])
def test_what_is_no_policy_is_a_policy_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "policy.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"policy\.yaml"):
        Policy.from_file(path)


def test_a_decision_says_everything(policy: Policy) -> None:
    decision = policy.decide(IDENTITY, "events:consume:tasks", event={"topic": "tasks"}, now=17)
    assert decision == Decision(
        identity=IDENTITY,
        scope="events:consume:tasks",
        kind="consume",
        verdict="allow",
        rule="capability:research-agents:events:consume:tasks",
        reason=decision.reason,
        errors=(),
        guards=(),
        policy_version=policy.version,
        timestamp=17,
        valid_until=FOREVER,
    )
    assert decision.reason
    assert decision.receipt_id is None


def test_a_denial_is_false_and_an_approval_true(policy: Policy) -> None:
    assert policy.decide(IDENTITY, "tools:search:web", kind="invoke", arguments={})
    assert not policy.decide("somebody", "tools:search:web", kind="invoke", arguments={})
    assert not policy.decide(IDENTITY, "events:consume:later", event={"topic": "later"})


def test_due_guards_are_named(policy: Policy) -> None:
    assert policy.decide(IDENTITY, "events:consume:watched", event={"topic": "watched"}).guards == ("watch",)


def message(**members: Any) -> Message:
    return Message(topic="tasks", partition=0, offset=1, **members)


class Standin:
    """Anything with the accessors is a message."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def topic(self) -> str:
        return "tasks"

    def value(self) -> Any:
        return self._value


@pytest.mark.parametrize(
    "event",
    [
        {"topic": "tasks", "value": b'{"secret": 1}'},
        {"topic": "tasks", "value": '{"secret": 1}', "headers": {"a": "b"}, "key": "k", "timestamp": 5},
        {"topic": "tasks", "value": b'{"secret": 1}', "headers": [("a", None), ("a", b"\xff")], "offset": 3},
        message(value=b'{"secret": 1}', headers=[("a", b"1")], timestamp=(1, 5)),
        Standin('{"secret": 1}'),
    ],
)
def test_an_event_is_a_message_or_a_dictionary(policy: Policy, event: Any) -> None:
    assert policy.decide(IDENTITY, "events:consume:tasks", event=event).rule == "no-secrets"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, "`topic`"),
        ({"topic": 5}, "`topic`"),
        ({"topic": "t", "value": 5}, "bytes, str or None"),
        ({"topic": "t", "value": {"a": 1}}, "bytes, str or None"),
        ({"topic": "t", "headers": "a=b"}, "pairs"),
        ({"topic": "t", "headers": [("a",)]}, "pairs"),
        ({"topic": "t", "headers": [("a", 1)]}, "bytes, str or None"),
        ({"topic": "t", "Value": b""}, "'Value'"),
        (5, "give a message"),
        (b"{}", "give a message"),
    ],
)
def test_what_is_no_event_is_a_type_error_that_says_what_to_give(policy: Policy, event: Any, says: str) -> None:
    with pytest.raises(TypeError, match="event") as caught:
        policy.decide(IDENTITY, "events:consume:tasks", event=event)
    assert says in str(caught.value)


@pytest.mark.parametrize("member", ["partition", "offset", "timestamp"])
def test_a_number_out_of_range_is_a_value_error(policy: Policy, member: str) -> None:
    with pytest.raises(ValueError, match=member):
        policy.decide(IDENTITY, "events:consume:tasks", event={"topic": "t", member: 2**70})


@pytest.mark.parametrize(
    "arguments", [{"amount": float("nan")}, {"deep": [{"amount": float("-inf")}]}, {"x": object()}]
)
def test_arguments_that_json_cannot_hold_are_refused(policy: Policy, arguments: Any) -> None:
    with pytest.raises(ValueError, match="arguments"):
        policy.decide(IDENTITY, "tools:search:web", kind="invoke", arguments=arguments)


def test_arguments_reach_conditions(policy: Policy) -> None:
    def decide(amount: int) -> Decision:
        return policy.decide(IDENTITY, "tools:search:web", kind="invoke", arguments={"amount": amount})

    assert decide(1000).verdict == "allow"
    assert decide(1001).verdict == "escalate"
    assert decide(1001).reason == "amounts over 1000 need approval"


def test_keys_that_are_the_same_in_json_deny(policy: Policy) -> None:
    decision = policy.decide(IDENTITY, "tools:search:web", kind="invoke", arguments={1: "a", "1": "b", "amount": 1})
    assert decision.verdict == "deny"
    assert [error.code for error in decision.errors] == ["duplicate_member"]


def test_a_boundary_has_one_of_three_words(policy: Policy) -> None:
    with pytest.raises(ValueError, match="`consume`, `invoke` or `produce`"):
        policy.decide(IDENTITY, "tools:search:web", kind="call")  # type: ignore[arg-type]


def test_explain_tells_every_rule_that_matched(policy: Policy) -> None:
    explanation = policy.explain(IDENTITY, "tools:search:web", kind="invoke", arguments={"amount": 5000}, now=3)
    assert explanation.decision == policy.decide(
        IDENTITY, "tools:search:web", kind="invoke", arguments={"amount": 5000}, now=3
    )
    assert [(rule.rule, rule.result, rule.decided) for rule in explanation.rules] == [
        ("capability:research-agents:tools:search:*", "true", False),
        ("large-amounts", "true", True),
    ]
    assert "large-amounts" in explanation.why


def test_has_scope_is_the_rules_alone(policy: Policy) -> None:
    assert policy.has_scope(IDENTITY, "events:consume:watched", event={"topic": "watched"})
    assert not policy.has_scope(IDENTITY, "events:consume:later", event={"topic": "later"})

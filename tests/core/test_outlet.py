"""What the gate promises of events to be produced: decided at once, receipted as they will be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Message

from chio_fast import Allow, Deny, Enforcer, Event, Policy
from tests.core.conftest import IDENTITY

POLICY = """
chio: policy/v1
identities:
  research-agents:
    capabilities: [events:consume:tasks, "events:produce:*"]
rules:
  - id: unstamped
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:stamped"]
    when: "!('stamp' in output.headers) || output.headers.stamp != 'yes'"
  - id: of-the-eu-alone
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:answers"]
    when: event.value.region != 'eu' || event.headers.hold == 'yes'
  - id: too-much
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:results"]
    when: output.value.amount > 10 || output.key == 'forbidden' || output.size > 100
"""


@pytest.fixture
def enforcer(enforcers: Callable[..., Enforcer]) -> Enforcer:
    """An enforcer of the policy above."""
    return enforcers(Policy.from_yaml(POLICY))


def output(enforcer: Enforcer, topic: str = "results", **more: Any) -> Any:
    outlet = enforcer.gate.outlet(topic, scope=f"events:produce:{topic}", identity=IDENTITY)
    given: dict[str, Any] = {"key": b"k", "value": b'{"amount": 1}', "headers": None} | more
    return enforcer.gate.output(outlet, **given)


def handed_out(enforcer: Enforcer, **members: Any) -> Event:
    partition = enforcer.gate.partition("tasks", 0, scope="events:consume:tasks", identity=IDENTITY, stamp=1)
    given = [Message(topic="tasks", partition=0, offset=5, timestamp=(1, 1000), **members)]
    events, _, _ = enforcer.gate.admit(given, {("tasks", 0): partition})
    allowed, _ = enforcer.issue(events)
    return allowed[0]


def receipt_of(enforcer: Enforcer, check: Any) -> Any:
    assert enforcer.gate.issue_checks([check]) == []
    enforcer.seal()
    return enforcer.receipt_log.get(check.receipt_id)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, ""),
        ({"value": b'{"amount": 11}'}, "too-much"),
        ({"value": '{"amount": 11}'}, "too-much"),
        ({"key": "forbidden"}, "too-much"),
        ({"value": b'{"amount": 1, "pad": "' + b"x" * 100 + b'"}'}, "too-much"),
        ({"value": b"not json"}, "too-much"),
        ({"value": None}, "too-much"),
        ({"topic": "stamped"}, "unstamped"),
        ({"topic": "stamped", "headers": [("stamp", b"yes")]}, ""),
        ({"topic": "stamped", "headers": {"stamp": "yes"}}, ""),
        ({"topic": "stamped", "headers": [("stamp", None)]}, "unstamped"),
    ],
)
def test_conditions_see_the_output(enforcer: Enforcer, given: dict[str, Any], rule: str) -> None:
    check = output(enforcer, **given)
    assert check.is_allowed == (rule == "")
    assert check.decision.rule == (rule or "capability:research-agents:events:produce:*")
    assert (check.kind, check.identity, check.receipt_id) == ("produce", IDENTITY, None)


@pytest.mark.parametrize(
    ("members", "allowed"),
    [
        ({"value": b'{"region": "eu"}', "headers": [("hold", b"no")]}, True),
        ({"value": b'{"region": "us"}', "headers": [("hold", b"no")]}, False),
        ({"value": b'{"region": "eu"}', "headers": [("hold", b"yes")]}, False),
    ],
)
def test_conditions_see_the_event_that_is_handled(enforcer: Enforcer, members: Any, allowed: bool) -> None:
    event = handed_out(enforcer, **members)
    assert output(enforcer, "answers", event=event).is_allowed == allowed
    assert not output(enforcer, "answers").is_allowed


def test_the_receipt_says_what_a_spelled_out_check_of_the_same_output_says(enforcer: Enforcer) -> None:
    event = handed_out(enforcer, value=b"{}", headers=[("traceparent", b"trace")])
    headers = [("stamp", b"yes"), ("other", None)]
    fast = receipt_of(enforcer, output(enforcer, "stamped", headers=headers, event=event, correlation="trace"))
    spelled = {"topic": "stamped", "key": b"k", "value": b'{"amount": 1}', "headers": headers}
    slow = enforcer.check("events:produce:stamped", output=spelled, event=event, correlation="trace", durable=True)
    slow = enforcer.receipt_log.get(slow.receipt_id or "")
    for member in ("identity", "scope", "verdict", "rule", "reason", "target", "digest", "parents", "correlation"):
        assert getattr(fast, member) == getattr(slow, member), member


def test_a_target_names_cluster_and_topic_id(enforcer: Enforcer) -> None:
    outlet = enforcer.gate.outlet(
        "results", scope="events:produce:results", identity=IDENTITY, cluster="cluster", topic_id="id of results"
    )
    assert (outlet.topic, outlet.scope, outlet.identity) == ("results", "events:produce:results", IDENTITY)
    receipt = receipt_of(enforcer, enforcer.gate.output(outlet, key=None, value=b'{"amount": 1}', headers=None))
    target = receipt.target
    assert (target.cluster, target.topic, target.topic_id) == ("cluster", "results", "id of results")
    assert (target.partition, target.offset, target.group) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "correlation"),
    [({"correlation": "mine"}, "mine"), ({"headers": {"traceparent": "own"}}, "own"), ({}, "trace")],
)
def test_correlation_is_that_of_the_event_unless_there_is_a_nearer_one(
    enforcer: Enforcer, given: dict[str, Any], correlation: str
) -> None:
    event = handed_out(enforcer, value=b"{}", headers=[("X-Correlation-Id", b"second"), ("traceparent", b"trace")])
    assert receipt_of(enforcer, output(enforcer, event=event, **given)).correlation == correlation


def test_parents_are_the_event_and_those_given_and_what_is_no_receipt_id_is_counted(enforcer: Enforcer) -> None:
    event = handed_out(enforcer, value=b"{}")
    other = enforcer.check("tools:search:web", arguments={}).receipt_id
    given = [other, event.chio_receipt_id, "no receipt"]
    receipt = receipt_of(enforcer, output(enforcer, event=event, parents=given))
    assert (receipt.parents, receipt.parents_rejected) == ((event.chio_receipt_id, other), 1)


def test_headers_are_the_callers_and_those_of_the_receipt(enforcer: Enforcer) -> None:
    given = [("a", b"1"), ("X-Chio-Receipt", b"somebody else's"), ("X-Chio-Scope", "events:*"), ("a", None)]
    check = output(enforcer, headers=given)
    given.clear()
    assert check.headers == [("a", b"1"), ("a", None)]
    receipt = receipt_of(enforcer, check)
    own = [("X-Chio-Receipt", receipt.id), ("X-Chio-Scope", "events:produce:results")]
    assert check.headers == [("a", b"1"), ("a", None), *own]
    check.headers.clear()
    assert len(check.headers) == 4


@pytest.mark.parametrize(
    "given",
    [
        {"value": {"amount": 1}},
        {"value": 1},
        {"key": 1},
        {"headers": [("a", 1)]},
        {"headers": [(b"a", b"1")]},
        {"headers": ["a"]},
        {"headers": 1},
        {"parents": [1]},
    ],
)
def test_what_a_client_would_not_take_is_refused_without_a_decision(enforcer: Enforcer, given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        output(enforcer, **given)


@pytest.mark.parametrize(
    "headers", [[("stamp\0", b"yes")], {"stamp": "yes\0no"}, [("a", b"1"), ("X-Chio-Receipt\0", b"")]]
)
def test_headers_that_the_client_would_cut_off_are_refused(enforcer: Enforcer, headers: Any) -> None:
    with pytest.raises(ValueError, match="NUL"):
        output(enforcer, "stamped", headers=headers)
    assert output(enforcer, headers=[("stamp", b"yes\0no")]).headers == [("stamp", b"yes\0no")]


def test_a_decision_is_made_again_when_the_policy_changed_before_the_receipt(enforcer: Enforcer) -> None:
    check = output(enforcer)
    assert check.is_allowed
    enforcer.reload(Policy.from_yaml(POLICY.replace("> 10", "> 0")))
    receipt = receipt_of(enforcer, check)
    assert (receipt.verdict, receipt.rule) == ("deny", "too-much")
    assert not check.is_allowed
    assert not output(enforcer).is_allowed


def test_guards_see_output_and_event_and_can_deny(enforcers: Callable[..., Enforcer]) -> None:
    seen: list[Any] = []

    class Watch:
        def evaluate(self, context: Any) -> Any:
            if context.kind == "produce":
                seen.append((context.topic, context.output, context.event, context.has_scope("events:produce:x")))
                return Deny("not this one")
            return Allow()

    enforcer = enforcers(Policy.from_yaml(POLICY), guards=[Watch()])
    event = handed_out(enforcer, value=b"{}")
    check = output(enforcer, event=event, headers={"a": b"1"}, partition=2)
    assert check.guards_due == ("Watch",)
    assert enforcer.gate.issue_checks([check]) == [check]
    assert check.receipt_id is None
    enforcer.guards.run([check])
    shown = {
        "topic": "results",
        "partition": 2,
        "key": b"k",
        "value": b'{"amount": 1}',
        "headers": [("a", b"1")],
        "timestamp": 0,
    }
    assert seen == [("results", shown, event, True)]
    assert not check.is_allowed
    receipt = receipt_of(enforcer, check)
    assert (receipt.verdict, receipt.rule, receipt.reason) == ("deny", "guard:Watch", "not this one")


def test_a_receipt_that_was_not_acted_upon_is_taken_back(enforcer: Enforcer) -> None:
    check = output(enforcer)
    enforcer.gate.rollback_checks([check])
    assert enforcer.log.issued == 0
    receipt = receipt_of(enforcer, check)
    enforcer.gate.rollback_checks([check])
    enforcer.seal()
    taken_back = enforcer.receipt_log.page(kind="rollback").receipts
    assert [(record.rollback, record.target.topic) for record in taken_back] == [(receipt.id, "results")]


def test_an_output_is_sent_as_it_was_decided_once_it_has_its_receipt(enforcer: Enforcer) -> None:
    check = output(enforcer, "stamped", headers={"stamp": "yes"}, timestamp=1_700_000_000_000)
    sent: list[Any] = []
    with pytest.raises(ValueError, match="only an output that has its receipt can be sent"):
        check.send(lambda *given: sent.append(given), None)
    enforcer.gate.issue_checks([check])
    check.send(lambda *given: sent.append(given), print)
    headers = [("stamp", "yes"), ("X-Chio-Receipt", check.receipt_id), ("X-Chio-Scope", "events:produce:stamped")]
    assert sent == [("stamped", b'{"amount": 1}', b"k", -1, print, None, 1_700_000_000_000, headers)]


@pytest.mark.parametrize(
    ("headers", "carried"),
    [
        (None, [("traceparent", b"theirs")]),
        ({"other": b"1"}, [("other", b"1"), ("traceparent", b"theirs")]),
        ([("traceparent", "ours")], [("traceparent", "ours")]),
    ],
)
def test_an_outlet_may_carry_on_the_trace_of_the_event(enforcer: Enforcer, headers: Any, carried: list[Any]) -> None:
    event = handed_out(enforcer, value=b"{}", headers=[("traceparent", b"theirs")])
    outlet = enforcer.gate.outlet("results", scope="events:produce:results", identity=IDENTITY, carries_trace=True)
    check = enforcer.gate.output(outlet, b"k", b'{"amount": 1}', headers, event=event)
    assert check.headers == carried

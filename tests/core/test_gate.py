"""`Gate`: lists of consumed messages are decided, and get receipts when they are handed out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from chio_fast import Allow, ChioRevoked, Deny, Enforcer, Event, Policy
from chio_fast.context import current_event
from chio_fast.decision import GuardRun
from tests.core.conftest import IDENTITY

Make = Callable[..., Enforcer]


def message(offset: int, topic: str = "tasks", partition: int = 0, **members: Any) -> Message:
    return Message(topic=topic, partition=partition, offset=offset, timestamp=(1, 1000 + offset), **members)


def assigned(enforcer: Any, *topics: str, number: int = 0, identity: str = IDENTITY) -> dict[tuple[str, int], Any]:
    return {
        (topic, number): enforcer.gate.partition(
            topic,
            number,
            scope=f"events:consume:{topic}",
            identity=identity,
            cluster="cluster",
            topic_id=f"id of {topic}",
            group="group",
            stamp=1,
        )
        for topic in topics
    }


def admitted(enforcer: Any, messages: list[Message], partitions: dict[tuple[str, int], Any]) -> list[Event]:
    events, errors, strays = enforcer.gate.admit(messages, partitions)
    assert (errors, strays) == ([], [])
    return events


def test_messages_become_events_in_order_and_receipts_come_at_hand_out(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks", "later")
    given = [message(0), message(0, "later"), message(1, value=b'{"secret": 1}'), message(2, value=b"{}")]
    events = admitted(enforcer, given, partitions)
    assert [event.raw for event in events] == given
    assert [event.chio_receipt_id for event in events] == [None] * 4
    assert enforcer.log.issued == 0
    allowed, denied = enforcer.issue(events)
    assert [event.raw for event in allowed] == [given[0], given[3]]
    assert [event.raw for event in denied] == given[1:3]
    assert [event.chio_decision.verdict for event in denied] == ["delay", "deny"]
    assert [event.ordinal for event in events] == [1, 2, 3, 4]
    enforcer.seal()
    assert [receipt.id for receipt in enforcer.receipt_log.query()] == [event.chio_receipt_id for event in events]


def test_a_receipt_says_where_the_event_lives_and_what_it_names_as_parents(enforcer: Enforcer) -> None:
    parent = enforcer.check("tools:search:web", arguments={}).receipt_id
    headers = [("traceparent", b"trace"), ("X-Chio-Receipt", str(parent).encode()), ("X-Chio-Receipt", b"\xff")]
    enforcer.issue(
        admitted(enforcer, [message(7, headers=headers, key=b"k", value=b"{}")], assigned(enforcer, "tasks"))
    )
    enforcer.seal()
    receipt = enforcer.receipt_log.page(kind="consume").receipts[0]
    assert receipt.target == type(receipt.target)(
        cluster="cluster", group="group", topic="tasks", topic_id="id of tasks", partition=0, offset=7, timestamp=1007
    )
    assert (receipt.parents, receipt.parents_rejected, receipt.correlation) == ((parent,), 1, "trace")
    assert (receipt.request, receipt.attempt) == ("chio-kafka-tasks-0-7", 1)


def test_the_correlation_text_comes_from_the_first_configured_header_that_is_there(enforcers: Make) -> None:
    enforcer = enforcers(correlation_headers=["X-Order", "X-Session"])
    headers = [("traceparent", b"trace"), ("X-Session", b"session"), ("X-Order", b"order")]
    partitions = assigned(enforcer, "tasks")
    given = [message(offset, headers=headers[: 3 - offset], value=b"{}") for offset in range(3)]
    enforcer.issue(admitted(enforcer, given, partitions))
    enforcer.seal()
    assert [receipt.correlation for receipt in enforcer.receipt_log.query()] == ["order", "session", None]


def test_the_same_event_again_is_the_same_request_and_a_higher_attempt(enforcer: Enforcer) -> None:
    attempts = []
    for _ in range(3):
        [event], _ = enforcer.issue(admitted(enforcer, [message(4, value=b"{}")], assigned(enforcer, "tasks")))
        enforcer.seal()
        attempts.append((event.request, enforcer.log.attempts([event.ordinal or 0])))
    assert attempts == [("chio-kafka-tasks-0-4", [attempt]) for attempt in (1, 2, 3)]


def test_messages_with_errors_and_strays_are_handed_back_undecided(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks")
    broken = message(1, error=KafkaError(KafkaError._PARTITION_EOF))
    elsewhere = [message(0, "other"), message(0, partition=1), Message(topic="tasks", partition=0)]
    events, errors, strays = enforcer.gate.admit([message(5), broken, *elsewhere], partitions)
    assert ([event.offset() for event in events], errors, strays) == ([5], [broken], elsewhere)


def test_offsets_that_go_back_are_strays_until_a_seek(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks")
    admitted(enforcer, [message(5)], partitions)
    [partition] = partitions.values()
    assert partition.admitted == 6
    again = message(5)
    assert enforcer.gate.admit([again], partitions) == ([], [], [again])
    partition.admitted = -1
    assert len(admitted(enforcer, [again], partitions)) == 1


def test_events_of_an_old_stamp_are_neither_handed_out_nor_receipted(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks")
    events = admitted(enforcer, [message(0), message(1)], partitions)
    assert events[0].stamp == 1
    partitions["tasks", 0].stamp = 2
    assert not events[0].is_current
    assert enforcer.issue(events) == ([], [])
    assert enforcer.log.issued == 0


def test_an_event_gets_one_receipt_however_often_it_is_issued(enforcer: Enforcer) -> None:
    [event] = admitted(enforcer, [message(0)], assigned(enforcer, "tasks"))
    enforcer.issue([event, event])
    first = event.chio_receipt_id
    assert enforcer.issue([event]) == ([event], [])
    assert (event.chio_receipt_id, enforcer.log.issued) == (first, 1)


def test_positions_follow_what_was_issued(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks")
    [partition] = partitions.values()
    assert (partition.position, partition.handed) == (-1, -1)
    secret = message(4, value=b'{"secret": 1}')
    events = admitted(enforcer, [message(3), secret, message(9)], partitions)
    floors = []
    for event in events:
        enforcer.issue([event])
        floors.append((event.floor, partition.position, partition.handed))
    assert floors == [(-1, 4, 4), (4, 5, 4), (4, 10, 10)]


def test_a_policy_that_changed_meanwhile_decides_again(enforcer: Enforcer) -> None:
    events = admitted(enforcer, [message(0), message(1)], assigned(enforcer, "tasks"))
    assert [event.chio_decision.verdict for event in events] == ["allow", "allow"]
    other = Policy.from_dict({"chio": "policy/v1", "identities": {"a": {"capabilities": ["tools:a"]}}})
    enforcer.reload(other)
    assert enforcer.issue(events) == ([], events)
    assert {event.chio_decision.policy_version for event in events} == {other.version}
    assert enforcer.stats().redecided == 2
    enforcer.seal()
    assert {batch.policy_version for batch in enforcer.receipt_log.batches()} == {other.version}


def test_a_decision_whose_window_ended_is_made_again(enforcers: Make) -> None:
    soon = time.time() + 0.3
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(soon)) + f".{int(soon * 1000) % 1000:03d}Z"
    rule = {"id": "soon", "effect": "allow", "identities": ["*"], "scopes": ["events:consume:*"], "expires_at": stamp}
    enforcer = enforcers(Policy.from_dict({"chio": "policy/v1", "rules": [rule]}))
    [event] = admitted(enforcer, [message(0)], assigned(enforcer, "tasks"))
    decision = event.chio_decision
    assert decision.verdict == "allow"
    while time.time() * 1000 < decision.valid_until:
        time.sleep(0.01)
    assert enforcer.issue([event]) == ([], [event])


def test_values_of_a_client_with_deserializers_are_refused(enforcer: Enforcer) -> None:
    with pytest.raises(TypeError, match="without deserializers"):
        enforcer.gate.admit([message(0, value={"a": 1})], assigned(enforcer, "tasks"))


def test_conditions_read_headers(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "marked")
    given = [message(0, "marked", headers=[("stop", b"")]), message(1, "marked", headers=[("go", b"")])]
    events = admitted(enforcer, [*given, message(2, "marked")], partitions)
    assert [event.chio_decision.verdict for event in events] == ["deny", "allow", "allow"]


class Unreadable:
    """A message whose headers make the accessor fail, as a name that is not UTF-8 does."""

    def __init__(self, inner: Message) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def headers(self) -> Any:
        raise SystemError("returned a result with an exception set")


def test_headers_that_cannot_be_read_deny_where_a_condition_reads_them(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "marked", "tasks")
    events = admitted(enforcer, [Unreadable(message(0, "marked")), Unreadable(message(1))], partitions)  # type: ignore[list-item]
    allowed, denied = enforcer.issue(events)
    assert ([event.topic() for event in allowed], [event.topic() for event in denied]) == (["tasks"], ["marked"])
    enforcer.seal()
    assert [receipt.parents_rejected for receipt in enforcer.receipt_log.query()] == [1, 1]


class Watch:
    """Denies the events at some offsets."""

    name = "watch"

    def __init__(self, *denied: int) -> None:
        self.denied = denied

    def evaluate(self, context: Any) -> Any:
        return Deny("seen") if context.event.offset() in self.denied else Allow()


def test_due_guards_run_before_any_receipt_of_the_list(enforcers: Make, policy: Policy) -> None:
    enforcer = enforcers(policy, guards={"watch": Watch(1)})
    partitions = assigned(enforcer, "watched", "tasks")
    events = admitted(enforcer, [message(0), message(0, "watched"), message(1, "watched")], partitions)
    assert [event.guards_due for event in events] == [(), ("watch",), ("watch",)]
    assert enforcer.gate.issue(events) == ([], [], events[1:])
    assert enforcer.log.issued == 0
    assert enforcer.issue(events) == (events[:2], events[2:])
    assert (events[2].chio_decision.rule, events[2].chio_decision.reason) == ("guard:watch", "seen")
    assert events[1].chio_decision.guard_runs == (GuardRun("watch", "allow"),)
    enforcer.seal()
    assert [receipt.guards for receipt in enforcer.receipt_log.query()] == [
        (),
        (GuardRun("watch", "allow"),),
        (GuardRun("watch", "deny", "seen"),),
    ]


def test_a_guard_that_a_new_policy_asks_for_runs_too(enforcers: Make, policy: Policy, unguarded: Policy) -> None:
    enforcer = enforcers(unguarded, guards={"watch": Watch(0)})
    [event] = admitted(enforcer, [message(0, "watched")], assigned(enforcer, "watched"))
    assert event.chio_decision.verdict == "deny"
    enforcer.reload(policy)
    assert enforcer.issue([event]) == ([], [event])
    assert event.chio_decision.rule == "guard:watch"


def test_runs_of_guards_that_are_not_due_count_for_nothing(enforcer: Enforcer) -> None:
    [event] = admitted(enforcer, [message(0)], assigned(enforcer, "tasks"))
    event.guards_ran([GuardRun("intruder", "deny", "no")])
    assert enforcer.issue([event]) == ([event], [])
    assert event.chio_decision.guard_runs == ()


def test_receipts_that_were_not_acted_upon_are_rolled_back(enforcer: Enforcer) -> None:
    events = admitted(enforcer, [message(0), message(1)], assigned(enforcer, "tasks"))
    enforcer.issue(events[:1])
    enforcer.gate.rollback(events)
    enforcer.seal()
    consumed, rollback = enforcer.receipt_log.query()
    assert (rollback.kind, rollback.rollback, rollback.verdict) == ("rollback", consumed.id, None)
    assert rollback.target == consumed.target


def test_evidence_before_the_action_is_said_in_the_receipt(enforcer: Enforcer) -> None:
    events = admitted(enforcer, [message(0)], assigned(enforcer, "tasks"))
    enforcer.issue(events, before_action=True)
    enforcer.seal()
    assert [receipt.evidence for receipt in enforcer.receipt_log.query()] == ["before_action"]


def test_an_event_has_the_whole_surface_of_a_message(enforcer: Enforcer) -> None:
    own = message(3, key=b"k", value=b"v", headers=[("a", b"1")], latency=0.5, leader_epoch=4)
    [event] = admitted(enforcer, [own], assigned(enforcer, "tasks"))
    names = [name for name in dir(Message) if not name.startswith("_")]
    assert len(names) >= 15
    for name in names:
        if not name.startswith("set_"):
            assert getattr(event, name)() == getattr(own, name)(), name
    assert len(event) == len(own)
    changes = {"set_key": b"K", "set_value": b"V", "set_topic": "T", "set_headers": [("b", b"2")], "set_error": None}
    assert {name for name in names if name.startswith("set_")} == set(changes)
    for name, value in changes.items():
        getattr(event, name)(value)
        accessor = name.removeprefix("set_")
        assert getattr(event, accessor)() == getattr(own, accessor)() == value


def test_what_is_set_on_an_event_does_not_change_its_receipt(enforcer: Enforcer) -> None:
    one, other = assigned(enforcer, "tasks"), assigned(enforcer, "tasks")
    [event] = admitted(enforcer, [message(3, value=b"v")], one)
    event.set_value(b"other")
    enforcer.issue([event])
    enforcer.issue(admitted(enforcer, [message(3, value=b"v")], other))
    enforcer.seal()
    first, second = enforcer.receipt_log.query()
    assert first.digest == second.digest


def test_the_event_being_handled_is_parent_and_inbound_event_of_what_happens(enforcer: Enforcer) -> None:
    [event], _ = enforcer.issue(admitted(enforcer, [message(0)], assigned(enforcer, "tasks")))
    assert current_event() is None
    with event as handled:
        assert handled is current_event() is event
        enforcer.check("tools:search:web", arguments={})
    assert current_event() is None
    enforcer.seal()
    chain = enforcer.receipt_log.chain(str(event.chio_receipt_id), "forward")
    assert [(link.parent, link.kind) for link in chain.links] == [(event.chio_receipt_id, "verified")]


def test_no_tool_runs_for_an_event_of_an_old_stamp(enforcer: Enforcer) -> None:
    ran = []
    enforcer.tool("search", lambda: ran.append(1))
    partitions = assigned(enforcer, "tasks")
    [event], _ = enforcer.issue(admitted(enforcer, [message(0)], partitions))
    with event:
        enforcer.invoke("search", "tools:search:web")
        partitions["tasks", 0].stamp = 2
        with pytest.raises(ChioRevoked, match="chio-kafka-tasks-0-0"):
            enforcer.invoke("search", "tools:search:web")
    assert (ran, enforcer.log.issued) == ([1], 3)


def test_a_stand_in_for_a_message_will_do(enforcer: Enforcer) -> None:
    class Standin:
        def __init__(self, inner: Message) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    given = message(0, key="text", value="{}", headers=[("a", b"1")])
    [event] = admitted(enforcer, [Standin(given)], assigned(enforcer, "tasks"))  # type: ignore[list-item]
    assert enforcer.issue([event]) == ([event], [])
    assert (event.key(), event.value(), event.headers()) == ("text", "{}", [("a", b"1")])


def test_the_digest_covers_the_headers_that_the_policy_names_and_no_others(enforcers: Make) -> None:
    rule = {"id": "r", "effect": "deny", "identities": ["*"], "scopes": ["x:y"], "when": "event.headers.named == 'no'"}
    capabilities = ["events:consume:t", "events:produce:t"]
    enforcer = enforcers(
        Policy.from_dict(
            {"chio": "policy/v1", "identities": {IDENTITY: {"capabilities": capabilities}}, "rules": [rule]}
        )
    )
    plain: list[tuple[str, bytes]] = [("other", b"1")]
    named = [("named", b"2"), *plain]
    produced = [
        enforcer.check("events:produce:t", output={"topic": "t", "value": b"v", "headers": headers}).receipt_id
        for headers in (plain, named)
    ]
    partitions = assigned(enforcer, "t")
    given = [
        message(i, "t", value=b"v", headers=[*headers, ("X-Chio-Receipt", str(parent).encode())])
        for i, (headers, parent) in enumerate(zip((plain, named, []), [*produced, produced[0]], strict=True))
    ]
    enforcer.issue(admitted(enforcer, given, partitions))
    enforcer.seal()
    digests = [receipt.digest for receipt in enforcer.receipt_log.query()]
    assert digests[:2] == digests[2:4]
    assert digests[4] == digests[0] != digests[1]
    for receipt_id in produced:
        links = enforcer.receipt_log.chain(str(receipt_id), "forward").links
        assert {link.kind for link in links} == {"verified"}

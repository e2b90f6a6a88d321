"""The short way of a handler's output: what comes through is decided as on the long one, the rest is left to that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Message

from chio_fast import Allow, Enforcer, Event, Policy
from chio_fast._native import RUNNING, Check, Exits, HandlerContext, Partition, Run, Work, by_partition
from chio_fast.guards import GuardContext
from chio_fast.kafka.assignment import Assigned
from tests.core.conftest import IDENTITY

POLICY = """
chio: policy/v1
identities:
  research-agents:
    capabilities: [events:consume:tasks, "events:produce:*"]
rules:
  - id: too-much
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:results"]
    when: output.value.amount > 10 || 'no' in output.headers
"""
PLAIN: dict[str, Any] = {"value": b'{"amount": 1}', "key": b"k", "headers": None, "partition": -1, "timestamp": 0}
LARGEST = 40


class Look:
    """A guard that runs for everything."""

    name = "look"

    def evaluate(self, context: GuardContext) -> Allow:
        return Allow()


@pytest.fixture
def enforcer(enforcers: Callable[..., Enforcer]) -> Enforcer:
    """An enforcer of the policy above."""
    return enforcers(Policy.from_yaml(POLICY))


@pytest.fixture
def partition(enforcer: Enforcer) -> Partition:
    return enforcer.gate.partition("tasks", 0, scope="events:consume:tasks", identity=IDENTITY, stamp=1)


@pytest.fixture
def event(enforcer: Enforcer, partition: Partition) -> Event:
    message = Message(topic="tasks", partition=0, offset=5, headers=[("traceparent", b"trace")], timestamp=(1, 1000))
    events, _, _ = enforcer.gate.admit([message], {("tasks", 0): partition})
    enforcer.gate.take(events)
    return events[0]


class LongWay:
    """Others, who are asked where there is more to do or to say."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def produce(self, *given: Any) -> None:
        self.asked.append(given)


def output(
    enforcer: Enforcer,
    event: Event,
    topic: str = "results",
    parents: list[str] | None = None,
    largest: int | None = LARGEST,
    **more: Any,
) -> Check | None:
    """Produce as a handler does; None if that was left to others, who were given everything."""
    outlets = [
        (enforcer.gate.outlet(topic, scope=f"events:produce:{topic}", identity=IDENTITY, carries_trace=True), largest)
        for topic in ("results", "answers")
    ]
    others: Any = LongWay()
    done: Any = object()
    partition = enforcer.gate.partition("tasks", 0, scope="events:consume:tasks", identity=IDENTITY, stamp=1)
    held = Assigned(("tasks", 0), partition, None)
    work = Work(event, Run(held, print, 0, is_async=False, unproven=0, generation=1))
    work.state = RUNNING
    ctx = HandlerContext(work, Exits(enforcer.gate, outlets, others, done))
    for parent in parents or []:
        ctx.note_call(parent)
    given = PLAIN | more
    found = ctx.produce(topic, **given)
    if work.outputs:
        [check] = work.outputs
        assert (found, others.asked) == (done, [])
        return check
    assert found is None
    assert others.asked == [(ctx, topic, *given.values(), tuple(parents or ()))]
    return None


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"value": None, "topic": "answers"},
        {"key": None},
        {"key": "text"},
        {"headers": [("h", b"1")], "partition": 3, "timestamp": 77},
        {"headers": {"h": "1"}},
        {"headers": (("h", None),)},
        {"value": b'{"amount": 1}'.ljust(LARGEST - 1)},
    ],
)
def test_what_is_plain_is_decided_as_the_gate_decides_it(
    enforcer: Enforcer, event: Event, more: dict[str, Any]
) -> None:
    parents = [event.chio_receipt_id or ""]
    found = output(enforcer, event, parents=parents, **more)
    given = PLAIN | more
    outlet = enforcer.gate.outlet(
        given.pop("topic", "results"), scope="events:produce:results", identity=IDENTITY, carries_trace=True
    )
    expected = enforcer.gate.output(
        outlet, given["key"], given["value"], given["headers"], given["partition"], given["timestamp"], event, parents
    )
    assert found is not None
    assert found.is_allowed
    assert not found.guards_due
    assert (found.output, found.headers, found.event) == (expected.output, expected.headers, event)
    assert ("traceparent", b"trace") in (found.headers or ())


@pytest.mark.parametrize(
    "more",
    [
        {"topic": "elsewhere"},
        {"value": "text"},
        {"value": {"amount": 1}},
        {"value": bytearray(b"1")},
        {"key": 5},
        {"value": b'{"amount": 11}'},
        {"headers": [("no", b"")]},
        {"value": b'{"amount": 1}'.ljust(LARGEST)},
        {"key": "ä" * 20, "value": b'{"amount": 1}'},
    ],
)
def test_what_needs_more_is_left_to_others(enforcer: Enforcer, event: Event, more: dict[str, Any]) -> None:
    assert output(enforcer, event, **more) is None
    enforcer.seal()
    assert list(enforcer.receipt_log.query(kind="produce")) == []


def test_headers_that_can_be_read_once_are_left_unread(enforcer: Enforcer, event: Event) -> None:
    headers = iter([("h", b"1")])
    assert output(enforcer, event, headers=headers) is None
    assert list(headers) == [("h", b"1")]


def test_nothing_comes_through_for_an_event_that_is_not_ours_any_longer(
    enforcer: Enforcer, event: Event, partition: Partition
) -> None:
    partition.stamp += 1
    assert output(enforcer, event) is None


def test_where_a_guard_has_to_run_others_decide(enforcers: Callable[..., Enforcer]) -> None:
    enforcer = enforcers(Policy.from_yaml(POLICY), guards=[Look()])
    partition = enforcer.gate.partition("tasks", 0, scope="events:consume:tasks", identity=IDENTITY, stamp=1)
    message = Message(topic="tasks", partition=0, offset=5, timestamp=(1, 1000))
    [event], _, _ = enforcer.gate.admit([message], {("tasks", 0): partition})
    assert output(enforcer, event) is None


def test_where_nothing_limits_outputs_any_size_is_plain(enforcer: Enforcer, event: Event) -> None:
    assert output(enforcer, event, largest=None, value=b'{"amount": 1}'.ljust(100_000)) is not None


def test_events_are_taken_apart_where_the_partition_changes(enforcer: Enforcer) -> None:
    def assigned(number: int) -> Partition:
        return enforcer.gate.partition("tasks", number, scope="events:consume:tasks", identity=IDENTITY, stamp=1)

    partitions = {("tasks", number): assigned(number) for number in range(2)}
    numbers = [0, 0, 1, 0, 1, 1]
    messages = [Message(topic="tasks", partition=n, offset=at, timestamp=(1, 1)) for at, n in enumerate(numbers)]
    events, _, _ = enforcer.gate.admit(messages, partitions)
    parts = [(topic, n, [event.offset() for event in part]) for topic, n, part in by_partition(events)]
    assert parts == [("tasks", 0, [0, 1]), ("tasks", 1, [2]), ("tasks", 0, [3]), ("tasks", 1, [4, 5])]
    assert by_partition([]) == []

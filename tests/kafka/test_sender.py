"""Outputs reach a topic by the fast road as they do by the client's own `produce`, on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from chio_fast import Enforcer, Policy
from chio_fast._native import Check, Sender
from tests.kafka.broker import Broker
from tests.kafka.topics import read

POLICY = """
chio: policy/v1
identities:
  writers:
    capabilities: ["events:consume:*", "events:produce:*"]
"""
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OUTPUTS: list[dict[str, Any]] = [
    {"key": b"k", "value": b"v", "headers": None},
    {"key": None, "value": None, "headers": None},
    {"key": b"", "value": b"", "headers": []},
    {
        "key": "schl\u00fcssel",
        "value": "wert \U0001f511",
        "headers": {"a": "text", "b": b"\x00\xff", "c": None, "d": b""},
    },
    {
        "key": b"\x00",
        "value": b"\x00" * 3,
        "headers": [("twice", b"1"), ("twice", b"2"), ("\u00fc", "\u00e4"), ("", b"")],
    },
    {"key": b"k", "value": b"v", "headers": [("X-Chio-Receipt", b"another's"), ("X-Chio-Scope", b"another's")]},
    {"key": b"k", "value": b"v", "headers": [("traceparent", b"its own")]},
    {"key": b"k", "value": b"v", "headers": None, "partition": 1},
    {"key": b"k", "value": b"v", "headers": None, "partition": 0, "timestamp": 1_000_000},
    {"key": b"k", "value": b"v" * 100_000, "headers": [(f"h{i}", bytes(i)) for i in range(40)]},
]
"""What is produced, as the arguments of `Gate.output`."""


@pytest.fixture
def enforcer(tmp_path: Path) -> Iterator[Enforcer]:
    """Somebody who may produce to every topic."""
    with Enforcer(Policy.from_yaml(POLICY), receipt_log=tmp_path / "log", identity="writers") as made:
        yield made


@pytest.fixture
def producer(broker: Broker) -> Producer:
    """A producer of the client's own."""
    return Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})


@pytest.fixture
def outputs(enforcer: Enforcer) -> Callable[..., list[Check]]:
    """Makes outputs to a topic, of an event that is part of a trace, with their receipts."""
    partition = enforcer.gate.partition("source", 0, scope="events:consume:source", identity="writers", stamp=1)
    message = Message(topic="source", partition=0, offset=5, headers=[("traceparent", TRACE)])
    events, _, _ = enforcer.gate.admit([message], {("source", 0): partition})
    [event], _ = enforcer.issue(events)

    def make(topic: str, given: list[dict[str, Any]]) -> list[Check]:
        scope = f"events:produce:{topic}"
        outlet = enforcer.gate.outlet(topic, scope=scope, identity="writers", carries_trace=True)
        checks = [enforcer.gate.output(outlet, **each, event=event) for each in given]
        assert enforcer.gate.issue_checks(checks) == []
        return checks

    return make


def records(broker: Broker, checks: list[Check]) -> list[Message]:
    """What outputs to one topic have become, in their order."""
    topic = str(checks[0].scope).rpartition(":")[2]
    found = {dict(record.headers() or [])["X-Chio-Receipt"]: record for record in read(broker.bootstrap, topic)}
    return [found.pop(str(check.receipt_id).encode()) for check in checks]


def test_both_roads_lead_to_the_same_records(
    broker: Broker, new_topic: Callable[..., str], producer: Producer, outputs: Callable[..., list[Check]]
):
    by_produce, by_sender = (outputs(new_topic(label, partitions=2), OUTPUTS) for label in ("produce", "sender"))
    for check in by_produce:
        check.send(producer.produce, None)
    assert Sender(producer).hand(by_sender) == (len(OUTPUTS), 0)
    assert producer.flush(30) == 0
    both = zip(by_sender, records(broker, by_sender), records(broker, by_produce), strict=True)
    for given, (check, fast, ordinary) in zip(OUTPUTS, both, strict=True):
        receipt = ("X-Chio-Receipt", str(check.receipt_id).encode())
        headers = ordinary.headers() or []
        assert fast.headers() == [*headers[:-2], receipt, ("X-Chio-Scope", check.scope.encode())]
        assert [name for name, _ in headers[-2:]] == ["X-Chio-Receipt", "X-Chio-Scope"]
        assert (fast.key(), fast.value()) == (ordinary.key(), ordinary.value())
        if given["key"] or "partition" in given:  # else it is drawn by lot
            assert fast.partition() == ordinary.partition()
        if "timestamp" in given:
            assert fast.timestamp() == ordinary.timestamp() == (1, given["timestamp"])
        trace = dict(given["headers"] or {}).get("traceparent", TRACE)
        assert [value for name, value in headers if name == "traceparent"] == [trace]


def test_what_the_producer_refuses_stops_the_list_there(
    broker: Broker, new_topic: Callable[..., str], producer: Producer, outputs: Callable[..., list[Check]]
):
    topic = new_topic()
    given = [{"key": None, "value": value, "headers": None} for value in (b"1", b"2", b"x" * 2_000_000, b"3")]
    checks = outputs(topic, given)
    sender = Sender(producer)
    assert sender.hand(checks) == (2, KafkaError.MSG_SIZE_TOO_LARGE)
    assert sender.hand(checks[3:]) == (1, 0)
    assert producer.flush(30) == 0
    [nowhere] = outputs(topic, [{"key": None, "value": b"4", "headers": None, "partition": 7}])
    assert sender.hand([nowhere]) == (0, KafkaError._UNKNOWN_PARTITION)
    assert [record.value() for record in read(broker.bootstrap, topic)] == [b"1", b"2", b"3"]


def test_a_full_queue_says_so_and_takes_the_rest_later(
    broker: Broker, new_topic: Callable[..., str], outputs: Callable[..., list[Check]]
):
    topic = new_topic()
    # It keeps what it has until it is asked to flush.
    lingering = {"queue.buffering.max.messages": 10, "batch.num.messages": 10, "linger.ms": 100_000}
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, **lingering})
    given = [{"key": None, "value": b"%d" % i, "headers": None, "partition": 0} for i in range(25)]
    rest, sender = outputs(topic, given), Sender(producer)
    while True:
        taken, code = sender.hand(rest)
        rest = rest[taken:]
        if code == 0:
            break
        assert code == KafkaError._QUEUE_FULL
        assert producer.flush(30) == 0
    assert producer.flush(30) == 0
    assert [record.value() for record in read(broker.bootstrap, topic)] == [each["value"] for each in given]


def test_nobody_hears_of_what_was_handed_over_and_everybody_of_the_others(
    new_topic: Callable[..., str], broker: Broker, outputs: Callable[..., list[Check]]
):
    topic, heard = new_topic(), []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "on_delivery": lambda *report: heard.append(report)})
    fast, ordinary = outputs(topic, OUTPUTS[:2])
    assert Sender(producer).hand([fast]) == (1, 0)
    ordinary.send(producer.produce, None)
    assert producer.flush(30) == 0
    assert [(error, message.value()) for error, message in heard] == [(None, OUTPUTS[1]["value"])]


def test_nothing_is_handed_over_unless_all_have_their_receipts(
    broker: Broker,
    new_topic: Callable[..., str],
    producer: Producer,
    enforcer: Enforcer,
    outputs: Callable[..., list[Check]],
):
    topic = new_topic()
    checks = outputs(topic, OUTPUTS[:1])
    outlet = enforcer.gate.outlet(topic, scope=f"events:produce:{topic}", identity="writers")
    request = enforcer.gate.request("writers", "events:produce:x", kind="produce")
    for other in (enforcer.gate.output(outlet, None, b"v", None), request):
        with pytest.raises(ValueError, match="only an output that has its receipt"):
            Sender(producer).hand([*checks, other])
    assert producer.flush(30) == 0
    assert list(read(broker.bootstrap, topic)) == []


def test_the_road_is_closed_where_the_client_is_not_what_is_known(
    new_topic: Callable[..., str], producer: Producer, outputs: Callable[..., list[Check]]
):
    class Own(Producer):
        """Somebody else's."""

    with pytest.raises(TypeError, match="not the client's own Producer"):
        Sender(Own({"log_level": 0}))
    checks, sender = outputs(new_topic(), OUTPUTS), Sender(producer)
    producer.close()
    with pytest.raises(RuntimeError, match="closed"):
        sender.hand(checks)
    with pytest.raises(RuntimeError, match="closed"):
        Sender(producer)

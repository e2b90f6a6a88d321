"""Outputs reach a topic by the fast road as they do by the client's own `produce`, on a real broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from chio_fast import Enforcer
from chio_fast._native import Sender
from tests.kafka.broker import Broker
from tests.kafka.outputs import TRACE, Outputs, enforcer, outputs, records
from tests.kafka.topics import read

__all__ = ["enforcer", "outputs"]

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
def producer(broker: Broker) -> Producer:
    """A producer of the client's own."""
    return Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})


def test_both_roads_lead_to_the_same_records(
    broker: Broker, new_topic: Callable[..., str], producer: Producer, outputs: Outputs
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
    broker: Broker, new_topic: Callable[..., str], producer: Producer, outputs: Outputs
):
    topic = new_topic()
    given = [{"value": value} for value in (b"1", b"2", b"x" * 2_000_000, b"3")]
    checks = outputs(topic, given)
    sender = Sender(producer)
    assert sender.hand(checks) == (2, KafkaError.MSG_SIZE_TOO_LARGE)
    assert sender.hand(checks[3:]) == (1, 0)
    assert producer.flush(30) == 0
    [nowhere] = outputs(topic, [{"value": b"4", "partition": 7}])
    assert sender.hand([nowhere]) == (0, KafkaError._UNKNOWN_PARTITION)
    assert [record.value() for record in read(broker.bootstrap, topic)] == [b"1", b"2", b"3"]


def test_a_full_queue_says_so_and_takes_the_rest_later(broker: Broker, new_topic: Callable[..., str], outputs: Outputs):
    topic = new_topic()
    # It keeps what it has until it is asked to flush.
    lingering = {"queue.buffering.max.messages": 10, "batch.num.messages": 10, "linger.ms": 100_000}
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, **lingering})
    given = [{"value": b"%d" % i, "partition": 0} for i in range(25)]
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
    new_topic: Callable[..., str], broker: Broker, outputs: Outputs
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
    outputs: Outputs,
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
    new_topic: Callable[..., str], producer: Producer, outputs: Outputs
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

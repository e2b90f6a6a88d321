"""A message that nobody wants to hear of goes past Python, and arrives as through the client's own `produce`."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from chio_fast import ChioError, ChioProducerMiddleware, LogError, Policy
from tests.kafka.patience import PATIENCE, patiently
from tests.kafka.producer_world import World, world
from tests.kafka.test_failures import full_disk

__all__ = ["world"]

CONTENTS: list[Any] = [None, b"", "", b"\0a\xff", "grüße", "a\0b", b"x" * 2000]
HEADERS: list[Any] = [
    None,
    [],
    {},
    [("a", b"1"), ("b", None), ("a", b""), ("ü", b"\xff\0"), ("", "text")],
    (("a", "1"),),
    {"a": b"1", "traceparent": "trace"},
    [("X-Chio-Receipt", b"somebody else's"), ("traceparent", b"trace"), ("X-Correlation-Id", b"second")],
    [(f"h{i}", bytes(i)) for i in range(40)],
]
OPEN = """
chio: policy/v1
identities:
  writers:
    capabilities: ["events:produce:*"]
rules:
  - id: stamped
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:*"]
    when: "'stamp' in output.headers && output.headers.a == 'unstamped'"
"""


def is_open(producer: ChioProducerMiddleware) -> bool:
    return producer.outbox.backlog.slow_road_reason is None


def as_produced(record: Message) -> tuple[Any, ...]:
    """What the caller chose of a record, and where its own headers are."""
    headers = record.headers() or []
    own = [place for place, (name, _) in enumerate(headers) if name == "X-Chio-Receipt"]
    given = [(name, value) for name, value in headers if name != "X-Chio-Receipt"]
    return record.partition(), record.key(), record.value(), given, record.timestamp()[0], own


def test_records_and_receipts_are_the_same_on_both_roads(world: World) -> None:
    producer = world.producer(policy=Policy.from_yaml(OPEN))
    assert is_open(producer)
    for _ in range(2):  # the topic is not known at first
        producer.produce(world.topic, b"{}", partition=0)
        producer.flush(PATIENCE)
    cases: list[dict[str, Any]] = [{"value": value, "key": key} for value in CONTENTS for key in CONTENTS]
    cases += [{"value": b"{}", "headers": headers} for headers in HEADERS]
    cases += [{"value": b"{}", "partition": partition} for partition in (0, 1)]
    cases += [{"value": b"{}", "timestamp": time} for time in (1, 1_700_000_000_000)]
    cases += [{"value": b"{}", "correlation": "mine"}, {"value": b"{}", "parents": ["no receipt"]}]
    for case in cases:
        # The partitioner's choice for absent keys is random.
        chosen = {"partition": 0} | case
        before = producer.outbox.backlog.sent
        producer.produce(world.topic, **chosen)
        producer.produce(world.topic, **chosen, on_delivery=world.report)
        assert producer.flush(PATIENCE) == 0
        assert producer.outbox.backlog.sent == before + 1
    records = world.audit()
    found = world.receipts()
    pairs: dict[int, list[Message]] = {0: [], 1: []}
    for record in records:
        pairs[record.partition() or 0].append(record)
    assert len(records) == 2 * len(cases) + 2
    for of_partition in pairs.values():
        for express, ordinary in zip(of_partition[::2], of_partition[1::2], strict=True):
            assert as_produced(express) == as_produced(ordinary)
            ids = [dict(record.headers() or [])["X-Chio-Receipt"].decode() for record in (express, ordinary)]
            receipts = [found[receipt_id] for receipt_id in ids]
            for member in ("identity", "scope", "verdict", "rule", "reason", "target", "digest", "parents",
                           "parents_rejected", "correlation"):  # fmt: skip
                assert getattr(receipts[0], member) == getattr(receipts[1], member), member


def test_timestamps_are_those_given_on_both_roads(world: World) -> None:
    producer = world.producer()
    for callback in (None, world.report):
        producer.produce(world.topic, b"{}", partition=0, timestamp=1_700_000_000_000, on_delivery=callback)
    producer.flush(PATIENCE)
    assert [record.timestamp() for record in world.audit()] == [(1, 1_700_000_000_000)] * 2


def test_messages_with_and_without_callbacks_keep_the_order_of_the_calls(world: World) -> None:
    producer = world.producer()
    for number in range(3000):
        callback = world.report if number % 7 < 2 else None
        producer.produce(world.topic, b'{"n": %d}' % number, partition=0, on_delivery=callback)
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0
    assert len(producer) == 0
    values = [b'{"n": %d}' % number for number in range(3000)]
    assert [record.value() for record in world.audit()] == values
    assert [message.value() for _, message in world.reports] == [v for n, v in enumerate(values) if n % 7 < 2]
    assert producer.stats().sent == 3000


def test_what_can_be_read_only_once_is_read_once(world: World) -> None:
    producer = world.producer()
    producer.produce(world.topic, b"{}", headers=iter([("a", b"1")]), parents=iter(["no receipt"]))
    producer.flush(PATIENCE)
    [record] = world.audit()
    assert ("a", b"1") in (record.headers() or [])
    [receipt] = world.receipts().values()
    assert receipt.parents_rejected == 1


def test_a_default_callback_hears_of_every_message(world: World) -> None:
    producer = world.producer({"on_delivery": world.report})
    assert not is_open(producer)
    own = Producer(world.conf() | {"on_delivery": world.report})
    with ChioProducerMiddleware(own, **world.arguments()) as governed:
        assert governed.outbox.backlog.slow_road_reason == "the producer has an `on_delivery` of its own"
        for either in (producer, governed):
            either.produce(world.topic, b"{}")
            assert either.flush(PATIENCE) == 0
    assert [error for error, _ in world.reports] == [None, None]
    assert len(world.audit()) == 2


def test_a_producer_of_another_type_is_used_by_its_own_methods(world: World) -> None:
    class Counting(Producer):
        produced = 0

        def produce(self, *arguments: Any, **keywords: Any) -> None:
            self.produced += 1
            super().produce(*arguments, **keywords)

    own = Counting(world.conf())
    with ChioProducerMiddleware(own, **world.arguments()) as producer:
        assert not is_open(producer)
        producer.produce(world.topic, b"{}")
    assert own.produced == 1
    assert len(world.audit()) == 1


def test_what_the_client_refuses_is_logged_and_its_receipt_taken_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    producer = world.producer({"message.max.bytes": 5000})
    with caplog.at_level(logging.ERROR, "chio_fast.kafka"):
        # With key, value and headers it is larger than the client takes, which only the client knows exactly.
        producer.produce(world.topic, b'{"pad": "%s"}' % (b"x" * 4900), headers={"h": b"y" * 200})
        producer.produce(world.topic, b"{}")
        assert producer.flush(PATIENCE) == 0
    assert "1 messages were not sent" in caplog.text
    assert f"for topic `{world.topic}`: " in caplog.text
    assert (producer.stats().sent, producer.stats().refused) == (1, 1)
    producer.close()
    assert len(world.audit()) == 1
    [taken_back] = world.receipts("rollback").values()
    assert taken_back.rollback == next(iter(world.receipts()))


def test_what_cannot_be_sent_in_time_is_taken_back(world: World) -> None:
    producer = world.producer({"bootstrap.servers": "127.0.0.1:9", "queue.buffering.max.messages": 10})
    for _ in range(50):
        producer.produce(world.topic, b"{}")
    with pytest.raises(ChioError, match="not acknowledged"):
        producer.close(0.5)
    assert len(world.receipts("rollback")) == 40
    assert producer.stats().refused == 40


def test_nothing_is_sent_once_receipts_cannot_be_made_durable(world: World) -> None:
    producer = world.producer()
    producer.produce(world.topic, b'{"n": 0}', partition=0)
    assert producer.flush(PATIENCE) == 0
    with full_disk(world.scenario.log_path):
        with pytest.raises(LogError):
            _produce_on(producer, world)
        assert producer.flush(PATIENCE) == 0
        assert len(producer) == 0
    with pytest.raises(LogError):
        producer.produce(world.topic, b"{}")
    sent = producer.stats().sent
    with pytest.raises(LogError):
        producer.close()
    world.producers.clear()
    assert [record.value() for record in world.audit()] == [b'{"n": %d}' % n for n in range(sent)]


def _produce_on(producer: ChioProducerMiddleware, world: World) -> None:
    for number in range(1, 200_000):
        producer.produce(world.topic, b'{"n": %d}' % number, partition=0)
        producer.poll(0)


def test_a_client_that_is_closed_meanwhile_gets_nothing_more(world: World) -> None:
    producer = world.producer()
    closing = threading.Thread(target=producer.raw.close)
    for number in range(20_000):
        producer.produce(world.topic, b'{"n": %d}' % number, partition=0)
        if number == 5000:
            closing.start()
    closing.join(PATIENCE)
    for _ in patiently("an empty queue"):
        producer.outbox.await_progress(0.1)
        if len(producer.outbox) == producer.outbox.refused:
            break
    stats = producer.stats()
    assert stats.sent + stats.refused == 20_000
    assert len(world.receipts("rollback")) <= stats.refused
    producer.outbox.close()
    producer.enforcer.close()
    world.producers.clear()
    assert [record.value() for record in world.audit()] == [b'{"n": %d}' % n for n in range(stats.sent)]
    assert len(world.receipts("rollback")) == stats.refused


def test_errors_of_the_client_are_told_by_their_own_codes(world: World) -> None:
    producer = world.producer()
    producer.raw.list_topics(world.topic, PATIENCE)
    producer.produce(world.topic, b"{}")
    producer.flush(PATIENCE)
    producer.produce(world.topic, b"{}", partition=77)
    for _ in patiently("a refusal"):
        if producer.outbox._unsent:
            break
    _, error = producer.outbox._unsent[0]
    assert (error.code(), error.str()) == (KafkaError._UNKNOWN_PARTITION, "Local: Unknown partition")
    assert producer.flush(PATIENCE) == 0

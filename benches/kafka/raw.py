"""The loops that a user writes without chio_fast: what the governed consumer is compared with."""

from __future__ import annotations

import uuid
from typing import Any

from confluent_kafka import Consumer

from benches.kafka.run import Offsets, Run, Watch
from benches.kafka.workload import PARTITIONS
from tests.kafka.broker import Broker

BATCH = 500
PATIENCE_S = 30.0


def settings(bootstrap: str) -> dict[str, Any]:
    """The tuned client settings that both sides of every comparison use, with a group of its own.

    `fetch.queue.backoff.ms` is 1,000 in librdkafka, which caps the draining of a backlog at a third of what the client
    can do: an untuned baseline would flatter us.
    """
    return {
        "bootstrap.servers": bootstrap,
        "group.id": f"bench-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.queue.backoff.ms": 10,
        "isolation.level": "read_committed",
    }


def read(message: Any) -> int:
    """Reads what a handler needs at least of a message or an event: topic, partition, key, value, offset; gives it."""
    message.topic()
    message.partition()
    message.key()
    message.value()
    offset: int = message.offset()
    return offset


def read_with_headers(message: Any) -> int:
    """The same and the headers."""
    message.headers()
    return read(message)


def consume_loop(broker: Broker, topic: str, count: int, *, headers: bool = False) -> Run:
    """`consume(500)`, every message read, one asynchronous commit per batch."""
    reader = read_with_headers if headers else read
    conf = settings(broker.bootstrap)
    consumer = Consumer(conf)
    consumer.subscribe([topic])
    watch = Watch(broker)
    seen = total = 0
    while seen < count:
        messages = consumer.consume(1, PATIENCE_S)
        watch.start()
        messages += consumer.consume(BATCH - 1, 0)
        assert messages, f"no message for {PATIENCE_S} s after {seen} of {count}"
        for message in messages:
            total += reader(message)
        seen += len(messages)
        consumer.commit(asynchronous=True)
    consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=False)
    run = watch.stop(events=seen, handed=seen)
    consumer.close()
    check(conf, topic, count, total)
    return run


def poll_loop(broker: Broker, topic: str, count: int, *, commit_every: int = BATCH) -> Run:
    """`poll()`, every message read, one asynchronous commit per `commit_every` messages."""
    conf = settings(broker.bootstrap)
    consumer = Consumer(conf)
    consumer.subscribe([topic])
    watch = Watch(broker)
    total = 0
    for number in range(1, count + 1):
        message = consumer.poll(PATIENCE_S)
        watch.start()
        assert message is not None, f"no message for {PATIENCE_S} s after {number} of {count}"
        total += read(message)
        if number % commit_every == 0:
            consumer.commit(message=message, asynchronous=True) if commit_every == 1 else consumer.commit(
                asynchronous=True
            )
    consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=False)
    run = watch.stop(events=count, handed=count)
    consumer.close()
    check(conf, topic, count, total)
    return run


def check(conf: dict[str, Any], topic: str, count: int, total: int | None) -> None:
    """All events are committed, and each was read once: `total` adds their offsets up, None where it is not known."""
    offsets = Offsets(count, PARTITIONS)
    if total is not None:
        offsets.assert_read(total)
    offsets.assert_committed(conf, topic)

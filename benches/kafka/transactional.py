"""The read-process-write loop that a user writes without chio_fast: what the processor is compared with."""

from __future__ import annotations

import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from benches.kafka import raw
from benches.kafka.run import Run, Watch, assert_holds
from tests.kafka.broker import Broker


def transactional_producer(bootstrap: str, *, linger_ms: int = 5) -> Producer:
    """A tuned producer with a transactional id of its own, ready for its first transaction."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": str(uuid.uuid4()),
            # Without these every transaction but the first waits 100 ms for the one before it.
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 2,
            "compression.type": "lz4",
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 1_000_000,
            "error_cb": lambda _error: None,
        }
    )
    producer.init_transactions()
    return producer


def transactional_loop(broker: Broker, topic: str, target: str, count: int, batch: int) -> Run:
    """One transaction per batch: every message read, one output each, offsets sent, committed."""
    conf = raw.settings(broker.bootstrap)
    consumer = Consumer(conf)
    consumer.subscribe([topic])
    producer = transactional_producer(broker.bootstrap)
    watch = Watch(broker)
    seen = total = 0
    while seen < count:
        messages: list[Any] = consumer.consume(1, raw.PATIENCE_S)
        watch.start()
        messages += consumer.consume(batch - 1, 0)
        assert messages, f"no message for {raw.PATIENCE_S} s after {seen} of {count}"
        producer.begin_transaction()
        done: dict[int, int] = {}
        for message in messages:
            total += raw.read(message)
            producer.produce(target, message.value(), message.key())
            done[message.partition()] = message.offset() + 1
        assert producer.flush(raw.PATIENCE_S) == 0
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in done.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), raw.PATIENCE_S)
        producer.commit_transaction()
        seen += len(messages)
    run = watch.stop(events=seen, handed=seen)
    consumer.close()
    check(conf, topic, target, count, total)
    return run


def check(conf: dict[str, Any], topic: str, target: str, count: int, total: int | None) -> None:
    """Every event was read once, all are committed, and each has one output that readers of committed data see."""
    raw.check(conf, topic, count, total)
    assert_holds(conf["bootstrap.servers"], target, count)

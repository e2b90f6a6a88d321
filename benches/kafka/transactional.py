"""The read-process-write loop that a user writes without chio_fast: what the processor is compared with."""

from __future__ import annotations

import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from benches.kafka.raw import PATIENCE_S, read, settings
from benches.kafka.run import Offsets, Run, Watch
from benches.kafka.workload import PARTITIONS
from tests.kafka.broker import Broker

PRODUCER_TUNING: dict[str, Any] = {
    # Without these every transaction but the first waits 100 ms for the one before it.
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 2,
    "linger.ms": 5,
    "queue.buffering.max.messages": 1_000_000,
}


def transactional_loop(broker: Broker, topic: str, target: str, count: int, batch: int) -> Run:
    """One transaction per batch: every message read, one output each, offsets sent, committed."""
    conf = settings(broker.bootstrap)
    consumer = Consumer(conf)
    consumer.subscribe([topic])
    producer = Producer(
        PRODUCER_TUNING
        | {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": str(uuid.uuid4()),
            "error_cb": lambda _error: None,
        }
    )
    producer.init_transactions()
    watch = Watch(broker)
    seen = total = 0
    while seen < count:
        messages: list[Any] = consumer.consume(1, PATIENCE_S)
        watch.start()
        messages += consumer.consume(batch - 1, 0)
        assert messages, f"no message for {PATIENCE_S} s after {seen} of {count}"
        producer.begin_transaction()
        done: dict[int, int] = {}
        for message in messages:
            total += read(message)
            producer.produce(target, message.value(), message.key())
            done[message.partition()] = message.offset() + 1
        assert producer.flush(PATIENCE_S) == 0
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in done.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), PATIENCE_S)
        producer.commit_transaction()
        seen += len(messages)
    run = watch.stop(events=seen, handed=seen)
    consumer.close()
    check(conf, topic, target, count, total)
    return run


def check(conf: dict[str, Any], topic: str, target: str, count: int, total: int | None) -> None:
    """Every event was read once, all are committed, and each has one output that readers of committed data see."""
    offsets = Offsets(count, PARTITIONS)
    if total is not None:
        offsets.assert_read(total)
    offsets.assert_committed(conf, topic)
    found = count_committed(conf, target, count)
    assert found == count, f"`{target}` holds {found} committed records, not {count}"


def count_committed(conf: dict[str, Any], topic: str, expected: int) -> int:
    """Counts the records of a topic's only partition that `read_committed` shows, up to the end of the topic."""
    reader = Consumer(conf | {"group.id": str(uuid.uuid4()), "enable.partition.eof": True})
    reader.assign([TopicPartition(topic, 0, 0)])
    found = 0
    while True:
        messages = reader.consume(max(1, expected), 1.0)
        found += sum(1 for message in messages if message.error() is None)
        if any(message.error() is not None for message in messages):
            reader.close()
            return found

"""Latency of one event at a low rate through the exactly-once processor: consumed, handled, committed."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benches.conftest import volume
from benches.kafka import raw
from benches.kafka.pace import age, paced
from benches.kafka.processing import Processing
from benches.kafka.transactional import transactional_producer
from tests.kafka.broker import Broker

RATE = 20
WARM_UP = 2 * RATE
ROUNDS = volume(3, 2)


def test_one_event_at_a_time(benchmark: Any, figure: Callable[..., None], broker: Broker, disk: Path) -> None:
    count = WARM_UP + volume(400, 100)
    found: dict[str, list[float]] = {"read-process-write by hand": [], "processor": []}

    def one_round() -> None:
        for name, work in zip(found, (_by_hand, _by_processor), strict=True):
            source, target = (broker.create_topic(f"single-{uuid.uuid4()}", partitions=n) for n in (4, 1))
            with work(broker, source, target, disk), paced(broker, source, RATE, count):
                found[name] += _ages(broker, target, count)[WARM_UP:]

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    for name, ages in found.items():
        for what, value in (("median", statistics.median(ages)), ("p99", statistics.quantiles(ages, n=100)[98])):
            figure(
                group="exactly once",
                name=f"{name}, sent to committed output read, {what}",
                value=value * 1e3,
                unit="ms",
                conditions=f"{len(ages):,} events at {RATE}/s, each in a transaction of its own",
            )


@contextmanager
def _by_processor(broker: Broker, source: str, target: str, disk: Path) -> Iterator[None]:
    processor = Processing(broker, source, target, disk, 500).processor
    thread = threading.Thread(target=processor.run)
    thread.start()
    yield
    processor.stop()
    thread.join()
    processor.close()


@contextmanager
def _by_hand(broker: Broker, source: str, target: str, _disk: Path) -> Iterator[None]:
    stopped = threading.Event()
    thread = threading.Thread(target=_loop, args=(broker, source, target, stopped))
    thread.start()
    yield
    stopped.set()
    thread.join()


def _loop(broker: Broker, source: str, target: str, stopped: threading.Event) -> None:
    consumer = Consumer(raw.settings(broker.bootstrap))
    consumer.subscribe([source])
    producer = transactional_producer(broker.bootstrap, linger_ms=0)
    while not stopped.is_set():
        message: Any = consumer.poll(0.1)
        if message is None:
            continue
        producer.begin_transaction()
        producer.produce(target, message.value(), message.key())
        producer.flush()
        after = TopicPartition(source, message.partition(), message.offset() + 1)
        producer.send_offsets_to_transaction([after], consumer.consumer_group_metadata())
        producer.commit_transaction()
    consumer.close()


def _ages(broker: Broker, target: str, count: int) -> list[float]:
    """Seconds between sending an event and reading its committed output."""
    reader = Consumer(raw.settings(broker.bootstrap) | {"isolation.level": "read_committed"})
    reader.assign([TopicPartition(target, 0, 0)])
    found: list[float] = []
    while len(found) < count:
        message = reader.poll(raw.PATIENCE_S)
        now = time.monotonic_ns()
        assert message is not None, f"no output for {raw.PATIENCE_S} s after {len(found)} of {count}"
        found.append(age(message.value(), now))
    reader.close()
    return found

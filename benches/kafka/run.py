"""What one timed run of a loop gives, the watch that measures it, and the checks that it did the whole work."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.kafka.broker import Broker
from tests.kafka.topics import read


@dataclass(frozen=True)
class Run:
    """One run of a loop.

    Attributes:
        seconds: from the first event in hand until the last commit was acknowledged.
        events: how many were consumed, denied ones included.
        handed: how many the loop got.
        broker_cpu: processor time of the broker per second of the run (1.0 is one core).
        own_cpu: the same of this process.
    """

    seconds: float
    events: int
    handed: int
    broker_cpu: float
    own_cpu: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


class Watch:
    """Measures a run together with the processor time of both processes."""

    def __init__(self, broker: Broker) -> None:
        """A watch that does not run yet."""
        self._broker = broker
        self._running = False

    def start(self) -> None:
        """Starts measuring with the first event in hand, so that joining the group does not count."""
        if not self._running:
            self._running = True
            self._broker_cpu = self._broker.cpu_seconds()
            self._own_cpu = time.process_time()
            self._start = time.perf_counter()

    def stop(self, *, events: int, handed: int) -> Run:
        """Stops measuring."""
        seconds = time.perf_counter() - self._start
        return Run(
            seconds=seconds,
            events=events,
            handed=handed,
            broker_cpu=(self._broker.cpu_seconds() - self._broker_cpu) / seconds,
            own_cpu=(time.process_time() - self._own_cpu) / seconds,
        )


class Offsets:
    """Checks that a loop read every event of a topic's prefix once and in order, without slowing the loop down."""

    def __init__(self, count: int, partitions: int) -> None:
        """Expects `count` events, dealt in turn over the partitions."""
        per_partition, rest = divmod(count, partitions)
        self.expected = sum(_sum_below(per_partition + (number < rest)) for number in range(partitions))
        self.end = {number: per_partition + (number < rest) for number in range(partitions)}

    def assert_read(self, total: int) -> None:
        """The sum of the offsets read is that of all events, each once."""
        assert total == self.expected, f"the offsets read add up to {total}, not {self.expected}: loss or duplicates"

    def assert_committed(self, settings: dict[str, Any], topic: str) -> None:
        """The group's committed offsets are the ends of the partitions."""
        consumer = Consumer(settings)
        asked = [TopicPartition(topic, number) for number in self.end]
        found = {entry.partition: entry.offset for entry in consumer.committed(asked, 30.0)}
        consumer.close()
        assert found == self.end, f"committed {found}, expected {self.end}"


def assert_holds(bootstrap: str, topic: str, count: int) -> None:
    """Readers of committed data see so many records in a topic."""
    found = sum(1 for _ in read(bootstrap, topic))
    assert found == count, f"`{topic}` holds {found} committed records, not {count}"


def assert_ends(bootstrap: str, topic: str, count: int) -> None:
    """A topic of which no transaction is part holds so many records, as its ends say without a record being read."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    numbers = consumer.list_topics(topic, 30.0).topics[topic].partitions
    found = sum(consumer.get_watermark_offsets(TopicPartition(topic, number), 30.0)[1] for number in numbers)
    consumer.close()
    assert found == count, f"`{topic}` holds {found} records, not {count}"


def _sum_below(number: int) -> int:
    return number * (number - 1) // 2

"""What the tests ask of topics themselves: every record of one, where a record is, how far a group has committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from tests.kafka.patience import PATIENCE, patiently

MARKERS = 15.0
"""Seconds for which a reader of what is committed waits for transactions that are open. A broker that has just started
writes the first end of one after 3 s."""

Place = tuple[str, int, int]
"""Topic, partition and offset."""


def place(record: Any) -> Place:
    """Where an event or message comes from."""
    return record.topic(), record.partition(), record.offset()


def delivered(note: Callable[[Place], None]) -> Callable[[Any, Any], None]:
    """A delivery report that fails on an error, and otherwise tells `note` where the record is."""

    def report(error: Any, message: Any) -> None:
        assert error is None, error
        note(place(message))

    return report


def read(bootstrap: str, topic: str, isolation: str = "read_committed") -> Iterator[Message]:
    """Every record of a topic up to its end of now, in the order of each partition."""
    with _reader(bootstrap, topic, isolation) as reader:
        if isolation == "read_committed":
            _await_markers(bootstrap, reader.assignment())
        unread = {part.partition for part in reader.assignment()}
        for _ in patiently(f"the end of `{topic}`"):
            for message in _arrived(reader):
                error = message.error()
                if error is None:
                    yield message
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    unread.discard(message.partition())
            if not unread:
                return


def values(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[bytes | None]:
    """The value of every record of a topic."""
    return [message.value() for message in read(bootstrap, topic, isolation)]


def await_records(bootstrap: str, topic: str, count: int) -> list[Message]:
    """The first records of a topic, as soon as there are so many."""
    found: list[Message] = []
    with _reader(bootstrap, topic, "read_committed") as reader:
        for _ in patiently(f"{count} records in `{topic}`"):
            if len(found) == count:
                break
            found += [message for message in _arrived(reader, count - len(found)) if message.error() is None]
    return found


def _arrived(reader: Consumer, at_most: int = 1_000) -> list[Message]:
    """What is there as soon as anything is: `consume` waits until it has all that it was asked for."""
    return reader.consume(1, 0.2) + reader.consume(at_most - 1, 0)


def _await_markers(bootstrap: str, partitions: list[TopicPartition]) -> None:
    """Wait a moment for the end of transactions: brokers write it after they have answered a commit."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    latest: dict[TopicPartition, OffsetSpec] = {part: OffsetSpec.latest() for part in partitions}  # type: ignore[no-untyped-call]

    def ends(isolation: IsolationLevel) -> list[int]:
        asked = admin.list_offsets(latest, isolation_level=isolation, request_timeout=PATIENCE)
        return [answer.result().offset for answer in asked.values()]

    deadline = time.monotonic() + MARKERS
    while time.monotonic() < deadline:
        # A broker that comes back does not lead its partitions at once.
        with suppress(KafkaException):
            if ends(IsolationLevel.READ_COMMITTED) == ends(IsolationLevel.READ_UNCOMMITTED):
                return
        time.sleep(0.01)


@contextmanager
def _reader(bootstrap: str, topic: str, isolation: str) -> Iterator[Consumer]:
    """A consumer of a whole topic, which is told of the end of each partition."""
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            # The end of a partition is told when a fetch came back empty, which the broker would put off by 500 ms.
            "fetch.wait.max.ms": 10,
            "enable.auto.commit": False,
            "log_level": 2,
        }
    )
    try:
        reader.assign(_partitions(reader, topic))
        yield reader
    finally:
        reader.close()


def committed(bootstrap: str, group: str, *topics: str) -> dict[tuple[str, int], int]:
    """The offsets that a group has committed, by topic and partition, asked by an observer; -1001 where there is none.

    A broker that comes back is not at once the group's coordinator, so every error is asked again. What a transaction
    that is still open will commit does not count, and is not waited for.
    """
    conf = {"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_uncommitted", "log_level": 2}
    observer = Consumer(conf)
    try:
        for _ in patiently(f"the offsets of `{group}`"):
            try:
                asked = [part for topic in topics for part in _partitions(observer, topic)]
                return {(part.topic, part.partition): part.offset for part in observer.committed(asked, PATIENCE)}
            except KafkaException:
                time.sleep(0.1)
        raise AssertionError  # `patiently` has raised
    finally:
        observer.close()


def _partitions(client: Consumer, topic: str) -> list[TopicPartition]:
    """The beginnings of all partitions of a topic."""
    found = client.list_topics(topic, timeout=PATIENCE).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]

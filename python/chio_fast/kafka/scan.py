"""Reading what topics hold between two offsets, without joining a group and without committing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from chio_fast.errors import ChioConfigError
from chio_fast.kafka.assignment import key_of_message
from chio_fast.kafka.config import UP_TO_THE_END, admin_config
from chio_fast.kafka.metadata import TIMEOUT, patiently

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from confluent_kafka import Message

    from chio_fast.kafka.assignment import Key

Isolation = Literal["read_committed", "read_uncommitted"]

STALLED = 60.0
"""Seconds without a record after which reading is given up."""
AT_ONCE = 2000
POLL = 0.2


class Span(NamedTuple):
    """Offsets `[first, end)` of a partition."""

    first: int
    end: int


def reader(conf: Mapping[str, Any], isolation: Isolation) -> Consumer:
    """Build a consumer that reads by assignment; it has the configuration's group for its ACLs and never joins it."""
    return Consumer(
        {
            **admin_config(conf),
            **UP_TO_THE_END,
            "group.id": conf.get("group.id") or "chio-reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "allow.auto.create.topics": False,
            # Records below the wished offset that retention deleted meanwhile are skipped; who calls knows where a
            # partition began and can tell.
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,
        }
    )


def arrived(consumer: Consumer, at_most: int, timeout: float) -> list[Message]:
    """Give what is there as soon as anything is, within `timeout` seconds; `consume` alone waits until it has all."""
    return consumer.consume(1, timeout) + consumer.consume(at_most, 0)


def spans(conf: Mapping[str, Any], topics: Iterable[str], isolation: Isolation) -> dict[Key, Span]:
    """Give what each partition of `topics` holds now; `read_committed` ends before the first open transaction.

    Raises:
        ChioConfigError: there is no such topic.
        KafkaException: the cluster cannot be reached, or refuses.
    """
    consumer = reader(conf, isolation)
    try:
        known = patiently(consumer).topics
        found = {}
        for topic in topics:
            if topic not in known:
                raise ChioConfigError(f"there is no topic `{topic}`")
            for number in known[topic].partitions:
                found[topic, number] = Span(*consumer.get_watermark_offsets(TopicPartition(topic, number), TIMEOUT))
        return found
    finally:
        consumer.close()


def read(conf: Mapping[str, Any], wanted: Mapping[Key, Span], isolation: Isolation) -> Iterator[Message]:
    """Give every record of `wanted` that is readable at this isolation, each partition in order.

    Raises:
        KafkaException: the cluster cannot be reached, or refuses.
    """
    left = {key: span for key, span in wanted.items() if span.first < span.end}
    if not left:
        return
    consumer = reader(conf, isolation)
    try:
        consumer.assign([TopicPartition(*key, span.first) for key, span in left.items()])
        deadline = time.monotonic() + STALLED
        while left:
            messages = arrived(consumer, AT_ONCE, POLL)
            if messages:
                deadline = time.monotonic() + STALLED
            elif time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no record within {STALLED:g} s"))
            for message in messages:
                yield from _sorted_out(message, left)
    finally:
        consumer.close()


def _sorted_out(message: Message, left: dict[Key, Span]) -> Iterator[Message]:
    """Give the message if it is wanted, and strike out its partition at the end."""
    key, offset, error = key_of_message(message), message.offset() or 0, message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    span = left.get(key)
    if span is None:
        return
    if error is None and offset < span.end:
        yield message
    # An end of partition comes with the offset after the last readable record, whatever lies between.
    if error is not None or offset + 1 >= span.end:
        del left[key]

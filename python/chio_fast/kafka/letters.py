"""Reading a DLQ topic: every denial that it holds now, and what each takes to send the event again."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from chio_fast._native import headers_of
from chio_fast.errors import ChioConfigError
from chio_fast.kafka import envelope
from chio_fast.kafka.config import UP_TO_THE_END, consumer_config
from chio_fast.kafka.metadata import TIMEOUT, patiently
from chio_fast.kafka.scan import arrived

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

log = logging.getLogger("chio_fast.kafka")

HEADER_REDRIVEN = "X-Chio-Redriven"
"""On an event that was sent again: DLQ topic, partition and offset that it was taken from, joined by `/`."""

OWN_HEADERS = frozenset({
    envelope.HEADER_RECEIPT, envelope.HEADER_REASON, envelope.HEADER_TOPIC, envelope.HEADER_REQUEST,
    envelope.HEADER_DENIAL,
})  # fmt: skip


class StoredLetter(NamedTuple):
    """One record of a DLQ topic; `letter` is None if it is no denial of ours."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    letter: envelope.DeadLetter | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    @property
    def place(self) -> str:
        """Where the record lies: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def written(self) -> dict[str, Any]:
        """The denial as `dlq list --json` prints it and `read_file` reads it."""
        return {"dlq": self.place, "timestamp": self.timestamp, "letter": self.letter}

    def original(self) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
        """Key, value and headers of the event as it was.

        Raises:
            ChioConfigError: the record does not hold them.
        """
        letter = self.letter
        if letter is None or letter.original_value_omitted:
            why = "it is no denial" if letter is None else "its value was left out"
            raise ChioConfigError(f"the event behind {self.place} cannot be restored: {why}")
        if self.is_exact:
            return self.key, self.value, [pair for pair in self.headers if pair[0] not in OWN_HEADERS]
        return (
            envelope.restore(letter.original_key, letter.original_key_encoding),
            envelope.restore(letter.original_value, letter.original_value_encoding),
            [(header.name, envelope.restore(header.value, header.encoding)) for header in letter.original_headers],
        )

    @property
    def is_exact(self) -> bool:
        """Whether the record repeats the original byte for byte, with the denial in a header."""
        return any(name == envelope.HEADER_DENIAL for name, _ in self.headers)


def read(conf: Mapping[str, Any], topic: str, *, since: int | None = None) -> Iterator[StoredLetter]:
    """Give every record that `topic` holds now, partition by partition as they arrive; commits nothing.

    Args:
        conf: settings of the client; `bootstrap.servers` at least.
        topic: the DLQ topic.
        since: Unix milliseconds; older records are left out.

    Raises:
        ChioConfigError: there is no such topic.
        KafkaException: the cluster cannot be reached, or refuses.
    """
    # A group of its own, which never commits: reading must not disturb any group that exists.
    settings = {**conf, "group.id": f"chio-dlq-reader-{uuid.uuid4()}"}
    consumer = Consumer(
        {
            **consumer_config(settings, lambda error: log.debug("dlq reader: %s", error)),
            **UP_TO_THE_END,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        open_partitions = _assign(consumer, topic, since)
        while open_partitions:
            for message in arrived(consumer, 500, 0.2):
                if message.error():
                    _check(message, open_partitions)
                elif message.partition() in open_partitions:
                    yield _stored(message)
    finally:
        consumer.close()


class _WrittenLetter(msgspec.Struct):
    dlq: str
    timestamp: int
    letter: envelope.DeadLetter | None


def read_file(path: Path, *, since: int | None = None) -> Iterator[StoredLetter]:
    """Give every denial in a file that `dlq list --json` wrote.

    Raises:
        ChioConfigError: a line is something else.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                written = msgspec.json.decode(line, type=_WrittenLetter)
                topic, partition, offset = written.dlq.rsplit("/", 2)
                place = (topic, int(partition), int(offset))
            except (msgspec.DecodeError, ValueError):
                raise ChioConfigError(f"`{path}`, line {number}: not a denial as `dlq list --json` prints it") from None
            if since is None or written.timestamp >= since:
                yield StoredLetter(*place, written.timestamp, written.letter, None, None, [])


def _assign(consumer: Consumer, topic: str, since: int | None) -> set[int]:
    """Assign every partition from the wished beginning; gives the partitions to read."""
    found = patiently(consumer, topic).topics[topic]
    if found.error is not None:
        if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ChioConfigError(f"there is no topic `{topic}`")
        raise KafkaException(found.error)
    wanted = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]
    if since is not None:
        asked = [TopicPartition(topic, number, since) for number in found.partitions]
        wanted = consumer.offsets_for_times(asked, timeout=TIMEOUT)
    consumer.assign(wanted)
    return set(found.partitions)


def _check(message: Any, open_partitions: set[int]) -> None:
    """Take the end of a partition into account; raise any other error."""
    error = message.error()
    if error is None or error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    open_partitions.discard(message.partition())


def _stored(message: Any) -> StoredLetter:
    headers = list(headers_of(message) or [])
    text = dict(headers).get(envelope.HEADER_DENIAL) or message.value() or b""
    try:
        letter = envelope.decode(text)
    except msgspec.DecodeError:
        letter = None
    return StoredLetter(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        letter=letter,
        key=message.key(),
        value=message.value(),
        headers=headers,
    )

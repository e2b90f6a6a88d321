"""Anchors: the heads of receipt logs in a topic, so that cutting off or rewriting a log shows.

Every issuer publishes its newest checkpoint at the start and end of an epoch and every few seconds in between, if it
has moved. `chio-fast verify --anchors` compares a log with all of them; a start compares it with the last one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from chio_fast import topics
from chio_fast.errors import ChioError, LogBehindError
from chio_fast.kafka import scan
from chio_fast.kafka.config import admin_config, producer_config
from chio_fast.kafka.scan import Span
from chio_fast.verify.anchors import Anchor, log_id_of, read_anchor
from chio_fast.verify.errors import MalformedError
from chio_fast.verify.hashing import key_id, signature_holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from confluent_kafka import KafkaError
    from confluent_kafka.admin._metadata import ClusterMetadata

    from chio_fast._native import Log, SignedCheckpoint
    from chio_fast.log import ReceiptLog

log = logging.getLogger("chio_fast.kafka")

ACCEPT = "CHIO_ACCEPT_LOST_CHECKPOINT"
"""Environment variable: hash of the anchored checkpoint without which a log may go on, because its loss is known."""

HEADER_ACCEPTED = "X-Chio-Accepted-Loss"
"""On the first anchor after such a start: the hash that was accepted as lost."""

EVERY = 5.0
"""Seconds between two looks at the head."""
LAST_WORD = 2.0
"""Seconds that a close waits for the last anchor."""
ANSWER = 3.0
"""Seconds that a start waits for brokers of which it needs nothing else."""
LOOK_BACK = 5.0
"""Seconds that a start searches for the last anchor."""
FIRST_WINDOW = 1000
"""Records at the end of the topic that a start reads first; each further window is ten times as long."""

_warned: set[str] = set()


class _Record(msgspec.Struct):
    checkpoint: str
    signature: str
    v: int = 1


class AnchorPublisher:
    """Publishes the head of one log in a thread of its own; never in anybody's way.

    At most one record is under way. What fails is counted and tried again with the next look.

    Args:
        receipts: the log that is open for issuing.
        producer: any producer; others may send through it as well.
        topic: where to.
        partitions: how many the topic has.
        accepted: hash of the anchored checkpoint that was accepted as lost, if there is one.

    Attributes:
        published: anchors that the broker acknowledged.
        failures: those that it did not.
    """

    def __init__(
        self, receipts: Log, producer: Producer, topic: str, partitions: int, *, accepted: str | None = None
    ) -> None:
        self.published = 0
        self.failures = 0
        self._receipts = receipts
        self._producer = producer
        self._topic = topic
        self._partition = _partition_of(receipts.issuer, partitions)
        self._accepted = accepted
        self._anchored = ""
        self._under_way = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chio-anchors", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish the last head; waits for it a little, and not longer."""
        self._closing.set()
        self._thread.join(LAST_WORD * 4)

    def _run(self) -> None:
        try:
            closing = False
            while not closing:
                self._look()
                closing = self._closing.wait(EVERY)
            self._receipts.wait_durable(self._receipts.seal(), LAST_WORD)
            self._settle()
            self._look()
            self._settle()
        except ChioError as error:
            # A log that failed or was closed has no head to tell of; whoever uses it hears of it there.
            log.info("no further anchors of `%s`: %s", self._receipts.issuer, error)
        except Exception:
            self.failures += 1
            log.exception("anchors of `%s` end", self._receipts.issuer)

    def _look(self) -> None:
        """Send the head if it has moved and nothing is under way."""
        self._producer.poll(0)
        head = self._receipts.head()
        if head is None or self._under_way or head.hash == self._anchored:
            return
        self._under_way = head.hash
        try:
            self._send(head)
        except (BufferError, KafkaException) as error:
            self._failed(str(error))

    def _send(self, head: SignedCheckpoint) -> None:
        self._producer.produce(
            self._topic,
            key=self._receipts.issuer.encode(),
            value=msgspec.json.encode(_Record(head.text, head.signature)),
            headers=[(HEADER_ACCEPTED, self._accepted.encode())] if self._accepted else [],
            partition=self._partition,
            on_delivery=self._delivered,
        )

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._failed(f"{error.name()}: {error.str()}")
            return
        self._anchored, self._under_way, self._accepted = self._under_way, "", None
        self.published += 1

    def _failed(self, why: str) -> None:
        self._under_way = ""
        self.failures += 1
        log.warning("topic `%s` did not take the anchor of `%s`: %s", self._topic, self._receipts.issuer, why)

    def _settle(self) -> None:
        """Wait a little for what is under way."""
        deadline = time.monotonic() + LAST_WORD
        while self._under_way and time.monotonic() < deadline:
            self._producer.poll(0.05)


def begin(
    receipts: Log,
    stored: ReceiptLog,
    *,
    producer: Callable[[], Producer],
    conf: Mapping[str, Any] | None,
    metadata: ClusterMetadata,
    topic: str | None = topics.ANCHORS,
) -> AnchorPublisher | None:
    """Compare a log with its last anchor, then publish its anchors from now on.

    Args:
        receipts: the log that is open for issuing.
        stored: the same log for reading.
        producer: gives any producer of the cluster.
        conf: settings by which the topic can be read; None where they are not known, then nothing is compared.
        metadata: of the cluster.
        topic: name of the topic; None for no anchors.

    Returns:
        The publisher; None if there is no such topic, of which one warning tells.

    Raises:
        LogBehindError: the log does not hold the checkpoint that was anchored last.
    """
    if topic is None:
        return None
    known = metadata.topics.get(topic)
    if known is None or not known.partitions:
        if topic not in _warned:
            _warned.add(topic)
            log.warning(
                "there is no topic `%s`: nobody will notice if the end of receipt log `%s` is cut off; create it with "
                "`chio-fast doctor --fix`",
                topic,
                receipts.location,
            )
        return None
    partitions = len(known.partitions)
    accepted = None if conf is None else _compare(conf, topic, partitions, receipts, stored)
    return AnchorPublisher(receipts, producer(), topic, partitions, accepted=accepted)


def begin_alone(
    receipts: Log, stored: ReceiptLog, conf: Mapping[str, Any], topic: str | None = topics.ANCHORS
) -> AnchorPublisher | None:
    """Do what `begin` does with clients of its own, for issuers whose clients are the application's.

    Raises:
        LogBehindError: the log does not hold the checkpoint that was anchored last.
    """
    if topic is None:
        return None
    if not conf.get("bootstrap.servers"):
        log.info("`%s` is not anchored: the client's configuration is not known; use `from_config`", receipts.issuer)
        return None
    try:
        metadata = AdminClient(admin_config(conf)).list_topics(timeout=ANSWER)
    except KafkaException as error:
        log.warning("`%s` is not anchored: the brokers do not answer: %s", receipts.issuer, error.args[0])
        return None
    return begin(receipts, stored, producer=lambda: own_producer(conf), conf=conf, metadata=metadata, topic=topic)


def own_producer(conf: Mapping[str, Any]) -> Producer:
    """Build a producer for anchors alone, where all others of the process write in transactions.

    Args:
        conf: one confluent configuration.
    """
    plain = {name: value for name, value in conf.items() if name != "transactional.id"}
    return Producer(producer_config(plain, lambda error: log.debug("anchors: %s", error)))


def read_topic(conf: Mapping[str, Any], topic: str = topics.ANCHORS) -> Iterator[tuple[str, int, bytes]]:
    """Give place, timestamp and value of every record that the topic holds now.

    Raises:
        ChioConfigError: there is no such topic.
        KafkaException: the cluster cannot be reached, or refuses.
    """
    for message in scan.read(conf, scan.spans(conf, [topic], "read_uncommitted"), "read_uncommitted"):
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        yield place, message.timestamp()[1], message.value() or b""


def _compare(conf: Mapping[str, Any], topic: str, partitions: int, receipts: Log, stored: ReceiptLog) -> str | None:
    """Refuse a log that does not lead to its last anchor; gives the hash that is accepted as lost."""
    try:
        anchor, unproven = _last_anchors(conf, topic, _partition_of(receipts.issuer, partitions), receipts)
    except KafkaException as error:
        log.warning("topic `%s` cannot be read, so `%s` is not compared: %s", topic, receipts.location, error.args[0])
        return None
    if unproven is not None and not _leads_to(receipts, stored, unproven):
        what = _missing(receipts, unproven)
        log.warning("%s, which topic `%s` says; but another key signed that, so it may be invented", what, topic)
    if anchor is None or _leads_to(receipts, stored, anchor):
        return None
    what, lost = _missing(receipts, anchor), anchor.checkpoint_hash.hex()
    if os.environ.get(ACCEPT) == lost:
        log.warning("%s; going on, because `%s` accepts its loss", what, ACCEPT)
        return lost
    raise LogBehindError(
        f"{what}, which it signed and topic `{topic}` anchored: the log was cut off, or replaced by an older copy; "
        f"restore the newer one, or accept the loss for good with the environment variable `{ACCEPT}={lost}`"
    )


def _missing(receipts: Log, anchor: Anchor) -> str:
    lost, count = anchor.checkpoint_hash.hex(), anchor.checkpoint.running_count
    return f"receipt log `{receipts.location}` does not hold checkpoint {lost} ({count} records) of `{receipts.issuer}`"


class _Last(NamedTuple):
    """The last anchors of a log.

    Attributes:
        anchor: that the log's present key signed.
        unproven: after it, that another key signed, or nobody.
    """

    anchor: Anchor | None = None
    unproven: Anchor | None = None


def _last_anchors(conf: Mapping[str, Any], topic: str, partition: int, receipts: Log) -> _Last:
    """Search the topic backwards for the last anchors of this log, for a while."""
    name, wanted = receipts.issuer.removesuffix(f"@{log_id_of(receipts.issuer)}"), receipts.issuer.encode()
    low, end = scan.spans(conf, [topic], "read_uncommitted")[topic, partition]
    deadline, window, others, unproven = time.monotonic() + LOOK_BACK, FIRST_WINDOW, "", None
    while end > low:
        if time.monotonic() > deadline:
            log.warning("topic `%s`: no anchor of `%s` found within %g s of reading back", topic, name, LOOK_BACK)
            break
        start, last = max(low, end - window), _Last()
        for message in scan.read(conf, {(topic, partition): Span(start, end)}, "read_uncommitted"):
            key = bytes(message.key() or b"")
            if key == wanted:
                last = _followed(last, _own(message.value() or b"", receipts.issuer), receipts.public_key)
            elif key.startswith(f"{name}@".encode()):
                others = key.decode("utf-8", "replace")
        # What is not proven must not hide what is: anybody who may write to the topic could have made it.
        unproven = unproven or last.unproven
        if last.anchor is not None:
            return _Last(last.anchor, unproven)
        end, window = start, window * 10
    if others and unproven is None:
        log.warning("`%s` was anchored with another receipt log, `%s`: is this new one meant to be?", name, others)
    return _Last(None, unproven)


def _followed(last: _Last, anchor: Anchor | None, public_key: bytes) -> _Last:
    """Give the last anchors after one more."""
    if anchor is None:
        return last
    is_signed = anchor.checkpoint.key_id == key_id(public_key) and signature_holds(
        public_key, anchor.checkpoint_hash, anchor.signature
    )
    return _Last(anchor) if is_signed else last._replace(unproven=anchor)


def _own(value: bytes, issuer: str) -> Anchor | None:
    try:
        anchor = read_anchor(value)
    except MalformedError:
        return None
    return anchor if anchor.checkpoint.issuer == issuer else None


def _leads_to(receipts: Log, stored: ReceiptLog, anchor: Anchor) -> bool:
    """Say whether the log holds the anchored checkpoint, looking back from its head."""
    head = receipts.head()
    wanted = anchor.checkpoint_hash.hex()
    last = 0 if head is None else head.batch
    while last > 0:
        first = max(1, last - FIRST_WINDOW)
        for batch in reversed([batch for batch in stored.batches(first, last) if batch.issuer == receipts.issuer]):
            if batch.checkpoint == wanted:
                return True
            if batch.running_count <= anchor.checkpoint.running_count:
                return False
        last = first - 1
    return False


def _partition_of(issuer: str, partitions: int) -> int:
    """Give the partition of an issuer: the same for all logs under one name."""
    return zlib.crc32(issuer.rpartition("@")[0].encode()) % partitions

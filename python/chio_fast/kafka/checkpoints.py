"""The checkpoint topic: one small record per transaction, whose visibility says that the transaction was committed."""

from __future__ import annotations

import itertools
import logging
import time
import zlib
from typing import TYPE_CHECKING, Any, Self

import msgspec
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from chio_fast import topics
from chio_fast.errors import CheckpointsError, CheckpointsTrimmed, ChioConfigError
from chio_fast.kafka import config
from chio_fast.kafka.client_errors import PATIENCE, TRANSIENT, backoff
from chio_fast.kafka.metadata import TIMEOUT, ZERO_ID
from chio_fast.topics import RECORD_KEEPING, RECORD_KEEPING_PARTITIONS
from chio_fast.verify import hashing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from confluent_kafka.admin._metadata import ClusterMetadata

    from chio_fast._native import SignedCheckpoint

log = logging.getLogger("chio_fast.kafka")

READ_SECONDS = 120.0
"""Seconds that `find` waits for the transactions of others to end, which hide all that follows them."""

UNLISTED = 5.0
"""Seconds after which a topic that is not listed is missing; a fresh one may not be known to every broker before."""

WATERMARK_SECONDS = 2.0
"""Seconds that one question for a watermark takes at most; a leader that is gone is then looked for anew."""

POLL = 0.05
"""Seconds that one wait for a record takes at most."""

CONSUMED_AT_ONCE = 1000

GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
UNAUTHORIZED = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
})  # fmt: skip


class _Entry(msgspec.Struct):
    checkpoint: str
    hash: str
    signature: str


class _Record(msgspec.Struct):
    checkpoints: list[_Entry]
    v: int = 1


_decoder = msgspec.json.Decoder(_Record)


def checkpoint_record(checkpoints: Sequence[SignedCheckpoint]) -> bytes:
    """Give the value of the record that makes a transaction's batches visible; its key is the transactional id."""
    entries = [_Entry(checkpoint.text, checkpoint.hash, checkpoint.signature) for checkpoint in checkpoints]
    return msgspec.json.encode(_Record(entries))


def read_record(value: bytes) -> dict[str, str]:
    """Give the signatures in a record's value by checkpoint hash, both hexadecimal.

    A record proves nothing by itself: an entry counts where its signature is the one of that batch in a receipt log. A
    batch is signed once, and its processor shows what the log holds; so this needs no public key, and counts batches of
    other members and of former keys, of which nobody here has the key.

    Raises:
        CheckpointsError: it is no such record, or a checkpoint in it has another hash.
    """
    try:
        entries = _decoder.decode(value).checkpoints
    except msgspec.DecodeError as error:
        raise CheckpointsError(f"not a checkpoint record: {error}") from error
    for entry in entries:
        if hashing.keyed(hashing.CHECKPOINT, entry.checkpoint.encode()).hex() != entry.hash:
            raise CheckpointsError(f"not a checkpoint record: `{entry.hash}` is not the hash of its checkpoint")
    return {entry.hash: entry.signature for entry in entries}


class Checkpoints:
    """Reads and verifies the checkpoint topic; the processor's transactions write it.

    Args:
        conf: one confluent configuration, with `group.id`.
        topic: name of the topic.
    """

    def __init__(self, conf: Mapping[str, Any], topic: str = topics.CHECKPOINTS) -> None:
        self.topic = topic
        self._conf = dict(conf)
        self._admin = AdminClient(config.admin_config(conf))
        self._partitions = 0

    def named(self, topic: str) -> Self:
        """Give the same for another topic: batches name the one that they were written for."""
        return self if topic == self.topic else type(self)(self._conf, topic)

    def ensure(self, *, create: bool) -> None:
        """See to it that the topic is there and keeps every record.

        Args:
            create: whether to create it if it is missing.

        Raises:
            ChioConfigError: it is missing, or would delete records; the message says what to set.
            CheckpointsError: the cluster did not answer.
        """
        if not self._look_up():
            if not create:
                raise ChioConfigError(f"topic `{self.topic}` does not exist; create it with {_spelled(RECORD_KEEPING)}")
            self._create()
        resource = ConfigResource(ResourceType.TOPIC, self.topic)

        def ask() -> Any:
            return self._admin.describe_configs([resource], request_timeout=TIMEOUT)[resource]

        # It is there: a broker that does not know it has not heard of it yet.
        settings = self._ask("settings", ask, worth=TRANSIENT | GONE)
        for name, wanted in RECORD_KEEPING.items():
            entry = settings.get(name)
            if entry is None or entry.value != wanted:
                raise ChioConfigError(
                    f"topic `{self.topic}` has {name}={entry.value if entry else None}: records that tell what became "
                    f"of transactions would be deleted; set {_spelled(RECORD_KEEPING)}"
                )

    def cluster_id(self) -> str | None:
        """Give the id of the cluster.

        Raises:
            CheckpointsError: the cluster did not answer.
        """
        found: str | None = self._metadata().cluster_id
        return found

    def topic_id(self) -> str | None:
        """Give the id of the topic as it is now; None where the brokers have no topic ids.

        Raises:
            CheckpointsTrimmed: there is no such topic.
            CheckpointsError: the cluster did not answer.
        """
        names = TopicCollection([self.topic])

        def ask() -> Any:
            return self._admin.describe_topics(names, request_timeout=TIMEOUT)[self.topic]

        found = str(self._ask("id", ask).topic_id)
        return None if found == ZERO_ID else found

    def partition_of(self, transactional_id: str) -> int:
        """Give the partition for the records of a transactional id."""
        if not self._partitions and not self._look_up():
            raise ChioConfigError(f"topic `{self.topic}` does not exist; create it with {_spelled(RECORD_KEEPING)}")
        return zlib.crc32(transactional_id.encode()) % self._partitions

    def high_watermark(self, partition: int) -> int:
        """Give the offset after the last record, whether its transaction is decided or not.

        Raises:
            CheckpointsTrimmed: there is no such topic or partition.
            CheckpointsError: the cluster did not answer.
        """
        return self._offset(partition, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def low_watermark(self, partition: int) -> int:
        """Give the offset of the first record that is kept; raises as `high_watermark` does."""
        return self._offset(partition, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def find(
        self, signatures: Mapping[str, str], partition: int, start: int, bound: int, *, topic_id: str | None = None
    ) -> dict[str, int]:
        """Look for the records of checkpoints whose transactions were committed.

        Args:
            signatures: of the checkpoints, by hash, both hexadecimal, as the receipt log holds them; a record with
                another signature is none.
            partition: where their records would be.
            start: the partition's high watermark before they could be written.
            bound: its high watermark at a time when they could not be written any more.
            topic_id: of the topic at the time of `start`, where known.

        Returns:
            The offset of the record by hash. What is missing was not committed, and never will be.

        Raises:
            CheckpointsTrimmed: records from `start` on are gone.
            CheckpointsError: undecided transactions of others hid the end for too long, or the cluster did not answer.
        """
        if bound < start:
            raise CheckpointsTrimmed(f"`{self.topic}`[{partition}] ends at offset {bound}, where {start} once was")
        self._check_kept(partition, start, topic_id)
        found = self._read(signatures, partition, start, bound) if start < bound else {}
        if len(found) < len(signatures):
            # Records that went while they were read would look as if they had never been there.
            self._check_kept(partition, start, topic_id)
        return found

    def _read(self, signatures: Mapping[str, str], partition: int, start: int, bound: int) -> dict[str, int]:
        settings = config.observer_config(self._conf, lambda error: log.debug("checkpoints: %s", error))
        consumer = Consumer(settings)
        deadline = time.monotonic() + READ_SECONDS
        found: dict[str, int] = {}
        try:
            consumer.assign([TopicPartition(self.topic, partition, start)])
            while time.monotonic() < deadline:
                for message in consumer.consume(1, POLL) + consumer.consume(CONSUMED_AT_ONCE, 0):
                    error = message.error()
                    if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                        raise CheckpointsTrimmed(f"`{self.topic}`[{partition}] does not hold offset {start}")
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise self._failure("reading", error)
                    if error is None:
                        self._note(message, signatures, found)
                    # A record at the bound, or an end there: all below is decided, and was given to us.
                    if len(found) == len(signatures) or (message.offset() or 0) >= bound:
                        return found
        finally:
            consumer.close()
        raise CheckpointsError(
            f"`{self.topic}`[{partition}] could not be read up to offset {bound} within {READ_SECONDS:g} s: a "
            "transaction on it is still open; it ends by `transaction.timeout.ms` at the latest, or else by "
            "`kafka-transactions.sh find-hanging` and `abort`"
        )

    def _note(self, message: Any, signatures: Mapping[str, str], found: dict[str, int]) -> None:
        try:
            seen = read_record(message.value() or b"")
        except CheckpointsError as error:
            self._pass_over(message, str(error))
            return
        for checkpoint in signatures.keys() & seen.keys():
            if seen[checkpoint] == signatures[checkpoint]:
                found.setdefault(checkpoint, message.offset())
            else:
                self._pass_over(message, f"not the signature of checkpoint `{checkpoint}` in the receipt log")

    def _pass_over(self, message: Any, why: str) -> None:
        log.warning("`%s`[%s] offset %s: %s", self.topic, message.partition(), message.offset(), why)

    def _check_kept(self, partition: int, start: int, topic_id: str | None) -> None:
        """Make sure that the partition still holds everything from `start` on."""
        if topic_id is not None and self.topic_id() != topic_id:
            raise CheckpointsTrimmed(f"topic `{self.topic}` is not the one with id {topic_id}: it was created anew")
        low = self.low_watermark(partition)
        if low > start:
            raise CheckpointsTrimmed(f"`{self.topic}`[{partition}] begins at offset {low}; {start} and on is needed")

    def _look_up(self) -> bool:
        """Learn how many partitions there are; False if there is no such topic."""
        found = self._metadata().topics[self.topic]
        if found.error is not None and found.error.code() not in GONE:
            raise self._failure("metadata", found.error)
        self._partitions = len(found.partitions)
        return self._partitions > 0

    def _metadata(self) -> ClusterMetadata:
        try:
            return self._admin.list_topics(self.topic, timeout=TIMEOUT)
        except KafkaException as failure:
            raise self._failure("metadata", failure.args[0]) from failure

    def _create(self) -> None:
        topic = NewTopic(
            self.topic, num_partitions=RECORD_KEEPING_PARTITIONS, replication_factor=-1, config=RECORD_KEEPING
        )
        try:
            self._admin.create_topics([topic], request_timeout=TIMEOUT)[self.topic].result()
        except KafkaException as failure:
            # Several members may start at once.
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._failure("creation", failure.args[0]) from failure
        deadline = time.monotonic() + PATIENCE
        attempt = 0
        while not self._look_up():
            if time.monotonic() > deadline:
                raise CheckpointsError(f"topic `{self.topic}` was created and is not listed after {PATIENCE:g} s")
            time.sleep(backoff(attempt))
            attempt += 1

    def _offset(self, partition: int, spec: OffsetSpec) -> int:
        place = TopicPartition(self.topic, partition)

        def ask() -> Any:
            # Of committed data, only the end before the first open transaction would be told.
            asked = self._admin.list_offsets(
                {place: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=WATERMARK_SECONDS
            )
            return asked[place]

        deadline = time.monotonic() + PATIENCE
        for attempt in itertools.count():
            offset = int(self._ask("watermark", ask).offset)
            if offset >= 0:
                return offset
            # A question to a leader that is gone is answered with no offset, and without an error.
            if time.monotonic() > deadline:
                break
            time.sleep(backoff(attempt))
            self._metadata()
        raise CheckpointsError(f"`{self.topic}`[{partition}] does not tell its watermarks; check its leader")

    def _ask(self, what: str, ask: Callable[[], Any], *, worth: Collection[int] = TRANSIENT) -> Any:
        """Give the answer to a question to the cluster, asked again while the error is worth it."""
        started = time.monotonic()
        attempt = 0
        while True:
            try:
                return ask().result()
            except KafkaException as failure:
                error = failure.args[0]
                waited = time.monotonic() - started
                is_over = waited > PATIENCE or (waited > UNLISTED and self._is_missing(error))
                if error.code() not in worth or is_over:
                    raise self._failure(what, error) from failure
            time.sleep(backoff(attempt))
            attempt += 1

    def _is_missing(self, error: KafkaError) -> bool:
        """Whether no leader was found because there is no such topic; it may just have none."""
        return error.code() == KafkaError._NOENT and not self._look_up()

    def _failure(self, what: str, error: KafkaError) -> Exception:
        text = f"topic `{self.topic}`: {what}: {error.name()}: {error.str()}"
        if error.code() in GONE or self._is_missing(error):
            return CheckpointsTrimmed(text)
        if error.code() in UNAUTHORIZED:
            return ChioConfigError(f"{text}; grant Create (or create it), Describe, DescribeConfigs, Read and Write")
        return CheckpointsError(text)


def _spelled(settings: Mapping[str, str]) -> str:
    return "`" + " ".join(f"{name}={value}" for name, value in settings.items()) + "`"

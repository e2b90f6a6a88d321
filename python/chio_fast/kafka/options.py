"""What a processor is told, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from chio_fast import topics
from chio_fast.errors import ChioConfigError
from chio_fast.kafka.constructor_arguments import check_topics
from chio_fast.kafka.failures import MAX_ATTEMPTS
from chio_fast.kafka.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import KafkaError

    from chio_fast._native import StrPath
    from chio_fast.kafka.calls import OnDivergence
    from chio_fast.kafka.dispatcher import Order
    from chio_fast.kafka.failures import OnHandlerError
    from chio_fast.log import ReceiptLog
    from chio_fast.repeats import Duplicates, OnReplay


BATCH_SIZE = 500
BATCHES_IN_FLIGHT = 3
"""Of each track: one is committed, the next one attested, and another one handled meanwhile."""
MAX_TRACKS = 16
"""Each has a producer and a thread of its own."""


class ProcessorSettings(TypedDict, total=False):
    """Arguments of `ChioTransactionalProcessor` by keyword.

    Attributes:
        dlq_topic: for events that were not authorised; by default `chio-dlq`.
        error_topic: for events whose handler failed.
        on_handler_error: `retry`, the default: with backoff, `max_attempts` times, then the error topic, or stop if
            there is none; `error_topic`: at once; `stop`: at once.
        max_attempts: how often a handler is tried, attempts that ended the process included; by default 5.
        batch_size: events of one transaction at most; by default 500.
        max_batch_ms: milliseconds after which what is finished is committed, however little it is; by default 100.
        max_in_flight: events that may be taken and not committed; by default three batches for each track.
        tracks: producers that share the partitions out and commit side by side; by default 1. A second one is worth it
            where transactions wait for the cluster: it hides what each of them waits for.
        concurrency: handlers of either kind, sync and async, that run at the same time; by default 16.
        order: events of the same `key`, the default, or of the same `partition`, are handled one after the other.
        member: name of this instance, the same after a restart; see `chio_fast.kafka.member`.
        transactional_id: instead of `{group}-{member}`; no other instance may have it. Further tracks append `/1`, `/2`
            and so on.
        checkpoint_topic: where the signed checkpoints go that make commits visible; created if it is missing.
        journal: file of the tool calls, shared by the members of a host; by default beside the receipt log, False for
            none, so that calls of events that come again are made again.
        on_divergence: what to do when a handler does not repeat its calls: `stop`, the default, or `call`.
        drain_timeout: seconds that `stop` gives handlers to finish; by default 30.
        on_replay: an event that the log holds already is decided anew (`re-evaluate`), or as before (`honor`).
        duplicates: how events with the same id of the producer's are recognised; None if they are not.
        anchor_topic: where heads of the receipt log are published, so that cutting it off shows; None for nowhere.
        on_error: hears errors that the client deals with by itself.
    """

    dlq_topic: str
    error_topic: str | None
    on_handler_error: OnHandlerError
    max_attempts: int
    batch_size: int
    max_batch_ms: int
    max_in_flight: int | None
    tracks: int
    concurrency: int
    order: Order
    member: str | None
    transactional_id: str | None
    checkpoint_topic: str
    journal: StrPath | Literal[False] | None
    on_divergence: OnDivergence
    drain_timeout: float
    on_replay: OnReplay
    duplicates: Duplicates | None
    anchor_topic: str | None
    on_error: Callable[[KafkaError], None] | None


@dataclass(frozen=True)
class Options:
    """What a processor is told, and what follows from it.

    Raises:
        ChioConfigError: it makes no sense; the message says what to write instead.
    """

    conf: dict[str, Any]
    identity: str
    consume_scopes: dict[str, str]
    produce_scopes: dict[str, str]
    dlq_topic: str = topics.DLQ
    error_topic: str | None = None
    on_handler_error: OnHandlerError = "retry"
    max_attempts: int = MAX_ATTEMPTS
    batch_size: int = BATCH_SIZE
    max_batch_ms: int = 100
    max_in_flight: int | None = None
    tracks: int = 1
    concurrency: int = 16
    order: Order = "key"
    member: str | None = None
    transactional_id: str | None = None
    checkpoint_topic: str = topics.CHECKPOINTS
    journal: StrPath | Literal[False] | None = None
    on_divergence: OnDivergence = "stop"
    drain_timeout: float = 30.0
    on_replay: OnReplay = "re-evaluate"
    duplicates: Duplicates | None = None
    anchor_topic: str | None = topics.ANCHORS
    on_error: Callable[[KafkaError], None] | None = None

    def __post_init__(self) -> None:
        check_topics(self.consume_scopes, self.dlq_topic)
        if self.error_topic == self.dlq_topic:
            raise ChioConfigError(
                f"`{self.error_topic}` is both DLQ and error topic; events that were not authorised and events whose "
                "handler failed are kept apart: write another topic"
            )
        if self.error_topic in self.consume_scopes:
            raise ChioConfigError(f"`{self.error_topic}` is both consumed and the error topic; write another topic")
        own = {self.dlq_topic, self.error_topic, self.checkpoint_topic}
        for topic in self.produce_scopes:
            if topic in own:
                raise ChioConfigError(f"`{topic}` is written by the processor itself; leave it out of the scope map")
        if not 1 <= self.tracks <= MAX_TRACKS:
            raise ChioConfigError(f"`tracks` is {self.tracks}; write 1 to {MAX_TRACKS}")
        if not 1 <= self.batch_size <= self.in_flight:
            raise ChioConfigError(
                f"`batch_size` is {self.batch_size} and `max_in_flight` {self.in_flight}; write at least 1, and no "
                "more than may be in flight"
            )
        if self.max_batch_ms < 0:
            raise ChioConfigError(f"`max_batch_ms` is {self.max_batch_ms}; write milliseconds, 0 or more")

    @property
    def group(self) -> str:
        """The consumer group."""
        return str(self.conf["group.id"])

    @property
    def in_flight(self) -> int:
        """How many events may be taken and not committed."""
        default = BATCHES_IN_FLIGHT * self.tracks * self.batch_size
        return default if self.max_in_flight is None else self.max_in_flight

    @property
    def written(self) -> list[str]:
        """The topics that are written to."""
        own = (self.dlq_topic, self.error_topic, self.checkpoint_topic)
        return [*self.produce_scopes, *(topic for topic in own if topic is not None)]

    def open_journal(self, receipt_log: ReceiptLog) -> Journal | None:
        """Open the journal of tool calls, by default the one beside the receipt log; None if there is to be none.

        Raises:
            ChioConfigError: the log is in a database, so there is no place beside it.
        """
        if self.journal is False:
            return None
        if self.journal is not None:
            return Journal(self.journal)
        if receipt_log.path is None:
            raise ChioConfigError(
                f"receipt log `{receipt_log.location}` has no file to put the journal of tool calls beside: give "
                "`journal=` a path, the same at every start of this member, or `False`"
            )
        return Journal.beside(receipt_log.path)


def consume_scopes(topics: list[str], scope: str | Mapping[str, str] | None) -> dict[str, str]:
    """Give the scope that each topic needs.

    Raises:
        ChioConfigError: a topic has none.
    """
    if scope is None:
        return {topic: f"events:consume:{topic}" for topic in topics}
    if isinstance(scope, str):
        return dict.fromkeys(topics, scope)
    missing = [topic for topic in topics if topic not in scope]
    if missing:
        raise ChioConfigError(f"topic `{missing[0]}` has no scope; add it to `consume_scope`")
    return {topic: scope[topic] for topic in topics}

"""What a processor is told, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chio_fast.errors import ChioConfigError
from chio_fast.kafka import anchors, wiring
from chio_fast.kafka.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import KafkaError

    from chio_fast._native import StrPath
    from chio_fast.kafka.calls import OnDivergence
    from chio_fast.kafka.dispatcher import Order
    from chio_fast.kafka.failures import OnHandlerError
    from chio_fast.kafka.recognition import Duplicates, OnReplay
    from chio_fast.log import ReceiptLog


@dataclass(frozen=True)
class Options:
    """The arguments of `ChioTransactionalProcessor`, and what follows from them.

    Raises:
        ChioConfigError: they make no sense; the message says what to write instead.
    """

    conf: dict[str, Any]
    identity: str
    consume_scopes: dict[str, str]
    produce_scopes: dict[str, str]
    dlq_topic: str
    error_topic: str | None
    on_handler_error: OnHandlerError
    max_attempts: int
    batch_size: int
    max_batch_ms: int
    max_in_flight: int
    concurrency: int
    order: Order
    member: str | None
    checkpoint_topic: str
    journal: StrPath | Literal[False] | None
    on_divergence: OnDivergence
    drain_timeout: float
    on_error: Callable[[KafkaError], None] | None
    on_replay: OnReplay = "re-evaluate"
    duplicates: Duplicates | None = None
    anchor_topic: str | None = anchors.TOPIC

    def __post_init__(self) -> None:
        wiring.check_topics(self.consume_scopes, self.dlq_topic)
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
        if not 1 <= self.batch_size <= self.max_in_flight:
            raise ChioConfigError(
                f"`batch_size` is {self.batch_size} and `max_in_flight` {self.max_in_flight}; write at least 1, and no "
                "more than may be in flight"
            )
        if self.max_batch_ms < 0:
            raise ChioConfigError(f"`max_batch_ms` is {self.max_batch_ms}; write milliseconds, 0 or more")

    @property
    def group(self) -> str:
        """The consumer group."""
        return str(self.conf["group.id"])

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

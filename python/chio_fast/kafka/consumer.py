"""The governed consumer: a confluent Consumer whose every event is decided before application code sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from chio_fast import topics
from chio_fast.kafka.clients import Clients, clients_around, clients_from
from chio_fast.kafka.constructor_arguments import check_topics, enforcer_for, identity_for, warn_of_sidecar
from chio_fast.kafka.dlq import ChioDeadLetterProducer
from chio_fast.kafka.surface import ClientSurface
from chio_fast.kafka.wiring import Evidence, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

    from chio_fast._native import Event, Policy, Signer, StrPath
    from chio_fast.enforcer import Enforcer
    from chio_fast.guards import Guards
    from chio_fast.kafka.surface import Rebalanced
    from chio_fast.log import ReceiptLog
    from chio_fast.policy import PolicyWatcher
    from chio_fast.repeats import Duplicates, OnReplay

BATCH_SIZE = 500


class ChioConsumerMiddleware(ClientSurface):
    """A confluent Consumer that is governed: allowed events are handed out, denied ones go to the DLQ.

    It subscribes to the topics of `scope_map`. Like a Consumer it is used by one thread at a time.

    Args:
        consumer: a confluent Consumer with `enable.auto.commit=false`; it belongs to the wrapper from now on.
        sidecar_url: accepted and not asked; decisions are made in this process.
        scope_map: the scope that each topic needs, `{"orders": "events:consume:orders"}`.
        identity: who consumes; by default the enforcer's, else `CHIO_IDENTITY`.
        dlq_topic: the topic for denied events.
        policy: a `Policy`, the path of one, or a `PolicyWatcher`; by default the path in `CHIO_POLICY`.
        receipt_log: a `ReceiptLog`, its path or its URL; by default `CHIO_RECEIPT_LOG`.
        signer: signs the receipts; by default the log's own key.
        guards: a list, each of which always runs, or a dictionary, each of which runs where a rule names it.
        enforcer: instead of the four before; it is not closed with the consumer.
        producer: writes the DLQ; by default one for the same brokers, in plain text.
        dlq: a `ChioDeadLetterProducer` with settings of its own, instead of `producer`.
        group_id: the consumer group, part of each request's key; by default as the consumer tells it.
        batch_size: how many events are fetched and decided together at most.
        evidence: `before_commit`: receipts are durable before offsets are committed; `before_action`: before the event
            is handed out.
        on_assign: called with this consumer and the partitions; likewise `on_revoke` and `on_lost`.
        on_error: hears errors that the client deals with by itself.
        on_commit: hears the outcome of every commit, an error or None and the offsets.
        on_replay: an event that the log holds already is decided anew (`re-evaluate`), or as before (`honor`).
        duplicates: how events with the same id of the producer's are recognised; None if they are not.
        anchor_topic: where heads of the receipt log are published, so that cutting it off shows; None for nowhere.

    Raises:
        ChioConfigError: arguments are missing, contradictory or unsafe.
        PolicyError: the policy is malformed.
        LogError: the receipt log cannot be used.
    """

    def __init__(
        self,
        consumer: Consumer | Clients,
        sidecar_url: str | None = None,
        scope_map: Mapping[str, str] | None = None,
        identity: str | None = None,
        dlq_topic: str | None = None,
        *,
        policy: Policy | PolicyWatcher | StrPath | None = None,
        receipt_log: ReceiptLog | StrPath | None = None,
        signer: Signer | StrPath | None = None,
        guards: Guards | None = None,
        enforcer: Enforcer | None = None,
        producer: Producer | None = None,
        dlq: ChioDeadLetterProducer | None = None,
        group_id: str | None = None,
        batch_size: int = BATCH_SIZE,
        evidence: Evidence = "before_commit",
        on_assign: Rebalanced | None = None,
        on_revoke: Rebalanced | None = None,
        on_lost: Rebalanced | None = None,
        on_error: Callable[[KafkaError], None] | None = None,
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] | None = None,
        on_replay: OnReplay = "re-evaluate",
        duplicates: Duplicates | None = None,
        anchor_topic: str | None = topics.ANCHORS,
    ) -> None:
        warn_of_sidecar(sidecar_url)
        scopes, dlq_topic = check_topics(scope_map, dlq.dlq_topic if dlq is not None else dlq_topic)
        identity = identity_for(identity, enforcer)
        clients = (
            consumer
            if isinstance(consumer, Clients)
            else clients_around(consumer, dlq.producer if dlq else producer, group_id, identity)
        )
        self.enforcer = enforcer_for(
            enforcer=enforcer, identity=identity, policy=policy, receipt_log=receipt_log, signer=signer, guards=guards
        )
        self._owns_enforcer = enforcer is None
        try:
            self._parts = Pipeline(
                clients,
                self.enforcer,
                identity=identity,
                scope_map=scopes,
                dlq=dlq or ChioDeadLetterProducer(clients.producer, dlq_topic),
                batch_size=batch_size,
                evidence=evidence,
                on_error=on_error,
                on_commit=on_commit,
                on_replay=on_replay,
                duplicates=duplicates,
                anchor_topic=anchor_topic,
            )
        except BaseException:
            if self._owns_enforcer:
                self.enforcer.close()
            raise
        self.raw = clients.consumer
        self.identity = identity
        self._closed = False
        self._callbacks = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}
        self.subscribe(list(scopes))

    @classmethod
    def from_config(cls, conf: Mapping[str, Any], **arguments: Any) -> Self:
        """Build consumer and DLQ producer from one confluent configuration, security settings included.

        Safe settings are enforced; see `chio_fast.kafka.config`.

        Args:
            conf: as for a confluent Consumer; settings that only a producer knows go to the DLQ producer.
            arguments: those of the class but `consumer`, `producer` and `group_id`.

        Raises:
            ChioConfigError: a setting is unsafe; the message says what to write instead.
        """
        check_topics(arguments.get("scope_map"), arguments.get("dlq_topic"))
        return cls(clients_from(conf), **arguments)

    def poll(self, timeout: float | None = None) -> Event | Message | None:
        """Give the next allowed event, or None if there is none within `timeout` seconds (None: wait without end).

        An end of partition, which the configuration has to ask for, comes as the client's own message.

        Raises:
            KafkaException: a topic is unknown or not authorised, or the client failed for good.
            ChioError: a commit, a DLQ record or the receipt log failed.
        """
        return self._parts.intake.poll(timeout)

    def consume(self, num_messages: int = 1, timeout: float | None = -1) -> list[Event | Message]:
        """Give up to `num_messages` allowed events; unlike a Consumer it never waits for more than the first."""
        return self._parts.intake.consume(num_messages, timeout)

    def commit(
        self,
        message: Event | None = None,
        offsets: Sequence[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        """Commit `message`, or `offsets`, or everything handed out, once receipts and DLQ records are safe.

        Args:
            message: an event; it and everything before it in its partition is done with.
            offsets: of the next events to be delivered; never beyond what was handed out.
            asynchronous: return at once; a failure goes to `on_commit` and is raised by the next call. False waits.

        Returns:
            The offsets committed, if `asynchronous` is false.

        Raises:
            ChioRevoked: the partition was revoked, lost or sought since the event was handed out.
            ChioError: the commit failed, or asks for what was not handed out.
        """
        return self._parts.claims.commit(message, offsets, wait=not asynchronous)

    def close(self) -> None:
        """Finish what was asked for, leave the group and close the client; closing twice does nothing.

        Events handed out and not committed are delivered again, to this group.

        Raises:
            ChioError: what was asked for could not be finished.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._parts.close()
        finally:
            if self._owns_enforcer:
                self.enforcer.close()

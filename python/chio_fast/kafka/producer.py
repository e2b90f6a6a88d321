"""The governed producer: a confluent Producer whose every message is decided before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Producer

from chio_fast import topics
from chio_fast._native import Backlog
from chio_fast.errors import ChioDeliveryError
from chio_fast.kafka import anchors, config
from chio_fast.kafka.constructor_arguments import enforcer_for, warn_of_sidecar
from chio_fast.kafka.outbox import MAX_BYTES, MAX_MESSAGES, Outbox
from chio_fast.kafka.outlets import Outlets, fallback_identity
from chio_fast.kafka.stats import ProducerStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chio_fast._native import Policy, Signer, StrPath
    from chio_fast.enforcer import Enforcer
    from chio_fast.guards import Guards
    from chio_fast.kafka.outbox import Content, OnDelivery
    from chio_fast.log import ReceiptLog
    from chio_fast.message import OutputHeaders
    from chio_fast.policy import PolicyWatcher


class ChioProducerMiddleware:
    """A confluent Producer that is governed: what may be produced is sent with its receipt attached, the rest raises.

    `produce` decides at once. The message goes to the client in the background, after its receipt is durable, in the
    order of the calls. As with a Producer, `poll` or `flush` has to be called now and then; callbacks run in them.

    Args:
        producer: a confluent Producer; nobody else may produce with it.
        sidecar_url: accepted and not asked; decisions are made in this process.
        scope_map: the scope that each topic needs, `{"results": "events:produce:results"}`; other topics are denied.
        identity: who produces; by default who handles the event, else the enforcer's identity or `CHIO_IDENTITY`, else
            the `client.id` of `conf`.
        policy: a `Policy`, the path of one, or a `PolicyWatcher`; by default the path in `CHIO_POLICY`.
        receipt_log: a `ReceiptLog`, its path or its URL; by default `CHIO_RECEIPT_LOG`.
        signer: signs the receipts; by default the log's own key.
        guards: a list, each of which always runs, or a dictionary, each of which runs where a rule names it.
        enforcer: instead of the four before; it is not closed with the producer.
        conf: the configuration that `producer` was built from, where it is known.
        anchor_topic: where heads of the receipt log are published, which takes `conf`; None for nowhere.

    Raises:
        ChioConfigError: arguments are missing or contradictory.
        PolicyError: the policy is malformed.
        LogError: the receipt log cannot be used.
    """

    def __init__(
        self,
        producer: Producer,
        sidecar_url: str | None = None,
        scope_map: Mapping[str, str] | None = None,
        identity: str | None = None,
        *,
        policy: Policy | PolicyWatcher | StrPath | None = None,
        receipt_log: ReceiptLog | StrPath | None = None,
        signer: Signer | StrPath | None = None,
        guards: Guards | None = None,
        enforcer: Enforcer | None = None,
        conf: Mapping[str, Any] | None = None,
        anchor_topic: str | None = topics.ANCHORS,
    ) -> None:
        warn_of_sidecar(sidecar_url)
        conf = conf or {}
        fallback = fallback_identity(identity, enforcer, conf.get("client.id"))
        self.enforcer = enforcer_for(
            enforcer=enforcer,
            identity=identity or fallback,
            policy=policy,
            receipt_log=receipt_log,
            signer=signer,
            guards=guards,
        )
        self.raw = producer
        self._owns_enforcer = enforcer is None
        on_delivery = conf.get("on_delivery")
        largest = int(conf.get("message.max.bytes", config.CLIENT_BYTES)) if conf else None
        backlog = Backlog(
            self.enforcer.gate,
            producer,
            identity=identity,
            fallback=fallback,
            largest=largest,
            max_messages=MAX_MESSAGES,
            max_bytes=MAX_BYTES,
            heard=on_delivery is not None,
        )
        self._express = backlog.produce
        self.outlets = Outlets(
            self.enforcer.gate, scope_map, identity=identity, fallback=fallback, max_bytes=largest, know=backlog.know
        )
        self._anchors = anchors.begin_alone(self.enforcer.log, self.enforcer.receipt_log, conf, anchor_topic)
        # Last, because its thread keeps the log open: whatever refuses the producer has done so by now.
        self.outbox = Outbox(producer, backlog, self.enforcer.gate, on_delivery)

    @classmethod
    def from_config(cls, conf: Mapping[str, Any], **arguments: Any) -> Self:
        """Build the client from a confluent configuration: idempotent, acknowledged by all in-sync replicas.

        Args:
            conf: as for a confluent Producer.
            arguments: those of the class but `producer` and `conf`.

        Raises:
            ChioConfigError: a setting is unsafe; the message says what to write instead.
        """
        return cls(Producer(config.governed_producer_config(conf)), conf=conf, **arguments)

    def produce(  # noqa: PLR0917 - the order of the client's own arguments
        self,
        topic: str,
        value: Content = None,
        key: Content = None,
        partition: int = -1,
        callback: OnDelivery | None = None,
        on_delivery: OnDelivery | None = None,
        timestamp: int = 0,
        headers: OutputHeaders | None = None,
        *,
        parents: Iterable[str] = (),
        correlation: str | None = None,
    ) -> None:
        """Decide on a message and, if it is allowed, take it for sending.

        Args:
            topic: where to; the policy decides by the topic's scope in `scope_map`.
            value: bytes, str or None.
            key: likewise.
            partition: number of the partition; -1 for the partitioner's choice.
            callback: the same as `on_delivery`.
            on_delivery: called by `poll` or `flush` with an error or None, and the message.
            timestamp: Unix ms; 0 for now.
            headers: its headers; `X-Chio-Receipt` and `X-Chio-Scope` are added.
            parents: ids of receipts that led to this, beside the event being handled and its tool calls.
            correlation: text that joins what belongs together; by default that of the headers, else the event's.

        Raises:
            ChioDenied: it is not allowed; nothing is sent.
            ChioRevoked: the partition of the event being handled was revoked, lost or sought.
            BufferError: too much waits; call `poll`, then try again.
            KafkaException: it is larger than `message.max.bytes`.
            LogError: receipts cannot be issued or made durable any longer; nothing more is sent.
        """
        on_delivery = on_delivery or callback
        if on_delivery is None and self._express(
            topic, value, key, partition, headers, timestamp, parents, correlation
        ):
            return
        self.outbox.require_room()
        size = self.outlets.size_of(topic, value, key)
        check = self.outlets.authorise(topic, value, key, partition, headers, timestamp, parents, correlation)
        while check.guards_due:
            self.enforcer.guards.run([check])
            self.outlets.issue([check])
        if not check.is_allowed:
            self.outlets.require_allowed([check])
        self.outbox.put([(check, on_delivery)], size)

    def produce_batch(
        self,
        topic: str,
        messages: Sequence[Mapping[str, Any]],
        partition: int = -1,
        on_delivery: OnDelivery | None = None,
    ) -> int:
        """Decide on several messages and, if all are allowed, take them for sending; give their number.

        Args:
            topic: where to.
            messages: dictionaries with any of `value`, `key`, `headers`, `partition`, `timestamp`, `on_delivery`.
            partition: of messages that do not say.
            on_delivery: likewise.

        Raises:
            ChioDenied: one is not allowed; none is sent.
            Exception: as for `produce`; none is sent.
        """
        self.outbox.require_room()
        parcels, size = self.outlets.decide_all(topic, messages, partition, on_delivery)
        checks = [parcel[0] for parcel in parcels]
        while due := self.outlets.issue(checks):
            self.enforcer.guards.run(due)
        self.outlets.require_allowed(checks)
        self.outbox.put(parcels, size)
        return len(parcels)

    def poll(self, timeout: float = -1) -> int:
        """Serve callbacks for up to `timeout` seconds (-1: until there is one); give how many events were served."""
        return self.outbox.poll(timeout)

    def flush(self, timeout: float = -1) -> int:
        """Wait up to `timeout` seconds (-1: without end) until every message is acknowledged or has failed.

        Returns:
            How many messages are left.
        """
        return self.outbox.flush(timeout)

    def __len__(self) -> int:
        """How many messages are not acknowledged yet, those that wait for their receipts included."""
        return len(self.outbox) + len(self.raw)

    def stats(self) -> ProducerStats:
        """Count what was done so far."""
        return ProducerStats.of(self.outlets, self.outbox, self.enforcer, self._anchors)

    def close(self, timeout: float = -1) -> None:
        """Flush for up to `timeout` seconds and end the background thread; closing twice does nothing.

        What does not reach the client in time is not sent, and its receipts are taken back.

        Raises:
            ChioDeliveryError: not everything was acknowledged in time.
            LogError: receipts cannot be made durable.
        """
        if self.outbox.is_over:
            return
        try:
            left = self.flush(timeout)
            self.outbox.close()
        finally:
            if self._anchors is not None:
                self._anchors.close()
            if self._owns_enforcer:
                self.enforcer.close()
        if left:
            raise ChioDeliveryError(f"{left} messages were not acknowledged within {timeout:g} s; check the brokers")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

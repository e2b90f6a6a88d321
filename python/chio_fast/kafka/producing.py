"""Sending events with their receipts attached, and waiting until each is acknowledged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Producer

from chio_fast.errors import ChioDeliveryError
from chio_fast.kafka.config import producer_config
from chio_fast.kafka.envelope import HEADER_RECEIPT, HEADER_SCOPE
from chio_fast.kafka.metadata import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confluent_kafka import KafkaError

    from chio_fast.decision import Decision

log = logging.getLogger("chio_fast.kafka")

FLUSH_SECONDS = 90.0
"""Seconds to wait for acknowledgements: longer than the client's own `delivery.timeout.ms`, so its reason shows."""


class Feed:
    """Sends events and notices when one is not acknowledged.

    Args:
        producer: a confluent Producer; other users of it may send through it as well.
    """

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self._failure: ChioDeliveryError | None = None

    @classmethod
    def from_config(cls, conf: Mapping[str, Any]) -> Self:
        """Build the producer: idempotent, acknowledged by all in-sync replicas.

        Raises:
            ChioConfigError: a setting is unsafe.
        """
        return cls(Producer(producer_config(conf, lambda error: log.warning("producer: %s", error))))

    def create(self, *topics: str) -> None:
        """Ask for topics by name, upon which a cluster that creates topics by itself does so."""
        for topic in topics:
            self.producer.list_topics(topic, timeout=TIMEOUT)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, str | bytes | None]],
        *,
        receipt: Decision | None = None,
    ) -> None:
        """Send one event; waits while the client's queue is full.

        Args:
            topic: where to.
            key: key of the event.
            value: its value.
            headers: its headers.
            receipt: the decision that allowed it; its receipt id and scope go along as headers.

        Raises:
            ChioDeliveryError: an earlier event was not taken.
        """
        if self._failure is not None:
            raise self._failure
        sent: list[tuple[str, str | bytes | None]] = list(headers)
        if receipt is not None:
            # What the event says of its own way replaces what it came with.
            sent = [pair for pair in sent if pair[0] not in (HEADER_RECEIPT, HEADER_SCOPE)]
            sent += [(HEADER_RECEIPT, receipt.receipt_id), (HEADER_SCOPE, receipt.scope)]
        while True:
            try:
                self.producer.produce(topic, key=key, value=value, headers=sent, on_delivery=self._report)
            except BufferError:
                self.producer.poll(0.05)
            else:
                self.producer.poll(0)
                return

    def flush(self) -> None:
        """Wait for every acknowledgement.

        Raises:
            ChioDeliveryError: an event was not taken, or not acknowledged in time.
        """
        left = self.producer.flush(FLUSH_SECONDS)
        if self._failure is not None:
            raise self._failure
        if left:
            raise ChioDeliveryError(
                f"{left} events were not acknowledged within {FLUSH_SECONDS:g} s; check the brokers"
            )

    def _report(self, error: KafkaError | None, message: Any) -> None:
        if error is not None and self._failure is None:
            self._failure = ChioDeliveryError(
                f"topic `{message.topic()}` did not take an event: {error.name()}: {error.str()}; create the topic or "
                "grant write access, then start again"
            )

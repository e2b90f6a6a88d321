"""The dead letter producer: events that were *not authorised*, each with its denial, acknowledged by the broker."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from chio_fast.errors import ChioConfigError, ChioDeadLetterError
from chio_fast.kafka import envelope
from chio_fast.kafka.envelope import Form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Message, Producer

log = logging.getLogger("chio_fast.kafka")

DELIVERY_TIMEOUT = 90.0
"""Seconds to wait for acknowledgements: longer than the client's own `delivery.timeout.ms`, so its reason shows."""

POLL = 0.05
"""Seconds that one wait for a delivery report takes at most."""

# Codes that the same record will meet again, while a smaller one may pass.
REFUSED_FOR_ITS_SIZE = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG,
})  # fmt: skip


class Letter(NamedTuple):
    """One event on its way to the DLQ.

    Attributes:
        decision: why; None for the event's own, which need not become a Python object then.
    """

    event: Any
    decision: Any = None
    attempt: int | None = None


class ChioDeadLetterProducer:
    """Writes denied events to the DLQ topic.

    Args:
        producer: a confluent Producer, used as it is and never closed here.
        dlq_topic: the topic for denied events; never one that is consumed.
        include_value: False keeps the value out of the DLQ; its digest stays.
        mode: `json` writes the documented envelope; `exact` repeats key, value and headers byte for byte and puts the
            denial into headers.
        timeout: seconds to wait for acknowledgements.
    """

    def __init__(
        self,
        producer: Producer,
        dlq_topic: str,
        *,
        include_value: bool = True,
        mode: Literal["json", "exact"] = "json",
        timeout: float = DELIVERY_TIMEOUT,
    ) -> None:
        if not dlq_topic:
            raise ChioConfigError("`dlq_topic` is empty; write the name of the topic for denied events")
        if mode not in ("json", "exact"):
            raise ChioConfigError(f"`mode` is `{mode}`; write `json` or `exact`")
        self.dlq_topic = dlq_topic
        self.producer = producer
        self._timeout = timeout
        self._first_form = Form.FULL if include_value else Form.WITHOUT_VALUE
        self._record = envelope.json_record if mode == "json" else envelope.exact_record

    async def send_to_dlq(self, event: Any, verdict: Any, *, attempt: int | None = None) -> None:
        """Write one denied event; return when the broker has acknowledged it.

        Args:
            event: anything with the accessors of a confluent Message.
            verdict: the decision on it.
            attempt: how often the event has been decided on, where known.

        Raises:
            ChioDeadLetterError: the record was not acknowledged.
        """
        await asyncio.to_thread(self.send, event, verdict, attempt=attempt)

    def send(self, event: Any, verdict: Any, *, attempt: int | None = None) -> None:
        """Do what `send_to_dlq` does, blocking the calling thread."""
        self.send_all([Letter(event, verdict, attempt)])

    def send_all(self, letters: Iterable[Letter]) -> None:
        """Write many denied events; return when every one is acknowledged.

        A record that the broker or client refuses for its size or form goes again without the value, then without
        key and headers.

        Raises:
            ChioDeadLetterError: at least one record was not acknowledged; the others may have been written.
        """
        form, remaining = self._first_form, list(letters)
        while remaining:
            refused = self._send_in_form(remaining, form)
            if refused and form is Form.DENIAL_ONLY:
                letter, error = refused[0]
                raise self._failure(error, f"{envelope.request_of(letter.event)}, even without value and headers")
            remaining, form = [letter for letter, _ in refused], Form(min(form + 1, Form.DENIAL_ONLY))

    def _send_in_form(self, letters: list[Letter], form: Form) -> list[tuple[Letter, KafkaError]]:
        """Produce `letters` and wait; give back those that a smaller form may get through."""
        reports: list[tuple[Letter, KafkaError | None]] = []
        deadline = time.monotonic() + self._timeout
        for letter in letters:
            record = self._record(letter.event, letter.decision, attempt=letter.attempt, form=form)
            self._produce(record, _reporter(letter, reports), deadline)
        while len(reports) < len(letters):
            if time.monotonic() > deadline:
                missing = len(letters) - len(reports)
                raise ChioDeadLetterError(
                    f"{missing} of {len(letters)} records for topic `{self.dlq_topic}` were not acknowledged within "
                    f"{self._timeout:g} s; check the brokers and the producer's settings"
                )
            self.producer.poll(POLL)
        refused = []
        for letter, error in reports:
            if error is None:
                continue
            if error.code() not in REFUSED_FOR_ITS_SIZE:
                raise self._failure(error, envelope.request_of(letter.event))
            log.warning("the DLQ refused %s in full (%s)", envelope.request_of(letter.event), error.str())
            refused.append((letter, error))
        return refused

    def _produce(
        self, record: envelope.Record, report: Callable[[KafkaError | None, Any], None], deadline: float
    ) -> None:
        """Hand one record to the client; wait while its queue is full."""
        while True:
            try:
                self.producer.produce(
                    self.dlq_topic, key=record.key, value=record.value, headers=list(record.headers), on_delivery=report
                )
            except BufferError:
                if time.monotonic() > deadline:
                    raise ChioDeadLetterError(
                        f"the producer's queue stayed full for {self._timeout:g} s; check the brokers"
                    ) from None
                self.producer.poll(POLL)
            except KafkaException as failure:
                report(failure.args[0], None)
                return
            else:
                return

    def _failure(self, error: KafkaError, what: str) -> ChioDeadLetterError:
        return ChioDeadLetterError(
            f"topic `{self.dlq_topic}` did not take the denial of {what}: {error.name()}: {error.str()}; "
            "create the topic or grant write access, then start again: the event is redelivered"
        )


def _reporter(
    letter: Letter, reports: list[tuple[Letter, KafkaError | None]]
) -> Callable[[KafkaError | None, Message | None], None]:
    """Make the delivery callback of one record; appending to a list is atomic, whatever thread polls."""

    def report(error: KafkaError | None, _message: Message | None) -> None:
        reports.append((letter, error))

    return report

"""What the callbacks of the clients say: errors, results of commits, and records that were not delivered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from chio_fast.kafka.trouble import Trouble

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, TopicPartition

    from chio_fast.kafka.intake import Intake
    from chio_fast.kafka.landing import Landing

Report = Callable[["KafkaError", Any], None]
"""Delivery callback of one record."""
Produce = Callable[..., None]
"""`produce` of the client."""


class ErrorEar:
    """Takes client-level errors from any thread, and results of commits; there before the parts that deal with them."""

    def __init__(self) -> None:
        self.intake: Intake | None = None
        self.landing: Landing | None = None
        self.trouble = Trouble()

    def __call__(self, error: KafkaError) -> None:
        """Stop for a fatal error, note any other."""
        if error.fatal():
            self.trouble.stop(KafkaException(error))
        elif self.intake is not None:
            self.intake.hear_transient(error)

    def on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Pass on what became of a commit; for clients that were built with this as their `on_commit`."""
        if self.landing is not None:
            self.landing.landed(error, offsets)


class Ear:
    """Hears the callbacks of one transactional producer.

    It does not hold the producer, so that one that is given up ends when its last reference goes.

    Attributes:
        heard: client-level errors.
        refused: records of the transaction that were not delivered: to whom they are charged, and why.

    Args:
        on_error: hears every client-level error that is not fatal, too.
    """

    def __init__(self, on_error: Callable[[KafkaError], None]) -> None:
        self._on_error = on_error
        self._charges: list[Any] = []
        self._reports: list[Report] = []
        self.heard: list[KafkaError] = []
        self.refused: list[tuple[Any, KafkaError]] = []

    def begin(self) -> None:
        """Forget the records of the transaction before."""
        self._charges.clear()
        self.refused.clear()

    def charged(self, charge: Any) -> Report:
        """Give the delivery callback of the next record, which is due to `charge`.

        That of the first record of a transaction is the same in each, and so on: one made for each record would be work
        for the cyclic garbage collector.
        """
        number = len(self._charges)
        self._charges.append(charge)
        if number == len(self._reports):
            self._reports.append(partial(self._on_delivery, number))
        return self._reports[number]

    def on_error(self, error: KafkaError) -> None:
        """Hear a client-level error; a fatal one is this module's to deal with, and comes out of the next call."""
        self.heard.append(error)
        if not error.fatal():
            self._on_error(error)

    def _on_delivery(self, number: int, error: KafkaError, _message: object) -> None:
        """Hear of a record that was not delivered; the client reports no others."""
        self.refused.append((self._charges[number], error))

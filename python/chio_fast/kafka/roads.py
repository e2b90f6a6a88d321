"""Two roads lead to a producer: the client's own `produce`, and one past it where the client's memory is known."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from chio_fast._native import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from confluent_kafka import Producer

    from chio_fast._native import Check

log = logging.getLogger("chio_fast.kafka")


def fast(producer: Producer) -> Sender | None:
    """Give the fast road to a producer; None where it is closed, and everything goes by `produce`."""
    try:
        return Sender(producer)
    except Exception as closed:  # noqa: BLE001 - the ordinary road is open, whatever is wrong with this one
        log.info("records are handed to the client's `produce`: %s", closed)
        return None


def hand(sender: Sender, outputs: Sequence[Check]) -> Iterator[tuple[int, int, int]]:
    """Hand outputs that have their receipts over on the fast road, in order.

    Yields:
        How many more were taken, the place of the next one, and the code with which the producer refused it: 0 if none
        is left. It is handed over again if the queue is full, else passed over.
    """
    place = 0
    while place < len(outputs):
        taken, code = sender.hand(outputs[place:] if place else outputs)
        place += taken
        yield taken, place, code
        if code != KafkaError._QUEUE_FULL:
            place += 1

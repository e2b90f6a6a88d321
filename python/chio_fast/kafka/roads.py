"""Two roads lead to a producer: the client's own `produce`, and one past it where the client's memory is known."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from chio_fast import _native
from chio_fast._native import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from confluent_kafka import Consumer, Producer

    from chio_fast._native import Stretch

log = logging.getLogger("chio_fast.kafka")


def fast(producer: Producer) -> Sender | None:
    """Give the fast road to a producer; None where it is closed, and everything goes by `produce`."""
    try:
        return Sender(producer)
    except Exception as closed:  # noqa: BLE001 - the ordinary road is open, whatever is wrong with this one
        log.info("records are handed to the client's `produce`: %s", closed)
        return None


def group_metadata(consumer: Consumer) -> bytes:
    """Do what the client's `consumer_group_metadata` does, without Python's lock where the fast road is open.

    The client keeps the lock while it asks its own thread, and with it everybody else.
    """
    try:
        found = _native.group_metadata(consumer)
    except Exception:  # noqa: BLE001 - as above
        found = None
    return consumer.consumer_group_metadata() if found is None else found


def hand(sender: Sender, stretches: Sequence[Stretch]) -> Iterator[tuple[int, int, int]]:
    """Hand what the handlers of stretches produced over on the fast road, in order, with its receipts.

    Yields:
        How many more were taken, the place of the next one, and the code with which the producer refused it: 0 if none
        is left. It is handed over again if the queue is full, else passed over.
    """
    place, code = 0, -1
    while code:
        taken, code = sender.hand_stretches(stretches, place)
        place += taken
        yield taken, place, code
        if code != KafkaError._QUEUE_FULL:
            place += 1

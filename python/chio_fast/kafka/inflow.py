"""How messages come from the client: past its Python objects where that is possible, else as it gives them."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from chio_fast._native import Inlet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Consumer, Message, TopicPartition

log = logging.getLogger("chio_fast.kafka")


class Inflow:
    """The messages of one consumer, for the thread that uses it.

    Where the client is one whose memory is known, the queues of its partitions lead into an inlet of ours, and the
    client itself is entered for everything that calls back: rebalances, results of commits, errors. So whatever is
    taken out of the inlet belongs to what is assigned after the last entry. Elsewhere the client gives everything.

    Args:
        raw: the client.

    Attributes:
        inlet: what `Gate.admit` takes messages out of; None where the client gives them.
    """

    def __init__(self, raw: Consumer) -> None:
        self._raw = raw
        self.inlet: Inlet | None = None
        try:
            self.inlet = Inlet(raw)
        except (RuntimeError, TypeError) as reason:
            log.info("messages come as Python objects of the client: %s", reason)

    def lead_in(self, partitions: Iterable[TopicPartition]) -> None:
        """Lead partitions into the inlet; called before the client assigns them, after which it would be too late."""
        if self.inlet is not None:
            for partition in partitions:
                self.inlet.lead_in(partition.topic, partition.partition)

    def lead_in_again(self, partitions: Iterable[TopicPartition]) -> None:
        """Lead partitions in that the client may have held when it was told to assign them.

        What it held it stops first, on a thread of its own, which ends the way into the inlet, and it makes no way to
        itself for a queue that ever had another (librdkafka 2.16.0, `rd_kafka_toppar_fetch_stop`, `_fetch_start`): such
        a partition would be fetched and never seen. It does things in the order in which it is told, so what has to be
        stopped is once it has answered what it holds.
        """
        if self.inlet is not None:
            self._raw.assignment()
            self.lead_in(partitions)

    def enter(self, count: int, timeout: float, *, has_room: bool = True) -> list[Message]:
        """Enter the client for up to `timeout` seconds; give up to `count` messages that came as its own objects.

        With room, what waits in the inlet ends the stay.
        """
        if has_room and self.inlet is not None and self.inlet.has_news:
            timeout = 0.0
        return self._raw.consume(count, timeout)

    def wake(self) -> None:
        """End the stay in the client, where that is possible; for every thread."""
        inlet = self.inlet
        if inlet is not None:
            with suppress(RuntimeError):  # it is being closed
                inlet.wake()

    def close(self) -> None:
        """Take nothing any more; called before the client is closed, which may assign partitions until it is."""
        if self.inlet is not None:
            self.inlet.close()
            self.inlet = None

"""Keeps partitions whose first event takes long from holding up all others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

if TYPE_CHECKING:
    from chio_fast._native import Run, Work
    from chio_fast.kafka.in_flight import InFlight
    from chio_fast.kafka.partitions import Partitions

STALLED = 0.1
"""Seconds without a step of any frontier after which there is no room because of slow events."""


class Fairness:
    """Sets partitions aside that use up the room while nothing can be committed.

    Behind an event whose handler takes long, finished events pile up. Once they leave no room for anything else, their
    partitions are paused and do not count any more, until their frontier moves. Used on the thread of the client.

    Args:
        runs: what is in flight.
        partitions: pauses and resumes.
    """

    def __init__(self, runs: InFlight, partitions: Partitions) -> None:
        self._runs = runs
        self._partitions = partitions
        self._aside: dict[Run, int] = {}
        self._first: dict[Run, Work] = {}
        self._since = 0.0

    def look(self) -> None:
        """Set aside and bring back, as is due; called in every turn."""
        if self._aside:
            self._bring_back()
        if self._runs.room > 0 or not self._runs.is_settled:
            self._first.clear()
            return
        now = time.monotonic()
        stalled = self._runs.stalled()
        if stalled != self._first:
            self._first, self._since = stalled, now
        elif now > self._since + STALLED:
            self._first = {}
            self._set_aside(list(stalled))

    def _set_aside(self, stalled: list[Run]) -> None:
        for run in stalled:
            if run not in self._aside and len(run) >= self._runs.share:
                self._partitions.pause([TopicPartition(*run.key)])
                self._aside[run] = len(run)
        self._runs.set_aside(self._aside)

    def _bring_back(self) -> None:
        back = [run for run, size in self._aside.items() if not run.alive or len(run) <= size // 2]
        for run in back:
            del self._aside[run]
            # A run that a seek has ended leaves its partition paused; one that was given up is not held any more.
            if self._runs.get(run.key) is not None:
                self._partitions.resume([TopicPartition(*run.key)])
        if back:
            self._runs.set_aside(self._aside)

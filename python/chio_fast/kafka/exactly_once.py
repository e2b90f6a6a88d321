"""What a processor's intake commits by: the tracks, and what they need of the thread that uses the client."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

from chio_fast.errors import ChioError, ChioRevoked
from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chio_fast._native import Event, Gate, Run, Stretch
    from chio_fast.kafka.assignment import Assigned, Key
    from chio_fast.kafka.errands import Errands
    from chio_fast.kafka.in_flight import InFlight
    from chio_fast.kafka.inheritance import Inheritance
    from chio_fast.kafka.partitions import Partitions
    from chio_fast.kafka.track import Track
    from chio_fast.kafka.trouble import Trouble

    MakeRun = Callable[[Assigned, int, bool], Run]
    """Makes the run of an assignment from an offset on; True unless it continues one after a seek."""

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 30.0
"""Seconds for which a revoke waits for the running transactions."""
WAIT = 0.05
"""Seconds that the thread which uses the client waits at a time while it waits for a track."""


class ExactlyOnce:
    """The committer of a processor's intake: what is finished is committed by the tracks. For the thread of the client.

    Attributes:
        timeout: see `Committer`.
        client: likewise; no other thread enters the client.
        partitions: set by the wiring: each needs the other.

    Args:
        tracks: each commits its own partitions.
        in_flight: the runs of all of them.
        gate: seals the attempts at events that are given up.
        errands: what the tracks ask for.
        inheritance: resolves what former holders of partitions left open.
        trouble: is told when a track cannot go on.
        make_run: makes runs.
    """

    is_full = False

    def __init__(
        self,
        tracks: Sequence[Track],
        in_flight: InFlight,
        *,
        gate: Gate,
        errands: Errands,
        inheritance: Inheritance,
        trouble: Trouble,
        make_run: MakeRun,
    ) -> None:
        self.timeout = TIMEOUT
        self.client = threading.RLock()
        self.partitions: Partitions
        self.tracks = tracks
        self._in_flight = in_flight
        self._gate = gate
        self._errands = errands
        self._inheritance = inheritance
        self._trouble = trouble
        self._make_run = make_run
        for track in tracks:
            track.rewind = self._rewind

    @property
    def transactions(self) -> int:
        """How many were committed."""
        return sum(track.transactions for track in self.tracks)

    @property
    def aborts(self) -> int:
        """How many were not."""
        return sum(track.aborts for track in self.tracks)

    @property
    def committed(self) -> int:
        """Events of those that were."""
        return sum(track.committed for track in self.tracks)

    @property
    def is_busy(self) -> bool:
        """Whether a transaction is running, which needs the client in between."""
        return self._errands.waiting or any(track.is_busy for track in self.tracks)

    def pump(self) -> None:
        """Do what the tracks ask for, and relieve the threads to which the client never returns."""
        if self._errands.waiting:
            self._errands.serve()
        elif self._trouble.failure is None:
            for track in self.tracks:
                track.relieve()

    def deny(self, events: Sequence[Event]) -> None:
        """Do nothing: denied events are works that are finished from the start."""

    def drain(self, timeout: float) -> None:
        """Wait until what is finished is committed, the running transactions with it; serve them meanwhile.

        Raises:
            ChioRevoked: that did not happen within `timeout` seconds, so it is handled again by whoever comes next.
        """
        deadline = time.monotonic() + timeout
        self._in_flight.hurry(awaited=True)
        try:
            while self._trouble.failure is None and all(track.is_alive for track in self.tracks):
                self.pump()
                if all(track.is_settled for track in self.tracks):
                    return
                if time.monotonic() > deadline:
                    raise ChioRevoked(
                        f"the running transactions did not end within {timeout:g} s; what they cover is handled again, "
                        "unless it is committed after all"
                    )
                self._errands.wait(WAIT)
        finally:
            self._in_flight.hurry(awaited=False)

    def begun(self, assigned: Sequence[Assigned]) -> None:
        """Begin the runs of partitions that were assigned."""
        self.ended([held.key for held in assigned])
        for held in assigned:
            start = NOTHING if held.start is None else max(held.start, NOTHING)
            run = self._make_run(held, start, True)
            self._in_flight.begin(run)
            self._inheritance.assigned([run.key], run.generation)

    def ended(self, keys: Sequence[Key]) -> None:
        """End the runs of partitions that were given up; what their handlers have begun is on record as an attempt."""
        begun = self._in_flight.end(keys)
        try:
            if begun:
                self._gate.attempt([work.event for work in begun])
        except ChioError as error:
            # Rebalances are no place to raise: the client would throw away the messages of the running call.
            self._trouble.stop(error)

    def start(self) -> None:
        """End and resolve what the processes before this one have left open, then start the tracks.

        All are fenced first: an open transaction of one hides from the others what became of theirs.

        Raises:
            Unclean, Fenced, ChioConfigError, CheckpointsError: it is not possible now, or at all.
        """
        for track in self.tracks:
            track.fence()
        for track in self.tracks:
            track.start()

    def stop(self, timeout: float) -> None:
        """End the tracks after their running transactions."""
        for track in self.tracks:
            track.runs.stop()
        deadline = time.monotonic() + timeout
        while (running := [track for track in self.tracks if track.is_alive]) and time.monotonic() < deadline:
            if self._trouble.failure is not None and all(track.is_stuck for track in running):
                break
            self.pump()
            running[0].join(WAIT)
        for track in self.tracks:
            track.end()
        if running:
            # One would go on with a producer of the same id, and end a transaction of whoever comes next.
            self._trouble.stop(ChioError(f"the running transactions did not end within {timeout:g} s"))
        self._errands.close()

    def _rewind(self, stretches: Sequence[Stretch]) -> None:
        """Take the events of failed stretches, and what followed them, again; on the thread that uses the client."""
        for stretch in stretches:
            run = stretch.run
            if run.alive:
                # The seek comes first: after it no handler of the run can do anything that goes without an attempt.
                self.partitions.seek(TopicPartition(*run.key, stretch.first))
                self.ended([run.key])
                self._in_flight.begin(self._make_run(run.held, stretch.first, False))

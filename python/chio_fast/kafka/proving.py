"""Finds the events that end the process that handles them.

A handler that raises is counted by its receipts of mode `attempt`; one that ends the process leaves none, unless it is
counted before it runs. So the first events of a partition that was assigned are counted when they are taken, together
in one durable write. Those of them that were counted often before are suspects: they run in groups, each counted right
before its turn and committed before the next one's. The last
two attempts are made alone, so that an event which ends the process is not counted against those that came with it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from chio_fast.kafka.work import FINISHED, Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chio_fast._native import Gate
    from chio_fast.kafka.failures import Failures
    from chio_fast.kafka.in_flight import InFlight
    from chio_fast.kafka.work import Run, Work
    from chio_fast.log import ReceiptLog

SUSPECT = 2
"""Attempts that were not committed, from which on an event waits for its turn."""
GROUP = 64
"""Suspects that run together at most."""
ALONE = 2
"""Attempts that are left to a suspect when it runs alone: one death beside it may be chance, two are evidence."""
PATIENCE = 10.0
"""Seconds after which the next suspects run although those before are not committed."""
LOOK_AHEAD = 10_000
"""Offsets of one partition whose earlier attempts are looked at, from the first event on."""


class Proving:
    """Counts attempts, on the thread that takes events.

    Args:
        gate: seals.
        receipt_log: knows the attempts before.
        failures: says how many attempts are too many.
        runs: commit what was proven at once.
    """

    def __init__(self, gate: Gate, receipt_log: ReceiptLog, failures: Failures, runs: InFlight) -> None:
        self._gate = gate
        self._receipt_log = receipt_log
        self._failures = failures
        self._runs = runs
        self._tried: dict[Run, dict[int, int]] = {}
        self._waiting: deque[Work] = deque()  # appended to by workers
        self._running: list[Work] = []
        self._patient_until = 0.0

    def sort(self, works: Sequence[Work]) -> None:
        """Count works that were just taken, mark suspects, and give up what was tried too often."""
        fresh = [work for work in works if work.run.unproven > 0]
        if not fresh:
            return
        counted = []
        for work in fresh:
            run = work.run
            run.unproven -= 1
            tried = self._tries(work).get(work.event.offset(), 0)
            if run.unproven == 0:
                del self._tried[run]
            if work.state == FINISHED:
                continue
            if tried > SUSPECT and self._failures.is_too_often(tried):
                work.failure = Failure("ProcessEnded", "its handler did not come to an end", tried)
                work.state = FINISHED
            elif tried >= SUSPECT:
                work.is_suspect, work.tried = True, tried
            else:
                counted.append(work)
        self._count(counted)

    def defer(self, work: Work) -> None:
        """Have a suspect wait for its turn."""
        self._waiting.append(work)

    def next(self) -> list[Work]:
        """Give the suspects that may run now, counted, if there are any."""
        if not self._running and not self._waiting:
            return []
        if self._running:
            if not _is_over(self._running) and time.monotonic() < self._patient_until:
                return self._released()
            self._runs.hurry(awaited=False)
        self._running = group = self._group()
        if group:
            self._count(group)
            for work in group:
                work.is_suspect = False
            self._patient_until = time.monotonic() + PATIENCE
            self._runs.hurry(awaited=True)
        return self._released()

    def _group(self) -> list[Work]:
        """Give the next suspects that may run together: the first ones of a run, so that they can be committed."""
        while self._waiting and not self._waiting[0].run.alive:
            self._waiting.popleft()
        group: list[Work] = []
        limit = GROUP
        for work in self._runs.not_begun(self._waiting[0].run) if self._waiting else ():
            if work.is_suspect:
                if self._failures.attempts_left(work.tried) <= ALONE:
                    limit = 1
                if len(group) >= limit:
                    break
                group.append(work)
        return group

    def _released(self) -> list[Work]:
        """Take out what waits and is no suspect any more; a worker may have deferred it a moment too late."""
        released: list[Work] = []
        for _ in range(len(self._waiting)):
            work = self._waiting.popleft()
            (self._waiting if work.is_suspect else released).append(work)
        return released

    def _count(self, works: Sequence[Work]) -> None:
        if works:
            ordinals = self._gate.attempt_now([work.event for work in works])
            self._gate.log.wait_durable(max(ordinals))

    def _tries(self, work: Work) -> dict[int, int]:
        """Give how often the process ended while events of a run were handled, by offset, from its first work on.

        An attempt that was counted before its handler ran, and has no other receipt, was ended by the process. Whoever
        lives to see a handler fail, a partition go, or a transaction prepared, seals another receipt of the attempt.
        """
        run = work.run
        known = self._tried.get(run)
        if known is None:
            # Ended runs are not asked about again.
            self._tried = {other: tries for other, tries in self._tried.items() if other.alive}
            attempts: defaultdict[int, Counter[int]] = defaultdict(Counter)
            first, highest = work.event.offset(), self._receipt_log.highest_offset(run.held.native)
            if highest is not None and highest >= first:
                for receipt in self._receipt_log.consumed(run.held.native, first, min(highest, first + LOOK_AHEAD)):
                    mine = (receipt.batch.issuer, receipt.batch.epoch) == (self._gate.log.issuer, self._gate.log.epoch)
                    # Two make an attempt that somebody lived to end; this process has lived through all of its own.
                    attempts[int(receipt.target.offset or 0)][receipt.attempt or 1] += 2 if mine else 1
            known = self._tried[run] = {
                offset: sum(receipts == 1 for receipts in numbers.values()) for offset, numbers in attempts.items()
            }
        return known


def _is_over(group: list[Work]) -> bool:
    """Whether a group, all of one run, is committed or void."""
    last = group[-1]
    return not last.run.alive or last.run.held.frontier.committed > last.event.offset()

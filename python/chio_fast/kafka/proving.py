"""Finds the events that end the process that handles them.

A handler that raises is counted by its receipts of mode `attempt`; one that ends the process leaves none, unless it is
counted before it runs. So the first events of a partition that was assigned are counted when they are taken, in one
durable write for all that are taken together: by a receipt of the first and one of the last of them, which stand for
those in between. Those of them that were counted often before are suspects: they run in groups, each counted right
before its turn and committed before the next one's. The last two attempts are made alone, so that an event which ends
the process is not counted against those that came with it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from chio_fast._native import FINISHED
from chio_fast.errors import ChioError
from chio_fast.kafka.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chio_fast._native import Gate, Run, Work
    from chio_fast.kafka.failures import Failures
    from chio_fast.kafka.in_flight import InFlight
    from chio_fast.log import ReceiptLog
    from chio_fast.records import Batch, Receipt

    Life = tuple[str, int]
    """Issuer and epoch: what one process was to a log."""

SUSPECT = 2
"""Attempts that were not committed, from which on an event waits for its turn."""
GROUP = 64
"""Suspects that run together at most."""
ALONE = 2
"""Attempts that are left to a suspect when it runs alone: one death beside it may be chance, two are evidence."""
PATIENCE = 10.0
"""Seconds after which the next suspects run although those before are not committed."""
LOOK_AHEAD = 10_000
"""Offsets of one partition whose earlier attempts are looked at, from the first event on; so no stretch is longer."""


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
        self._tried: dict[Run, Tries] = {}
        self._waiting: deque[Work] = deque()  # appended to by workers
        self._running: list[Work] = []
        self._patient_until = 0.0

    def sort(self, works: Sequence[Work]) -> None:
        """Count works that were just taken, mark suspects, and give up what was tried too often."""
        fresh = [work for work in works if work.run.unproven > 0]
        stretches: list[list[Work]] = []
        stretch: list[Work] | None = None
        for work in fresh:
            run = work.run
            run.unproven -= 1
            offset = work.event.offset()
            tried = self._tries(work).of(offset)
            if run.unproven == 0:
                del self._tried[run]
            if work.state == FINISHED:
                continue
            if tried > SUSPECT and self._failures.is_too_often(tried):
                work.failure = Failure("ProcessEnded", "its handler did not come to an end", tried)
                work.state = FINISHED
            elif tried >= SUSPECT:
                work.is_suspect, work.tried = True, tried
                stretch = None  # it waits, so nothing that is counted now stands for it
            else:
                if stretch is None or stretch[0].run is not run or offset > stretch[0].event.offset() + LOOK_AHEAD:
                    stretches.append(stretch := [])
                stretch.append(work)
        self._count(stretches)

    def count_again(self, work: Work) -> None:
        """Count a work whose handler failed, before it runs again; on the worker's thread."""
        try:
            self._count([[work]])
        except ChioError:
            if work.run.alive:
                raise
            # Its partition was given up meanwhile, and the attempt is on record.

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
            self._count([work] for work in group)
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
        for work in self._waiting[0].run.not_begun() if self._waiting else ():
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

    def _count(self, stretches: Iterable[Sequence[Work]]) -> None:
        """Count works, those of a stretch by its ends; each stretch is of one run and in order."""
        ordinals: list[int] = []
        for works in stretches:
            ends = works if len(works) == 1 else (works[0], works[-1])
            ordinals += self._gate.attempt_now([work.event for work in ends])
        if ordinals:
            self._gate.log.wait_durable(max(ordinals))

    def _tries(self, work: Work) -> Tries:
        """Give what is known of the events of a run, from its first work on."""
        run = work.run
        known = self._tried.get(run)
        if known is None:
            # Ended runs are not asked about again.
            self._tried = {other: tries for other, tries in self._tried.items() if other.alive}
            first, highest = work.event.offset(), self._receipt_log.highest_offset(run.held.native)
            last = -1 if highest is None else min(highest, first + LOOK_AHEAD)
            receipts = self._receipt_log.consumed(run.held.native, first, last) if first <= last else ()
            mine = (self._gate.log.issuer, self._gate.log.epoch)
            known = self._tried[run] = Tries(receipts, mine, first, last)
        return known


class Tries:
    """How often a process ended while events of a partition were handled, as the log tells it.

    A process that has counted an event before its handler ran, and has sealed no other receipt of it, has not lived to
    do so. Whoever lives to see a handler fail, a partition go, or a transaction prepared, seals another one.

    Args:
        receipts: those of the partition's events from `first` to `last`, in the order of the log.
        mine: issuer and epoch of this process, which has lived through all that it has counted.
        first: lowest offset that is asked about.
        last: highest one.
    """

    def __init__(self, receipts: Iterable[Receipt], mine: Life, first: int, last: int) -> None:
        counted: defaultdict[Batch, list[Receipt]] = defaultdict(list)
        self._outlived: Counter[tuple[Life, int]] = Counter()
        for receipt in receipts:
            batch = receipt.batch
            if (batch.issuer, batch.epoch) == mine:
                continue
            if batch.state == "attempt" and receipt.evidence == "before_action":
                counted[batch].append(receipt)
            else:
                self._outlived[(batch.issuer, batch.epoch), _offset(receipt)] += 1
        self._stretches = [
            ((batch.issuer, batch.epoch), *_ends(batch, ends, first, last)) for batch, ends in counted.items()
        ]

    def of(self, offset: int) -> int:
        """Give how often for the event at `offset`."""
        if not self._stretches:
            return 0
        counted = Counter(life for life, low, high in self._stretches if low <= offset <= high)
        return sum(max(0, times - self._outlived[life, offset]) for life, times in counted.items())


def _ends(batch: Batch, found: Sequence[Receipt], first: int, last: int) -> tuple[int, int]:
    """Give the lowest and the highest offset that the counting receipts of a batch stand for.

    Where its first or its last receipt is not among those that were `found`, it lies beyond `first` or `last`.
    """
    places = {int(receipt.seq) - batch.first_seq: _offset(receipt) for receipt in found}
    return places.get(0, first), places.get(batch.count - 1, last)


def _offset(receipt: Receipt) -> int:
    return int(receipt.target.offset or 0)


def _is_over(group: list[Work]) -> bool:
    """Whether a group, all of one run, is committed or void."""
    last = group[-1]
    return not last.run.alive or last.run.held.frontier.committed > last.event.offset()

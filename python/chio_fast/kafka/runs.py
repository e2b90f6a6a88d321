"""Per partition of a track the events that are being handled, in order, and which of them a transaction may cover."""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from chio_fast.kafka.frontier import NOTHING
from chio_fast.kafka.work import FINISHED, WAITING, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.work import Work


class Stretch(NamedTuple):
    """The part of a run that one transaction covers: offsets from `first` up to, and not including, `next`."""

    run: Run
    works: list[Work]
    first: int
    next: int


class Runs:
    """The runs of one track, and how many events are in them; every change happens under one lock.

    Attributes:
        taken: events that were taken and are not committed.
        unfinished: those of them whose handlers are not done with them.

    Args:
        batch_size: finished events that a transaction need not wait longer for.
        max_batch_s: seconds after which those that are finished are committed, however few they are.
    """

    def __init__(self, batch_size: int, max_batch_s: float) -> None:
        self.lock = threading.Lock()
        self.taken = 0
        self.unfinished = 0
        self._changed = threading.Condition(self.lock)  # the transaction thread waits here
        self._batch_size = batch_size
        self._max_batch_s = max_batch_s
        self._runs: dict[Key, Run] = {}
        self._open: dict[Key, Run] = {}  # runs whose first work is finished and not picked
        self._open_since = 0.0
        self._picked = 0
        self._awaited = 0  # by how many
        self._picking = False  # somebody waits for something to pick
        self._stopped = False

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def is_settled(self) -> bool:
        """Whether nothing can be committed, now or once the running transaction has ended."""
        return not self._open and not self._picked

    def get(self, key: Key) -> Run | None:
        """Give the run of a partition, or None if it is not held."""
        return self._runs.get(key)

    def begin(self, run: Run) -> None:
        """Begin a run; that of the same partition before it must have ended."""
        with self.lock:
            self._runs[run.key] = run
            run.runs = self

    def begins_at(self, offsets: Mapping[Key, int]) -> None:
        """Note up to where runs were committed before they began, unless they are beyond that already."""
        with self.lock:
            for key, offset in offsets.items():
                run = self._runs.get(key)
                if run is not None and run.next == NOTHING and not run.picked:
                    run.next = offset

    def end(self, keys: Iterable[Key]) -> list[Work]:
        """End the runs of `keys`; give the works whose handler has begun and that are in no transaction."""
        begun: list[Work] = []
        with self.lock:
            for key in keys:
                run = self._runs.pop(key, None)
                if run is None:
                    continue
                run.alive = False
                self._open.pop(key, None)
                self.taken -= len(run.works)
                self._picked -= run.picked
                self.unfinished -= sum(work.state != FINISHED for work in run.works)
                left = list(run.works)[run.picked :]
                run.works.clear()
                run.lanes.clear()
                begun += [work for work in left if work.state != WAITING and not work.denied]
            self._changed.notify()
        return begun

    def add(self, works: Sequence[Work]) -> list[Work]:
        """Append works that were taken, in order; give those that no other work of their lane comes before."""
        ready: list[Work] = []
        with self.lock:
            self.unfinished += len(works)
            for work in works:
                run, lane = work.run, work.lane
                run.works.append(work)
                if work.state == FINISHED:
                    self.unfinished -= 1
                    self._note_finished(work)
                    continue
                lanes = run.lanes
                before = lanes.get(lane)
                lanes[lane] = work
                if before is None:
                    ready.append(work)
                else:
                    before.follower = work
            self.taken += len(works)
            self._tell_if_due()
        return ready

    def finish(self, work: Work) -> Work | None:
        """Note that a handler is done with its event; give the work that comes next in the lane."""
        run, lock = work.run, self.lock
        lock.acquire()  # once per event, for which a `with` would take longer than all that it guards
        try:
            work.state = FINISHED
            if not run.alive:
                return None
            follower = work.follower
            if follower is None:
                del run.lanes[work.lane]
            self.unfinished -= 1
            if run.works[run.picked] is work:
                self._note_finished(work)
            if self._picking:
                self._tell_if_due()
            return follower
        finally:
            lock.release()

    def pick(self, limit: int) -> list[Stretch] | None:
        """Wait until there is something to commit; give it, or None once `stop` was called."""
        with self.lock:
            while not self._stopped:
                if self._is_due():
                    return self._take(limit)
                left = self._open_since + self._max_batch_s - time.monotonic()
                self._picking = True
                self._changed.wait(max(0.0, left) if self._open else None)
                self._picking = False
            return None

    def pick_ahead(self, limit: int) -> list[Stretch] | None:
        """Give what the next transaction will commit if it is a full one; never waits."""
        with self.lock:
            is_full = self._open and self._pending >= min(limit, self._batch_size)
            return self._take(limit) if is_full else None

    def committed(self, stretches: Iterable[Stretch]) -> None:
        """Let go of what was committed."""
        with self.lock:
            for stretch in stretches:
                run = stretch.run
                if not run.alive:
                    continue
                for _ in stretch.works:
                    run.works.popleft()
                run.held.frontier.committed = stretch.next
                run.picked -= len(stretch.works)
                self._picked -= len(stretch.works)
                self.taken -= len(stretch.works)

    def hurry(self, *, awaited: bool) -> None:
        """Commit what is finished at once, however few they are, until nobody awaits it any more."""
        with self.lock:
            self._awaited += 1 if awaited else -1
            self._changed.notify()

    def stop(self) -> None:
        """Let `pick` give None from now on."""
        with self.lock:
            self._stopped = True
            self._changed.notify()

    def stalled(self) -> dict[Run, Work]:
        """Give the runs whose first work is unfinished, each with that work."""
        with self.lock:
            return {run: run.works[0] for run in self._runs.values() if run.works and run.works[0].state != FINISHED}

    def not_begun(self, run: Run) -> list[Work]:
        """Give the works of a run whose handlers have not begun, in order."""
        with self.lock:
            return [work for work in run.works if work.state == WAITING]

    def _note_finished(self, work: Work) -> None:
        run = work.run
        if run.works[run.picked] is work:
            if not self._open:
                self._open_since = time.monotonic()
                self._tell()  # whoever waits has a time to wait for from now on
            self._open[run.key] = run

    def _is_due(self) -> bool:
        return bool(self._open) and (self._is_enough or time.monotonic() >= self._open_since + self._max_batch_s)

    @property
    def _is_enough(self) -> bool:
        """Whether what is finished need not wait for anything else to finish."""
        return self._awaited > 0 or not self.unfinished or self._pending >= self._batch_size

    @property
    def _pending(self) -> int:
        """How many works are finished and not picked."""
        return self.taken - self.unfinished - self._picked

    def _tell_if_due(self) -> None:
        """Wake whoever waits, if there is enough; that the time has come they notice themselves."""
        if self._picking and self._open and self._is_enough:
            self._tell()

    def _tell(self) -> None:
        """Wake whoever waits, once: it looks at everything anew."""
        if self._picking:
            self._picking = False
            self._changed.notify()

    def _take(self, limit: int) -> list[Stretch]:
        """Pick finished works, the runs in the order in which they opened."""
        stretches: list[Stretch] = []
        for run in list(self._open.values()):
            works: list[Work] = []
            for work in islice(run.works, run.picked, None):
                if work.state != FINISHED or len(works) >= limit:
                    break
                works.append(work)
            if not works:
                break
            del self._open[run.key]
            first = works[0].event.offset()
            if run.next != NOTHING:
                # Below it begins a topic that was created anew, while the group still has the offset of the former one.
                first = min(first, run.next)
            run.next = works[-1].event.offset() + 1
            stretches.append(Stretch(run, works, first, run.next))
            run.picked += len(works)
            self._picked += len(works)
            limit -= len(works)
            if len(run.works) > run.picked and run.works[run.picked].state == FINISHED:
                self._note_finished(run.works[run.picked])
        return stretches

"""From hand-out to handler: who runs which handler when, and what a failing one leads to."""

from __future__ import annotations

import asyncio
import heapq
import inspect
import logging
import threading
import time
from typing import TYPE_CHECKING, Literal

from chio_fast import context
from chio_fast._native import FINISHED, RUNNING, HandlerContext, Lanes, by_partition
from chio_fast.errors import ChioConfigError, ChioHandlerError
from chio_fast.kafka.failures import describe
from chio_fast.kafka.workers import Loop, Threads

if TYPE_CHECKING:
    from chio_fast._native import Event, Run, Work
    from chio_fast.kafka.failures import Failures
    from chio_fast.kafka.handler_context import Boundaries
    from chio_fast.kafka.in_flight import InFlight
    from chio_fast.kafka.proving import Proving
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

Order = Literal["key", "partition"]


class Dispatcher:
    """Takes events, runs their handlers, and tells the runs when they are done.

    The events of a lane (those of one key, or of one partition) are handled in order, one after the other. Sync
    handlers run in threads, async ones as coroutines of one loop in a thread of its own; as many of either kind as
    `concurrency` says run at the same time.

    Args:
        runs: learn what is done.
        failures: says what becomes of an event whose handler failed.
        proving: has suspects wait for their turn.
        boundaries: what handlers may do.
        trouble: stops the processor.
        concurrency: handlers of either kind that run at the same time.
        order: what a lane is.

    Raises:
        ChioConfigError: a value makes no sense.
    """

    def __init__(
        self,
        *,
        runs: InFlight,
        failures: Failures,
        proving: Proving,
        boundaries: Boundaries,
        trouble: Trouble,
        concurrency: int,
        order: Order,
    ) -> None:
        if order not in ("key", "partition"):
            raise ChioConfigError(f"`order` is `{order}`; write `key` or `partition`")
        if concurrency < 1:
            raise ChioConfigError(f"`concurrency` is {concurrency}; write 1 or more")
        self._runs = runs
        self._failures = failures
        self._proving = proving
        self._boundaries = boundaries
        self._gate = boundaries.gate
        self._trouble = trouble
        self._by_key = order == "key"
        self._later: list[tuple[float, int, Work]] = []  # a heap; guarded by the lock below
        self._later_lock = threading.Lock()
        self._later_count = 0
        self.threads = Threads(Lanes(boundaries.exits, context.turn_to, self), concurrency, trouble)
        self.loop = Loop(self._handle_async, concurrency, trouble)

    # On the thread that uses the client.

    def take(self, events: list[Event]) -> tuple[list[Event], list[Event], list[Event]]:
        """Give ids to events that are handed out, and let their handlers begin."""
        allowed, denied, due = self._gate.take(events)
        if not due and (allowed or denied):
            self._begin(events, allowed, denied)
        return allowed, denied, due

    def turn(self) -> None:
        """Begin again what failed and has waited long enough; wake workers if those awake are held up."""
        if self._later:
            now = time.monotonic()
            due = []
            with self._later_lock:
                while self._later and self._later[0][0] <= now:
                    due.append(heapq.heappop(self._later)[2])
            self._enqueue(due)
        self._enqueue(self._proving.next())
        self.threads.watch()

    def stop(self) -> None:
        """End the workers; handlers that still run are left behind."""
        self.threads.stop()
        self.loop.stop()

    def _begin(self, events: list[Event], allowed: list[Event], denied: list[Event]) -> None:
        """Make works of what was taken, in the order of the offsets of each partition, and let those begin that can."""
        refused = set(map(id, denied))
        taken = None if len(allowed) + len(denied) == len(events) else refused.union(map(id, allowed))
        begun: list[tuple[Run, list[Work]]] = []
        for topic, number, together in by_partition(events):
            run = self._runs.get((topic, number))
            if run is None:
                continue
            held = together if taken is None else [event for event in together if id(event) in taken]
            works = run.works_for(held, self._by_key)
            if refused:
                for work in works:
                    if id(work.event) in refused:
                        work.denied, work.state = True, FINISHED
            self._failures.recall(works)
            begun.append((run, works))
        unproven = [work for run, works in begun if run.unproven > 0 for work in works]
        if unproven:
            self._proving.sort(unproven)
        self._enqueue([work for run, works in begun for work in run.add(works)])

    def _enqueue(self, works: list[Work]) -> None:
        if not works:
            return
        self.threads.put([work for work in works if not work.run.is_async])
        self.loop.put([work for work in works if work.run.is_async])

    # On a worker's thread or loop.

    async def _handle_async(self, work: Work) -> Work | None:
        """Run an async handler; give the next work of the lane."""
        if not work.is_plain:
            may_run = await asyncio.to_thread(self.may_run, work)
            if not may_run:
                return work.finish() if may_run is None else None
        work.state = RUNNING
        ctx = HandlerContext(work, self._boundaries.exits)
        context.turn_to((ctx,))
        try:
            await work.run.handler(work.event, ctx)
            ctx.end()
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure
            if not self.failed(work, error):
                return None
        return work.finish()

    # What `Lanes` and the above leave to Python.

    def may_run(self, work: Work) -> bool | None:
        """Whether a handler may begin now that does so again, is suspect or of a run that has ended.

        False: not now, so that its lane waits; None: not at all, because the event is denied by now.
        """
        if work.is_suspect:
            self._proving.defer(work)
            return False
        if not work.attempts:
            return work.run.alive
        context.rest()  # guards may come first, which have nothing to do with the event before
        if work.run.alive and self._take_again(work):
            return True
        return None if work.denied else False

    def refuse(self, answer: object) -> None:
        """Look at what a sync handler has returned.

        Raises:
            ChioConfigError: it is something to await.
        """
        if inspect.isawaitable(answer):
            raise ChioConfigError("a sync handler gave back an awaitable; register the async function itself")

    def _take_again(self, work: Work) -> bool:
        """Give an event that failed its next id, and count it; False if it is denied now, or not ours any longer."""
        while True:
            allowed, denied, due = self._gate.take([work.event])
            if not due:
                work.denied = bool(denied)
                if allowed:
                    self._proving.count_again(work)
                return bool(allowed) and work.run.alive
            self._boundaries.enforcer.guards.run(due)

    def failed(self, work: Work, error: Exception) -> bool:
        """Deal with a handler's failure; False if the event is not done with, so that its lane waits."""
        if not work.run.alive or not work.event.is_current or self._trouble.failure is not None:
            return False
        failures = self._failures
        work.attempts += 1
        work.drop_outputs()
        if not failures.is_final(error, work.attempts):
            log.warning("attempt %d at %s failed: %r", work.attempts, work.event.request, error)
            failures.retried += 1
            self._gate.attempt([work.event])
            with self._later_lock:
                self._later_count += 1
                due = time.monotonic() + failures.backoff(work.attempts)
                heapq.heappush(self._later, (due, self._later_count, work))
            return False
        if failures.error_topic is None:
            self._gate.attempt([work.event])
            stopped = ChioHandlerError(f"the handler of {work.event.request} failed: {error!r}")
            stopped.__cause__ = error
            self._trouble.stop(stopped)
            return False
        log.error("%s goes to the error topic after %d attempts: %r", work.event.request, work.attempts, error)
        failures.failed += 1
        work.failure = describe(error, work.attempts)
        return True

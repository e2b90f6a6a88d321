"""Who runs handlers: threads for sync ones, coroutines of one loop for async ones."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from chio_fast import context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chio_fast._native import Lanes, Work
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

BRISK = 0.001
"""Seconds: while handlers take less, one thread is woken for many events: several would compete for Python's lock."""
TURNS = 64
"""Events after which a coroutine lets others have the loop, should no handler wait for anything."""

GRACE = 5.0
"""Seconds that a loop gets to end."""


class Threads:
    """Threads that run sync handlers.

    The queue is a deque that every thread pops from; a thread that finds it empty sleeps. While handlers are brisk one
    thread is woken for a whole hand-out, and `watch` wakes the others when that one is held up.

    Args:
        lanes: run handlers.
        count: how many threads.
        trouble: is told what must not happen.
    """

    def __init__(self, lanes: Lanes, count: int, trouble: Trouble) -> None:
        self._lanes = lanes
        self._count = count
        self._trouble = trouble
        self._ready: deque[Work] = deque()
        self._wake = threading.Condition()
        self._asleep = 0  # guarded by `_wake`
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._brisk = False
        self._seen = 0

    def put(self, works: list[Work]) -> None:
        """Queue works, none of which waits for another."""
        if not works:
            return
        if not self._threads:
            self._start()
        self._ready.extend(works)
        with self._wake:
            if not self._brisk:
                self._wake.notify(len(works))
            elif self._asleep == self._count:
                self._wake.notify()

    def watch(self) -> None:
        """Wake everybody if works wait and none was handled since the last call."""
        handled = self._lanes.handled
        if self._ready and self._seen == handled:
            self._brisk = False
            with self._wake:
                self._wake.notify_all()
        self._seen = handled

    def stop(self) -> None:
        """Let the threads end after the work that each has in hand; they are not waited for."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

    def _start(self) -> None:
        for number in range(self._count):
            thread = threading.Thread(target=self._run, name=f"chio-worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._run_what_is_ready()
                self._sleep()
        except BaseException as error:  # a handler's own exceptions do not come this far
            log.exception("a worker failed")
            self._trouble.stop(error)

    def _run_what_is_ready(self) -> None:
        started, handled = time.monotonic(), 0
        while not self._stopped:
            try:
                work = self._ready.popleft()
            except IndexError:
                break
            handled += self._lanes.run(work)
        if handled:
            self._brisk = time.monotonic() - started < BRISK * handled

    def _sleep(self) -> None:
        context.rest()
        with self._wake:
            self._asleep += 1
            while not self._ready and not self._stopped:
                self._wake.wait()
            self._asleep -= 1


class Loop:
    """Coroutines of one loop, in a thread of its own, that run async handlers.

    Args:
        handle: runs one handler, and gives the work that comes next in its lane.
        count: how many coroutines.
        trouble: is told what must not happen.
    """

    def __init__(self, handle: Callable[[Work], Awaitable[Work | None]], count: int, trouble: Trouble) -> None:
        self._handle = handle
        self._count = count
        self._trouble = trouble
        self._ready: deque[Work] = deque()
        self._asleep: deque[asyncio.Future[None]] = deque()  # used on the loop alone
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def put(self, works: list[Work]) -> None:
        """Queue works, none of which waits for another."""
        if not works:
            return
        self._ready.extend(works)
        if self._loop is None:
            self._start()
        else:
            self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """Cancel what runs; a handler that blocks the loop is left behind."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(GRACE)

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="chio-handlers", daemon=True)
        self._thread.start()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        workers = [loop.create_task(self._run()) for _ in range(self._count)]
        try:
            loop.run_forever()
            for worker in workers:
                worker.cancel()
            loop.run_until_complete(asyncio.gather(*workers, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _wake(self) -> None:
        for _ in range(min(len(self._ready), len(self._asleep))):
            self._asleep.popleft().set_result(None)

    async def _run(self) -> None:
        ready, turns = self._ready, 0
        try:
            while True:
                if not ready:
                    context.rest()
                    sleeper = asyncio.get_running_loop().create_future()
                    self._asleep.append(sleeper)
                    await sleeper
                    continue
                work: Work | None = ready.popleft()
                while work is not None:
                    work = await self._handle(work)
                    turns += 1
                    if turns % TURNS == 0:
                        await asyncio.sleep(0)
        except Exception as error:  # a handler's own exceptions do not come this far
            log.exception("a worker failed")
            self._trouble.stop(error)

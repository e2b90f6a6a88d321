"""A bounded pool of daemon threads for sync guards, which knows how many of its threads hang."""

from __future__ import annotations

import asyncio
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chio_fast.errors import GuardError

if TYPE_CHECKING:
    from collections.abc import Callable


TIMED_OUT = object()
"""Stands for the answer that did not come in time."""


class Raised:
    """An exception that a guard raised, as a plain value, so that it cannot end what ran the guard."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class GuardPool:
    """Runs functions in at most `size` threads.

    The threads are daemons: a guard that never returns must not keep the process from ending.

    Args:
        size: how many threads at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0
        self._hung = 0

    @property
    def hung(self) -> int:
        """How many threads run a function whose time is over."""
        return self._hung

    async def call(self, function: Callable[[Any], Any], argument: Any, timeout: float) -> Any:
        """Give what `function(argument)` returns, `Raised`, or `TIMED_OUT`.

        Args:
            function: runs in a thread of the pool.
            argument: its argument.
            timeout: seconds from the moment at which it starts, however long it waited for a thread.

        Raises:
            GuardError: every thread hangs, so that it can never start.
        """
        job = _Job(function, argument, asyncio.get_running_loop())
        self._start(job)
        while not job.started.done():
            await asyncio.wait({job.started}, timeout=timeout)
            if not job.started.done() and self._hung >= self._size:
                raise GuardError(
                    f"all {self._size} threads for guards hang in functions that did not return within {timeout:g} s: "
                    "nothing more can be decided"
                )
        await asyncio.wait({job.answer}, timeout=timeout)
        if job.answer.done():
            return job.answer.result()
        self._abandon(job)
        return TIMED_OUT

    def close(self) -> None:
        """Let every thread end that is not running a function."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)
            self._threads = 0

    def _start(self, job: _Job) -> None:
        with self._lock:
            self._busy += 1
            if self._threads < min(self._busy, self._size):
                self._threads += 1
                threading.Thread(target=self._work, name=f"chio-guard-{self._threads}", daemon=True).start()
        self._jobs.put(job)

    def _abandon(self, job: _Job) -> None:
        with self._lock:
            if not job.finished:
                job.abandoned = True
                self._hung += 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.tell(job.started, None)
            answer: Any
            try:
                answer = job.function(job.argument)
            except BaseException as error:  # noqa: BLE001 - whatever a guard raises denies
                answer = Raised(error)
            with self._lock:
                job.finished = True
                self._busy -= 1
                self._hung -= job.abandoned
            job.tell(job.answer, answer)


@dataclass(eq=False)
class _Job:
    function: Callable[[Any], Any]
    argument: Any
    loop: asyncio.AbstractEventLoop
    abandoned: bool = False
    finished: bool = False
    started: asyncio.Future[None] = field(init=False)
    answer: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.loop.create_future()
        self.answer = self.loop.create_future()

    def tell(self, future: asyncio.Future[Any], value: Any) -> None:
        """Resolve a future of the loop from a thread; a loop that was closed meanwhile waits for nothing."""
        try:
            self.loop.call_soon_threadsafe(_resolve, future, value)
        except RuntimeError:
            return


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)

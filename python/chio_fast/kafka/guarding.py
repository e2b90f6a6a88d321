"""How guards run for consumed events: on their own loop, or on the application's."""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chio_fast._native import Event
    from chio_fast.guards import GuardRunner

SLICE = 0.1
"""Seconds between two turns of `meanwhile`."""


class OwnLoop:
    """Guards run on the loop and in the threads of the guard runner."""

    def __init__(self, guards: GuardRunner) -> None:
        self._guards = guards

    def __call__(self, events: Sequence[Event], meanwhile: Callable[[], None]) -> None:
        """Run what is due for `events`; call `meanwhile` every 100 ms until it is done."""
        running = self._guards.submit(events)
        while not self._guards.wait(running, SLICE):
            meanwhile()


class ApplicationLoop:
    """Async guards run on the application's loop, so that they may use what belongs to it, while this thread waits."""

    def __init__(self, guards: GuardRunner, loop: asyncio.AbstractEventLoop) -> None:
        self._guards = guards
        self._loop = loop

    def __call__(self, events: Sequence[Event], meanwhile: Callable[[], None]) -> None:
        """Run what is due for `events`; call `meanwhile` every 100 ms until it is done."""
        running = asyncio.run_coroutine_threadsafe(self._guards.arun(events), self._loop)
        while not wait([running], SLICE).done:
            meanwhile()
        running.result()

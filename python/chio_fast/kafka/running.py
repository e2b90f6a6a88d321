"""Running something long on the calling thread, or beside the event loop that runs there; SIGTERM ends it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Running(Coroutine[Any, Any, None]):
    """What runs beside a loop and has to be awaited, or is over and need not be; `asyncio.run` takes both.

    Args:
        work: what runs; None if it is over.
    """

    def __init__(self, work: Coroutine[Any, Any, None] | None = None) -> None:
        self._work = work

    def send(self, value: Any) -> Any:
        """Go on, as an awaited coroutine does."""
        if self._work is None:
            raise StopIteration
        return self._work.send(value)

    def throw(self, error: Any, *more: Any) -> Any:
        """Raise what was thrown in."""
        if self._work is None:
            raise error
        return self._work.throw(error, *more)

    def close(self) -> None:
        """End it."""
        if self._work is not None:
            self._work.close()

    def __await__(self) -> Generator[Any, None, None]:
        if self._work is not None:
            yield from self._work.__await__()


def run(main: Callable[[], None], stop: Callable[[], None]) -> Running:
    """Run `main` here and give something that may be awaited; in a thread, to be awaited, if a loop runs here.

    Args:
        main: what blocks until it is over.
        stop: has `main` come to its end; called on SIGTERM, and when the awaiting task is cancelled.
    """
    if _is_on_a_loop():
        return Running(_run_in_thread(main, stop))
    _run_here(main, stop)
    return Running()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(main: Callable[[], None], stop: Callable[[], None]) -> None:
    if threading.current_thread() is not threading.main_thread():
        main()
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: stop())
    try:
        main()
    finally:
        signal.signal(signal.SIGTERM, before)


async def _run_in_thread(main: Callable[[], None], stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    hears_signals = threading.current_thread() is threading.main_thread()
    if hears_signals:
        loop.add_signal_handler(signal.SIGTERM, stop)
    running = asyncio.ensure_future(asyncio.to_thread(main))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await running
        raise
    finally:
        if hears_signals:
            loop.remove_signal_handler(signal.SIGTERM)

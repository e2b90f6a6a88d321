"""Work that is done while a thread waits for something else."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

from chio_fast.kafka.errands import Errand

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Aside:
    """Does one thing after the other in a thread of its own.

    Args:
        name: of the thread, which is there from the first thing on.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: queue.SimpleQueue[Errand[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, function: Callable[[], T]) -> Errand[T]:
        """Have `function` called, and go on meanwhile."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        errand = Errand(function)
        self._asked.put(errand)  # type: ignore[arg-type]
        return errand

    def stop(self) -> None:
        """Let the thread end after what it was asked for."""
        self._asked.put(None)

    def _run(self) -> None:
        while (errand := self._asked.get()) is not None:
            errand.run()
            del errand  # what came of it is whoever's that has asked

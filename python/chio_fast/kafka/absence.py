"""A call that may never return, and which thread goes on if it does not."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chio_fast.errors import Relieved

if TYPE_CHECKING:
    from collections.abc import Iterator


class Absence:
    """Watches the calls of one thread; another one may take its place while a call is overdue.

    However late the call returns then, the first thread finds out at once that it is not to go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = 0  # guarded by the lock, with `_due`
        self._due: float | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether a call takes longer than it may."""
        due = self._due
        return due is not None and time.monotonic() > due

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Watch the call inside, which may take `seconds`.

        Raises:
            Relieved: it took longer, and another thread has gone on.
        """
        with self._lock:
            turn, self._due = self._turn, time.monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                if turn != self._turn:
                    raise Relieved("another thread has gone on")
                self._due = None

    def relieve(self) -> bool:
        """Take the place of the thread whose call is overdue; whether there was one. For other threads."""
        with self._lock:
            if not self.is_overdue:
                return False
            self._turn += 1
            self._due = None
            return True

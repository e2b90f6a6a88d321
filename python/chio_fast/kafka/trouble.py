"""What background work and client callbacks have to tell the application, kept until its next call."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("chio_fast.kafka")


class Trouble:
    """A letter box: written by any thread, read by the application's.

    Attributes:
        waiting: whether the next call has something to do before its own work. A plain attribute, because every
            call reads it.
    """

    __slots__ = ("_calls", "_failure", "_once", "waiting")

    def __init__(self) -> None:
        self.waiting = False
        self._failure: BaseException | None = None
        self._once: deque[BaseException] = deque()
        self._calls: deque[Callable[[], None]] = deque()

    @property
    def failure(self) -> BaseException | None:
        """The failure that ended the consumer's work, if one did."""
        return self._failure

    def stop(self, failure: BaseException) -> None:
        """Raise `failure` in every call from now on; the first one stays."""
        if self._failure is None:
            self._failure = failure
        self.waiting = True

    def raise_once(self, error: BaseException) -> None:
        """Raise `error` in the next call."""
        self._once.append(error)
        self.waiting = True

    def call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Run an application's callback in the next call, on its thread."""
        self._calls.append(lambda: callback(*arguments))
        self.waiting = True

    def deliver(self) -> None:
        """Run what callbacks there are, then raise what there is to raise."""
        self.waiting = False
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised below, after every other callback had its turn
                self._once.append(error)
        if self._failure is not None:
            self.waiting = True
            raise self._failure.with_traceback(None)
        if self._once:
            oldest = self._once.popleft()
            if self._once:
                self.waiting = True
            raise oldest

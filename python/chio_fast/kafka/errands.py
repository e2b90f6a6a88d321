"""What only the thread that uses the client may do, asked for by another thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from chio_fast.errors import ChioError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Errand(Generic[T]):
    """One thing to do, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.done = threading.Event()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do it, on the thread that serves."""
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            self.error = error
        self.done.set()

    def wait(self) -> T:
        """Wait until it is done; give what its function returned.

        Raises:
            ChioError: nobody serves any longer.
            BaseException: whatever the function raised.
        """
        self.done.wait()
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Errands:
    """A queue of errands; `post` and `ask` are for every thread but the one that serves.

    Attributes:
        waiting: whether there is something to serve. A plain attribute, because every entry into the client reads it.
        wake: has the thread that serves come here soon, wherever it waits.
    """

    def __init__(self) -> None:
        self.waiting = False
        self.wake: Callable[[], None] = lambda: None
        self._asked: deque[Errand[object]] = deque()
        self._news = threading.Condition()
        self._poked = False
        self._closed = False

    def ask(self, function: Callable[[], T]) -> T:
        """Have `function` called by the thread that serves, wait for it, and give what it returns.

        Raises:
            ChioError: nobody serves any longer.
            BaseException: whatever `function` raises.
        """
        return self.post(function).wait()

    def post(self, function: Callable[[], T]) -> Errand[T]:
        """Have `function` called by the thread that serves, and go on meanwhile.

        Raises:
            ChioError: nobody serves any longer.
        """
        errand = Errand(function)
        with self._news:
            if self._closed:
                raise ChioError("the processor is closed")
            self._asked.append(errand)  # type: ignore[arg-type]
            self.waiting = True
            self._news.notify()
        self.wake()
        return errand

    def poke(self) -> None:
        """End the running `wait`, or the next one."""
        with self._news:
            self._poked = True
            self._news.notify()

    def wait(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for an errand or a poke."""
        with self._news:
            if not self._asked and not self._poked:
                self._news.wait(timeout)
            self._poked = False

    def serve(self) -> None:
        """Do what was asked for."""
        while True:
            with self._news:
                self.waiting = bool(self._asked)
                if not self._asked:
                    return
                errand = self._asked.popleft()
            errand.run()

    def close(self) -> None:
        """Refuse what is asked for from now on, and what waits."""
        with self._news:
            self._closed = True
            while self._asked:
                errand = self._asked.popleft()
                errand.error = ChioError("the processor is closed")
                errand.done.set()

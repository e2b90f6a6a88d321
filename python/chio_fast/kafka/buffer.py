"""Prefetched events that wait for a hand-out, in order; those of paused partitions are set aside."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from chio_fast.kafka.assignment import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chio_fast._native import Event
    from chio_fast.kafka.assignment import Key


class Buffer:
    """Events by order of arrival.

    Attributes:
        ready: those that may be handed out next. Always the same object, so that a hand-out loop may keep it.
    """

    __slots__ = ("_aside", "ready")

    def __init__(self) -> None:
        self.ready: deque[Event] = deque()
        self._aside: dict[Key, list[Event]] = {}

    @property
    def set_aside(self) -> int:
        """How many events of paused partitions are kept."""
        return sum(map(len, self._aside.values()))

    @property
    def paused(self) -> Iterable[Key]:
        """Partitions that the application has paused."""
        return self._aside.keys()

    def add(self, events: list[Event]) -> None:
        """Append what the client delivered."""
        if not self._aside:
            self.ready.extend(events)
            return
        for event in events:
            self._aside.get(key_of(event), self.ready).append(event)

    def pause(self, key: Key) -> None:
        """Set the events of `key` aside, and those that come."""
        if key not in self._aside:
            self._aside[key] = self._pull(key)

    def resume(self, key: Key) -> None:
        """Let the events of `key` come next, in their order."""
        self.ready.extendleft(reversed(self._aside.pop(key, [])))

    def remove(self, key: Key, *, keep_paused: bool = False) -> list[Event]:
        """Take out the events of `key`, whether set aside or not; give them back."""
        removed = self._aside.pop(key, None)
        if removed is not None and keep_paused:
            self._aside[key] = []
        return [*self._pull(key), *(removed or ())]

    def take(self, count: int) -> list[Event]:
        """Take out up to `count` events from the front."""
        ready = self.ready
        if len(ready) <= count:
            taken = list(ready)
            ready.clear()
            return taken
        return [ready.popleft() for _ in range(count)]

    def everything(self) -> list[Event]:
        """Give all events, those set aside last."""
        return [*self.ready, *(event for events in self._aside.values() for event in events)]

    def clear(self) -> list[Event]:
        """Take out everything."""
        taken = self.everything()
        self.ready.clear()
        self._aside.clear()
        return taken

    def _pull(self, key: Key) -> list[Event]:
        pulled = [event for event in self.ready if key_of(event) == key]
        if pulled:
            kept = [event for event in self.ready if key_of(event) != key]
            self.ready.clear()
            self.ready.extend(kept)
        return pulled

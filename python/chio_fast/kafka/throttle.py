"""How much is prefetched: bounded in events, bytes and age; above it fetching is paused inside."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Consumer

    from chio_fast.kafka.assignment import Assignments, Key

log = logging.getLogger("chio_fast.kafka")

MAX_AGE = 1.0
"""Seconds of work, at the observed rate, that may be prefetched."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of values that may be prefetched; one event more than that is always possible."""


class Throttle:
    """Says how many events the next fetch may bring, and pauses the client's partitions while that is none.

    Args:
        raw: the client.
        assignments: what to pause.
        batch_size: events of one fetch, and the bound in events.
        paused_by_user: partitions that must stay paused whatever happens here.
    """

    def __init__(
        self,
        raw: Consumer,
        assignments: Assignments,
        batch_size: int,
        paused_by_user: Callable[[], Iterable[Key]],
    ) -> None:
        self._raw = raw
        self._assignments = assignments
        self._paused_by_user = paused_by_user
        self.batch_size = batch_size
        self._rate: float | None = None
        self._mean_bytes = 1.0
        self._since = time.monotonic()
        self._buffered = 0
        self._paused: set[Key] = set()
        self._held_back: set[Key] = set()

    @property
    def active(self) -> bool:
        """Whether fetching is paused inside."""
        return bool(self._paused)

    @property
    def bound(self) -> int:
        """How many events may be prefetched now."""
        by_age = self.batch_size if self._rate is None else int(self._rate * MAX_AGE)
        by_bytes = int(MAX_BYTES / self._mean_bytes)
        return max(1, min(self.batch_size, by_age, by_bytes))

    def observe_work(self, buffered: int) -> None:
        """Note before a fetch how much is still buffered: what is gone since the last one was worked off."""
        elapsed = time.monotonic() - self._since
        worked = self._buffered - buffered
        if worked > 0 and elapsed > 0:
            self._rate = worked / elapsed
        elif self._rate is not None and elapsed > 0 and buffered:
            self._rate = min(self._rate, 1 / elapsed)

    def observe_fetch(self, buffered: int, events: int, size: int) -> None:
        """Note after a fetch what it brought, in events and bytes."""
        if events:
            self._mean_bytes = max(1.0, size / events)
        self._since = time.monotonic()
        self._buffered = buffered

    def room(self, buffered: int) -> int:
        """Give how many events the next fetch may bring; pauses and resumes fetching as that becomes none or some."""
        bound = self.bound
        if buffered > bound:
            self._pause()
            return 0
        if self._paused and buffered > bound // 2:
            return 0
        self.release()
        return bound - buffered or 1

    def is_paused(self, key: Key) -> bool:
        """Whether `key` is paused inside."""
        return key in self._paused or key in self._held_back

    def hold_back(self, keys: Sequence[Key]) -> None:
        """Pause `keys` until they are let go, whatever there is room for.

        Raises:
            KafkaException: the client does not, and might fetch what must not be handed out.
        """
        if keys:
            self._raw.pause([TopicPartition(*key) for key in keys])
            self._held_back.update(keys)

    def let_go(self, keys: Iterable[Key]) -> None:
        """Resume those of `keys` that were held back and are not paused by the user."""
        held_back = self._held_back.intersection(keys)
        back = [TopicPartition(*key) for key in held_back.difference(self._paused_by_user())]
        if back:
            self._call(self._raw.resume, back)
        self._held_back -= held_back

    def give_up(self, key: Key) -> None:
        """Resume `key` before it is given up: the client would keep it paused if it came back."""
        by_user = key in set(self._paused_by_user())
        if by_user or self.is_paused(key):
            self._paused.discard(key)
            self._held_back.discard(key)
            self._call(self._raw.resume, [TopicPartition(*key)])

    def stop_fetching(self) -> None:
        """Pause all that is assigned, whatever there is room for."""
        self._pause()

    def release(self) -> None:
        """Resume all that was paused inside and not by the user."""
        if not self._paused:
            return
        by_user = set(self._paused_by_user())
        back = [held.at(NOTHING) for held in self._assignments if held.key in self._paused and held.key not in by_user]
        if back:
            self._call(self._raw.resume, back)
        # Only now: if something raises in between, resuming once more does no harm, and never resuming would.
        self._paused.clear()

    def _pause(self) -> None:
        # Of those without any event yet, the client may still be asking where to begin. If it is paused meanwhile, it
        # asks again later and begins anew with the answer, wherever it is then (see `Partitions.begin_again`): with the
        # latest offset, that is beyond what was not fetched. What comes of them before the next pause is little.
        fresh = [held for held in self._assignments if held.key not in self._paused and held.native.admitted != NOTHING]
        if fresh:
            self._paused.update(held.key for held in fresh)
            self._call(self._raw.pause, [held.at(NOTHING) for held in fresh])

    @staticmethod
    def _call(method: Callable[[list[TopicPartition]], None], partitions: list[TopicPartition]) -> None:
        try:
            method(partitions)
        except KafkaException as error:
            log.debug("pausing or resuming failed: %s", error.args[0])

"""Where to begin in partitions that the client is told to take, or for which it has no position any more."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from chio_fast.kafka.assignment import key_of_message, keys_of
from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Consumer, Message

    from chio_fast.kafka.assignment import Assigned, Assignments, Key
    from chio_fast.kafka.metadata import Cluster

log = logging.getLogger("chio_fast.kafka")

FIRST_TIMEOUT = 0.1
LONGEST_TIMEOUT = 3.0
"""Seconds that the questions of one look may take, each; nothing is fetched meanwhile, and no transaction begins."""
PAUSE = 4
"""How many times as long the client goes on before the next look."""
LOOKS = 8
"""Looks in vain after which they take twice as long: the broker may be slow, and not just undecided."""
QUIET_LOOKS = 12
"""Looks in vain, some seconds of them, before that is worth a warning."""
HELD_BACK = 0
"""Offset with which the client is given a partition whose start does not show yet. It is paused until it does."""


class Start(NamedTuple):
    """Where a partition begins or goes on.

    Attributes:
        held: the partition.
        offset: of the next event; None if nobody but the client may know.
        is_anew: whether the events that were there went, so that offsets go back.
        error: what the client said; None of a partition that is held back, of which it knows nothing.
    """

    held: Assigned
    offset: int | None
    is_anew: bool
    error: KafkaError | None


class Starts:
    """Finds where partitions begin, and where those go on whose position is not there any more.

    The client is not left to find out by itself. Of a group whose offsets are in an open transaction it asks for them
    again and again; if its assignment changes meanwhile, it takes "not stable yet" for "nothing is committed", and
    begins at `auto.offset.reset`: everything that was ever handled would be handled again, or skipped (librdkafka
    2.16.0, `rd_kafka_assignment_apply_offsets`). Nor does it ask again if a coordinator goes and its assignment has
    changed since it did: it reports an error and never fetches anything of those partitions
    (`rd_kafka_assignment_handle_OffsetFetch`). So it is told an offset of each partition that it is to take. One whose
    start does not show at once is held back: given to the client at some offset, and paused until the start is found.

    To reset a position that went out of range is an error to it, which is the question to us. An answer is never taken
    from the error itself, which may be late: it is the position so far or the group's committed offset, a stable one,
    if the partition has it.

    Used by one thread.

    Args:
        raw: the client.
        assignments: what is held.
        cluster: knows the ids of topics.
        reset: where to begin if nothing is committed, `OFFSET_BEGINNING` or `OFFSET_END`; None if the client may know.
    """

    def __init__(self, raw: Consumer, assignments: Assignments, cluster: Cluster, reset: int | None) -> None:
        self._raw = raw
        self._assignments = assignments
        self._cluster = cluster
        self._reset = reset
        self._lost: dict[Key, KafkaError | None] = {}  # what the client said; None for those that are held back
        self._looks = 0
        self._next_look = 0.0

    def place(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Give `partitions` as the client is to take them: those without an offset with the one at which they begin.

        Those that begin nobody knows where, yet, come with `HELD_BACK`; `is_held_back` tells them, and `find` looks for
        their starts later.
        """
        partitions = list(partitions)
        for key in keys_of(partitions):
            self._lost.pop(key, None)
        unknown = keys_of(place for place in partitions if place.offset in {OFFSET_INVALID, OFFSET_STORED})
        begins = self._begins(unknown)
        held_back = [key for key in unknown if key not in begins]
        if held_back and not self._lost:
            self._next_look = time.monotonic() + PAUSE * FIRST_TIMEOUT
        self._lost.update(dict.fromkeys(held_back))
        found = dict.fromkeys(held_back, HELD_BACK) | begins
        return [
            TopicPartition(*key, found[key]) if key in found else place
            for key, place in zip(keys_of(partitions), partitions, strict=True)
        ]

    def is_held_back(self, key: Key) -> bool:
        """Whether nothing may be fetched of a partition, because its start is not known yet."""
        return key in self._lost and self._lost[key] is None

    def lose(self, message: Message) -> None:
        """Note that the client has no position for a partition, which `message` says."""
        error = message.error()
        if error is not None:
            if not self._lost:  # else it is looked for in its own time
                self._next_look = 0.0
            self._lost[key_of_message(message)] = error

    def lose_again(self, start: Start, error: KafkaError) -> None:
        """Note that the client did not take `start`, as `error` says."""
        self._lost[start.held.key] = start.error or error

    def settle(self, start: Start) -> None:
        """Note that there is nothing to look for any more where `start` is."""
        self._lost.pop(start.held.key, None)

    @property
    def is_looking(self) -> bool:
        """Whether the start of any partition is looked for."""
        return bool(self._lost)

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next look."""
        return time.monotonic() >= self._next_look

    def find(self) -> list[Start]:
        """Look where the lost partitions begin; all that is not settled then is looked for again later."""
        timeout = min(LONGEST_TIMEOUT, FIRST_TIMEOUT * 2 ** (self._looks // LOOKS))
        lost = [held for key in self._lost if (held := self._assignments.get(key)) is not None]
        found: list[Start] = []
        try:
            positions = self._positions(lost, timeout)
            # What was found before one that does not answer stays found.
            known = (held for held in lost if held.key in positions)
            found.extend(self._start(held, positions[held.key], timeout) for held in known)
        except KafkaException as error:
            level = logging.INFO if self._looks < QUIET_LOOKS else logging.WARNING
            log.log(level, "where %s begin does not show yet: %s", [held.key for held in lost], error.args[0])
        self._lost = {held.key: self._lost[held.key] for held in lost}
        self._looks = self._looks + 1 if len(found) < len(lost) else 0
        self._next_look = time.monotonic() + PAUSE * timeout
        return found

    def _begins(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Give the offsets at which fresh partitions begin, as far as they show at once."""
        begins: dict[Key, int] = {}
        try:
            for key, offset in self._committed(keys, FIRST_TIMEOUT).items():
                begins[key] = offset if offset >= 0 else self._reset_offset(key, FIRST_TIMEOUT)
        except KafkaException as error:
            log.info("where %s begin does not show yet: %s", [key for key in keys if key not in begins], error.args[0])
        return begins

    def _committed(self, keys: Sequence[Key], timeout: float) -> dict[Key, int]:
        """Give the group's committed offsets, negative where there is none; what is not stable yet is left out."""
        answers = self._raw.committed([TopicPartition(*key) for key in keys], timeout=timeout) if keys else ()
        return {(place.topic, place.partition): place.offset for place in answers if place.error is None}

    def _reset_offset(self, key: Key, timeout: float) -> int:
        """Give the offset at which a partition begins of which nothing is committed; logical if the client may know."""
        if self._reset is None:
            return OFFSET_INVALID
        low, high = self._raw.get_watermark_offsets(TopicPartition(*key), timeout, cached=False)
        return low if self._reset == OFFSET_BEGINNING else high

    def _positions(self, lost: Sequence[Assigned], timeout: float) -> dict[Key, int]:
        """Give the offset, absolute or logical, at which each goes on; what is not stable yet is left out."""
        known = {held.key: held.next_fetch for held in lost}
        positions = {key: offset for key, offset in known.items() if offset is not None and offset >= OFFSET_BEGINNING}
        return self._committed([key for key in known if key not in positions], timeout) | positions

    def _start(self, held: Assigned, position: int, timeout: float) -> Start:
        error = self._lost[held.key]
        if error is None and position >= 0:
            return Start(held, position, False, None)
        low, high = self._raw.get_watermark_offsets(held.at(OFFSET_INVALID), timeout, cached=False)
        if low <= position <= high:
            return Start(held, position, False, error)
        if position > high and held.native.admitted != NOTHING:
            # The events that were there went: with the topic, or with a leader that was ahead of the next one.
            self._cluster.refresh([held.key[0]], timeout)
            is_same = held.topic_id is not None and held.topic_id == self._cluster.topic_id(held.key[0])
            return Start(held, high if is_same else low, True, error)
        ends: dict[int | None, int] = {OFFSET_BEGINNING: low, OFFSET_END: high}
        offset = ends.get(position, ends.get(self._reset))
        if position >= 0:
            log.warning("offset %d of %s[%d] is not there: it has %d to %d", position, *held.key, low, high)
        return Start(held, offset, False, error)

"""Where to begin in partitions for which the client has no position."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException

from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Consumer, Message

    from chio_fast.kafka.assignment import Assigned, Assignments, Key
    from chio_fast.kafka.metadata import Cluster

log = logging.getLogger("chio_fast.kafka")

FIRST_TIMEOUT = 0.1
LONGEST_TIMEOUT = 3.0
"""Seconds that the questions of one look may take, each; nothing is fetched meanwhile."""
PAUSE = 4
"""How many times as long the client goes on before the next look."""
CHECK = 5.0
"""Seconds after which something must have come of a partition that began before its end, or it is begun again."""
QUIET_LOOKS = 4
"""Looks in vain, some seconds of them, before that is worth a warning."""


class Start(NamedTuple):
    """Where a partition begins or goes on.

    Attributes:
        held: the partition.
        offset: of the next event; None if nobody but the client may know.
        is_anew: whether the events that were there went, so that offsets go back.
        error: what the client said.
    """

    held: Assigned
    offset: int | None
    is_anew: bool
    error: KafkaError


class Starts:
    """Finds where partitions begin whose position the client does not have, or that is not there any more.

    The client is not left to reset positions by itself. Of a group whose offsets are in an open transaction it asks for
    them again and again; if its assignment changes meanwhile, it takes "not stable yet" for "nothing is committed", and
    begins at `auto.offset.reset`: everything that was ever handled would be handled again, or skipped (librdkafka
    2.16.0, `rd_kafka_assignment_apply_offsets`). So it is told that to reset is an error, which is the question to us.
    An answer is never taken from the error itself, which may be late: it is the group's committed offset, a stable one,
    or the position so far, if the partition has it.

    Nor does the client ask for committed offsets again if a coordinator goes and its assignment has changed since it
    did: it reports an error and never fetches anything of those partitions (`rd_kafka_assignment_handle_OffsetFetch`).
    So after an error all partitions that have no position yet are looked at.

    Used by one thread.

    Args:
        raw: the client.
        assignments: what is held.
        cluster: knows the ids of topics.
        reset: where to begin if nothing is committed, `OFFSET_BEGINNING` or `OFFSET_END`; None if that is an error.
    """

    def __init__(self, raw: Consumer, assignments: Assignments, cluster: Cluster, reset: int | None) -> None:
        self._raw = raw
        self._assignments = assignments
        self._cluster = cluster
        self._reset = reset
        self._lost: dict[Key, KafkaError] = {}
        self._unseen: dict[Key, tuple[float, Assigned, KafkaError]] = {}  # when to check what was begun
        self._looks = 0
        self._next_look = 0.0

    def lose(self, message: Message) -> None:
        """Note that the client has no position for a partition, which `message` says."""
        error = message.error()
        if error is not None:
            self._look_soon()
            self._lost[message.topic() or "", message.partition() or 0] = error

    def doubt(self, message: Message) -> None:
        """Note that the client may have given up finding positions; `message` is an error of a partition or of none."""
        error, topic = message.error(), message.topic()
        for held in self._assignments:
            is_meant = topic is None or held.key == (topic, message.partition())
            if error is not None and is_meant and held.next_fetch is None:
                self._look_soon()
                self._lost.setdefault(held.key, error)

    def lose_again(self, starts: Iterable[Start]) -> None:
        """Note that the client did not take `starts`."""
        self._lost.update({start.held.key: start.error for start in starts})

    @property
    def is_due(self) -> bool:
        """Whether it is time to look for starts."""
        return bool(self._lost or self._unseen) and time.monotonic() >= self._next_look

    def find(self) -> list[Start]:
        """Look where the lost partitions begin; what does not show yet is looked for again later."""
        self._check()
        timeout = min(LONGEST_TIMEOUT, FIRST_TIMEOUT * 2**self._looks)
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
        done = {start.held.key for start in found}
        self._lost = {held.key: self._lost[held.key] for held in lost if held.key not in done}
        self._looks = self._looks + 1 if self._lost else 0
        self._next_look = min((due for due, _, _ in self._unseen.values()), default=0.0)
        if self._lost:
            self._next_look = time.monotonic() + PAUSE * timeout
        return found

    def _look_soon(self) -> None:
        """Look at once, unless there is something lost already that is looked for in its own time."""
        if not self._lost:
            self._next_look = 0.0

    def _check(self) -> None:
        """Begin again with those of which nothing has come although there is something."""
        now = time.monotonic()
        for key, (due, held, error) in list(self._unseen.items()):
            if now >= due:
                del self._unseen[key]
                if self._assignments.get(key) is held and held.native.admitted == NOTHING:
                    log.info("nothing has come of %s[%d], which is begun again", *key)
                    self._lost.setdefault(key, error)

    def _positions(self, lost: Sequence[Assigned], timeout: float) -> dict[Key, int]:
        """Give the offset, absolute or logical, at which each goes on; what is not stable yet is left out."""
        known = {held.key: held.next_fetch for held in lost}
        positions = {key: offset for key, offset in known.items() if offset is not None and offset >= OFFSET_BEGINNING}
        asked = [held.at(OFFSET_INVALID) for held in lost if held.key not in positions]
        for partition in self._raw.committed(asked, timeout=timeout) if asked else ():
            if partition.error is None:
                positions[partition.topic, partition.partition] = partition.offset
        return positions

    def _start(self, held: Assigned, position: int, timeout: float) -> Start:
        low, high = self._raw.get_watermark_offsets(held.at(OFFSET_INVALID), timeout, cached=False)
        error = self._lost[held.key]
        if low <= position <= high:
            if position < high and held.next_fetch is None:  # once: what is there may be markers alone
                self._unseen[held.key] = (time.monotonic() + CHECK, held, error)
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

"""What the application says it is done with, turned into offsets that may be committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chio_fast._native import Event
from chio_fast.errors import ChioError, ChioRevoked
from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import TopicPartition

    from chio_fast._native import Log
    from chio_fast.kafka.assignment import Assigned, Assignments
    from chio_fast.kafka.commit import Commit
    from chio_fast.kafka.trouble import Trouble


class Claims:
    """Checks claims against hand-out positions and stamps, and queues them.

    Args:
        assignments: what is held.
        commit: commits.
        receipts: the log that is open for issuing.
        trouble: raises what has to be raised first.
    """

    def __init__(self, assignments: Assignments, commit: Commit, receipts: Log, trouble: Trouble) -> None:
        self._trouble = trouble
        self._assignments = assignments
        self._commit = commit
        self._receipts = receipts

    def commit(
        self, event: Event | None, offsets: Sequence[TopicPartition] | None, *, wait: bool
    ) -> list[TopicPartition] | None:
        """Commit `event`, or `offsets`, or all hand-out positions; see `ChioConsumerMiddleware.commit`.

        Raises:
            ChioRevoked: the partition was revoked, lost or sought since the event was handed out.
            ChioError: the commit failed, or asks for what was not handed out.
        """
        if self._trouble.waiting:
            self._trouble.deliver()
        if event is not None and offsets is not None:
            raise ChioError("`message` and `offsets` exclude each other; give one of them")
        if event is not None:
            claimed = self._of_event(event)
        elif offsets is not None:
            claimed = self._of_offsets(offsets)
        else:
            claimed = {held: held.position for held in self._assignments if held.position != NOTHING}
        if not claimed:
            return [] if wait else None
        if not wait:
            self._commit.claim(claimed, self._receipts.issued)
            return None
        return self._commit.claim_and_wait(claimed, self._receipts.issued)

    def _of_event(self, event: Event) -> dict[Assigned, int]:
        if not isinstance(event, Event):
            raise TypeError(f"`message` is a `{type(event).__name__}`; commit an event that this consumer handed out")
        topic, partition, offset = event.topic(), event.partition(), event.offset()
        held = self._assignments.get((topic, partition))
        if held is None or not event.is_current:
            raise ChioRevoked(
                f"{topic}[{partition}] was revoked, lost or sought since offset {offset} was handed out; nothing is "
                "committed, the event is delivered again"
            )
        if event.ordinal is None:
            raise ChioError(f"{topic}[{partition}] offset {offset} was not handed out yet; commit what `poll` returned")
        return {held: offset + 1}

    def _of_offsets(self, offsets: Sequence[TopicPartition]) -> dict[Assigned, int]:
        claimed = {}
        for wanted in offsets:
            held = self._assignments.get((wanted.topic, wanted.partition))
            if held is None:
                raise ChioRevoked(f"{wanted.topic}[{wanted.partition}] is not assigned to this consumer")
            if wanted.offset < 0:
                raise ChioError(
                    f"{wanted.topic}[{wanted.partition}]: `{wanted.offset}` is no absolute offset; write the offset of "
                    "the next event"
                )
            limit = max(held.position, held.start or 0)
            if wanted.offset > limit:
                raise ChioError(
                    f"{wanted.topic}[{wanted.partition}]: offset {wanted.offset} is beyond {limit}, up to where events "
                    "were handed out; what is between would be lost"
                )
            claimed[held] = wanted.offset
        return claimed

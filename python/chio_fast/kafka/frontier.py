"""What may be committed for a partition: past the events that the application is done with and the denials between."""

from __future__ import annotations

from collections import deque

NOTHING = -1
"""Stands for an offset that is not known yet; it is below every offset."""

UNKNOWN_FLOOR = 2**63 - 1
"""Stands for a floor that no claim reaches: after a seek to a logical offset nobody knows what was skipped."""


class Frontier:
    """The committable offset of one assigned partition.

    The application claims offsets; confirmed denials extend a claim as long as no event was handed out in between. A
    denial is a run `[floor, end)`, where `floor` is the offset after the last event handed out before it: a claim of at
    least `floor` leaves nothing unclaimed below `end`. Owned by whoever holds the commit lock.
    """

    __slots__ = ("_runs", "claimed", "committed", "refused", "seen", "sent")

    def __init__(self) -> None:
        self.claimed = NOTHING
        """Offset up to which everything is done with; what the next commit says."""
        self.committed = NOTHING
        """Offset of this assignment's own last commit."""
        self.sent = NOTHING
        """Offset that was sent last, whatever became of it."""
        self.refused = NOTHING
        """Claim that the broker refused for good; it is not sent again before the next claim."""
        self.seen = NOTHING
        """Committed offset as the broker told it when it was first asked; see `tripwire`."""
        self._runs: deque[tuple[int, int]] = deque()

    def claim(self, offset: int) -> None:
        """Take the application's word that all events below `offset` are done with; it may go back."""
        self.claimed = offset
        self.refused = NOTHING
        self._extend()

    def deny(self, floor: int, end: int) -> None:
        """Note that the event before `end` was denied, and that its DLQ record is acknowledged."""
        if self._runs and self._runs[-1][0] == floor:
            self._runs[-1] = (floor, end)
        else:
            self._runs.append((floor, end))
        self._extend()

    def forget_runs(self) -> None:
        """Drop denials that no claim has reached, because a seek makes their order meaningless."""
        self._runs.clear()

    def due(self) -> int | None:
        """Give the offset to commit, or None if the last commit still says it."""
        return None if self.claimed in (NOTHING, self.committed, self.refused) else self.claimed

    def _extend(self) -> None:
        while self._runs and self._runs[0][0] <= self.claimed:
            self.claimed = max(self.claimed, self._runs.popleft()[1])

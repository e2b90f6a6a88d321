"""The ids that one issuer gave in one epoch: in which order they may stand, and that none stands twice."""

from bisect import bisect_right

_COUNTER = (1 << 48) - 1


class EpochIds:
    """What is known of the ids of an epoch.

    Every id holds a counter of its epoch, so an id that stands twice shows as a counter that does. Counters are nearly
    dense and are kept as intervals that neither overlap nor touch, in ascending order.
    """

    def __init__(self) -> None:
        self._last_recorded = -1
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, receipt_id: int, before: int | None, *, recorded: bool) -> str | None:
        """Take the next id of a batch, which has the tag of this epoch.

        Args:
            receipt_id: the id.
            before: the largest one that precedes it in its batch.
            recorded: whether the batch has the mode `recorded`.

        Returns:
            What is wrong with it, or None.
        """
        is_new = self._insert(receipt_id & _COUNTER)
        ascends = not recorded or self._last_recorded < receipt_id
        if recorded:
            self._last_recorded = max(self._last_recorded, receipt_id)
        if not is_new:
            return "stands in this epoch already"
        if before is not None and before >= receipt_id:
            return "is not above the one before it in its batch"
        if not ascends:
            return "is not above those of the recorded batches before it"
        return None

    def _insert(self, counter: int) -> bool:
        """Add a counter; False if it was there."""
        starts, ends = self._starts, self._ends
        if ends and ends[-1] == counter:
            ends[-1] += 1
            return True
        at = bisect_right(starts, counter)
        if at and ends[at - 1] > counter:
            return False
        joins_before = at > 0 and ends[at - 1] == counter
        joins_after = at < len(starts) and starts[at] == counter + 1
        if joins_before and joins_after:
            ends[at - 1] = ends.pop(at)
            starts.pop(at)
        elif joins_before:
            ends[at - 1] += 1
        elif joins_after:
            starts[at] = counter
        else:
            starts.insert(at, counter)
            ends.insert(at, counter + 1)
        return True

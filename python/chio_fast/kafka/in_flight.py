"""All events that a processor has taken and not committed, whatever track their partitions are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chio_fast._native import Run, Runs, Work
    from chio_fast.kafka.assignment import Key


class InFlight:
    """The runs of all tracks.

    A partition that is assigned for the first time goes to the track that has the fewest, and keeps it as long as the
    process lives: no two transactions of the process ever hold events of one partition at a time.

    Args:
        tracks: the runs of each track.
        max_in_flight: events that may be taken and not committed.
    """

    def __init__(self, tracks: Sequence[Runs], max_in_flight: int) -> None:
        self._tracks = tracks
        self._max_in_flight = max_in_flight
        self._of: dict[Key, Runs] = {}  # written by the thread that uses the client
        self._aside: tuple[Run, ...] = ()

    @property
    def taken(self) -> int:
        """How many there are."""
        return sum(runs.taken for runs in self._tracks)

    @property
    def unfinished(self) -> int:
        """How many their handlers are not done with."""
        return sum(runs.unfinished for runs in self._tracks)

    @property
    def room(self) -> int:
        """How many more events may be taken."""
        return self._max_in_flight - self.taken + sum(map(len, self._aside))

    @property
    def share(self) -> int:
        """How many events each partition may have in flight when all have as many."""
        return max(1, self._max_in_flight // max(1, sum(map(len, self._tracks))))

    @property
    def is_settled(self) -> bool:
        """Whether nothing can be committed, now or once the running transactions have ended."""
        return all(runs.is_settled for runs in self._tracks)

    def get(self, key: Key) -> Run | None:
        """Give the run of a partition, or None if it is not held."""
        runs = self._of.get(key)
        return None if runs is None else runs.get(key)

    def begin(self, run: Run) -> None:
        """Begin a run; that of the same partition before it must have ended."""
        runs = self._of.get(run.key)
        if runs is None:
            runs = self._of[run.key] = min(self._tracks, key=len)
        runs.begin(run)

    def begins_at(self, offsets: dict[Key, int]) -> None:
        """Note up to where runs were committed before they began, unless they are beyond that already."""
        for runs in self._tracks:
            runs.begins_at(offsets)

    def end(self, keys: Sequence[Key]) -> list[Work]:
        """End the runs of `keys`; give the works whose handler has begun and that are in no transaction."""
        return [work for runs in self._tracks for work in runs.end(keys)]

    def hurry(self, *, awaited: bool) -> None:
        """Commit what is finished at once, however few they are, until nobody awaits it any more."""
        for runs in self._tracks:
            runs.hurry(awaited=awaited)

    def stalled(self) -> dict[Run, Work]:
        """Give the runs whose first work is unfinished, each with that work."""
        return {run: work for runs in self._tracks for run, work in runs.stalled().items()}

    def set_aside(self, runs: Iterable[Run]) -> None:
        """Have the events of `runs`, and of no others, not count where there is asked for room."""
        self._aside = tuple(runs)

"""Notices when somebody else moves the group's committed offsets, most often an auto-commit that was left on.

A Consumer does not show its configuration. Auto-commit commits what was prefetched, so what nobody was ever handed
would be skipped after a restart.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from chio_fast.errors import ChioAutoCommitError
from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from chio_fast.kafka.assignment import Assigned, Assignments

log = logging.getLogger("chio_fast.kafka")

FIRST_LOOKS = (0.0, 1.0, 3.0, 6.0, 12.0)
"""Seconds after an assignment; librdkafka's auto-commit comes every 5 s unless told otherwise."""
EVERY = 60.0
"""Seconds between later looks."""
TIMEOUT = 0.5
"""Seconds that a look may take; it is skipped when it takes longer."""


class Tripwire:
    """Compares the group's committed offsets with those that this consumer committed."""

    def __init__(self, raw: Consumer, assignments: Assignments) -> None:
        self._raw = raw
        self._assignments = assignments
        self._looks: list[float] = []

    def rearm(self) -> None:
        """Plan the looks that follow an assignment."""
        now = time.monotonic()
        with self._assignments.lock:
            self._looks = [now + after for after in FIRST_LOOKS]

    @property
    def is_due(self) -> bool:
        """Whether it is time for a look."""
        looks = self._looks
        return bool(looks) and looks[0] <= time.monotonic()

    def due_in(self, at_least: float) -> float | None:
        """Give the seconds until the next look, never less than `at_least`; None if nothing is assigned."""
        looks = self._looks
        return max(at_least, looks[0] - time.monotonic()) if looks else None

    def look_if_due(self) -> None:
        """Look, if it is time; called by whoever holds the client.

        Raises:
            ChioAutoCommitError: a committed offset is beyond what this consumer committed.
        """
        with self._assignments.lock:
            looks = self._looks
            if not looks or looks[0] > time.monotonic():
                return
            self._looks = looks[1:] or [time.monotonic() + EVERY]
            held = list(self._assignments)
            if not held:
                self._looks = []
                return
        # Who holds the client commits, so nothing is sent meanwhile; what was sent before may land.
        try:
            found = self._raw.committed([each.at(NOTHING) for each in held], timeout=TIMEOUT)
        except KafkaException as error:
            log.debug("could not ask for committed offsets: %s", error.args[0])
            return
        offsets = {(part.topic, part.partition): part.offset for part in found if part.error is None}
        with self._assignments.lock:
            for each in held:
                if each.current:
                    self._compare(each, offsets.get(each.key, NOTHING))

    def _compare(self, held: Assigned, offset: int) -> None:
        frontier, position = held.frontier, held.position
        own = max(frontier.committed, frontier.sent)
        if own != NOTHING:
            moved = offset > own
        elif frontier.seen != NOTHING:
            moved = offset > frontier.seen
        else:
            moved = position != NOTHING and offset > position
            frontier.seen = max(offset, 0)
        if moved:
            raise ChioAutoCommitError(
                f"the committed offset of {held.key[0]}[{held.key[1]}] is {offset}, which this consumer did not "
                "commit: somebody else commits for the group; write `enable.auto.commit=false` for this consumer and "
                "commit through the wrapper alone"
            )

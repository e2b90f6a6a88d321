"""What the client is told: which partitions to take, and where to begin and go on in them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from chio_fast.kafka import metadata
from chio_fast.kafka.assignment import keys_of
from chio_fast.kafka.starts import HELD_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Consumer

    from chio_fast.kafka.assignment import Assigned, Assignments
    from chio_fast.kafka.inflow import Inflow
    from chio_fast.kafka.starts import Start, Starts
    from chio_fast.kafka.throttle import Throttle

    Assign = Callable[[list[TopicPartition]], None]
    """A method of the client that has it take partitions."""

log = logging.getLogger("chio_fast.kafka")


class Placement:
    """Has the client take partitions at the offsets where they begin, and go on where they go on.

    Where it goes on, the client seeks, which leaves its assignment alone: to change it while the group rebalances would
    compete with the changes that the group wants. There is no other way only for partitions for which the client has
    given up its position, because that was not there any more.

    Args:
        raw: the client.
        inflow: where messages of what is assigned come from.
        assignments: what is held.
        starts: finds where partitions begin.
        throttle: pauses those whose start does not show yet.
        is_cooperative: whether the client takes incremental changes; None if that is to be found out.
    """

    def __init__(
        self,
        *,
        raw: Consumer,
        inflow: Inflow,
        assignments: Assignments,
        starts: Starts,
        throttle: Throttle,
        is_cooperative: bool | None,
    ) -> None:
        self._raw = raw
        self._inflow = inflow
        self._assignments = assignments
        self._starts = starts
        self._throttle = throttle
        self._is_cooperative = is_cooperative

    def take(self, assign: Assign, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Have the client take `partitions` by its method `assign`.

        Returns:
            Where they begin; without an offset where that does not show yet.
        """
        places = self._starts.place(partitions)
        self._change(assign, places)
        return [
            TopicPartition(*key) if self._starts.is_held_back(key) else place
            for key, place in zip(keys_of(places), places, strict=True)
        ]

    def take_given(self, given: list[TopicPartition]) -> None:
        """Have the client take what its group gave, inside the callback that says so."""
        if self._is_cooperative is None:
            self._is_cooperative = metadata.is_cooperative(self._raw)
        if self._is_cooperative is None:
            self._inflow.lead_in(given)  # and the client takes it by itself
            return
        for place in self.take(self._raw.incremental_assign if self._is_cooperative else self._raw.assign, given):
            held = self._assignments.get((place.topic, place.partition))
            if held is not None and held.start is None and place.offset != OFFSET_INVALID:
                held.start = place.offset

    def hold_back(self) -> None:
        """Have the client fetch nothing of partitions whose start does not show yet.

        They are paused when they are taken; this is for those where a signal handler raised in between. What may have
        been fetched of them since goes.
        """
        keys = [held.key for held in self._assignments if self._starts.is_held_back(held.key)]
        self._throttle.hold_back([key for key in keys if not self._throttle.is_paused(key)])

    def go_on(self, found: Iterable[tuple[Start, Assigned]]) -> None:
        """Have the client go on with partitions whose starts were found; those that it does not take are lost again."""
        idle: list[tuple[Start, Assigned]] = []
        for start, held in found:
            error = self._seek(held)
            if error is None:
                self._throttle.let_go([held.key])
                self._starts.settle(start)
            elif start.error is None and start.offset is not None:
                self._starts.lose_again(start, error)  # the client is still about to take it
            else:
                self._starts.settle(start)
                idle.append((start, held))
        try:
            self._fetch_anew([held for _, held in idle])
            self._throttle.let_go([held.key for _, held in idle])
        except KafkaException as error:
            log.warning("the client does not go on with %s: %s", [held.key for _, held in idle], error.args[0])
            for start, _ in idle:
                self._starts.lose_again(start, error.args[0])

    def fetch(self, wanted: Iterable[Assigned]) -> None:
        """Have the client fetch partitions from the first events that were not admitted, if their starts are known."""
        begun = [held for held in wanted if not self._starts.is_held_back(held.key)]
        self._fetch_anew([held for held in begun if self._seek(held) is not None])

    def _seek(self, held: Assigned) -> KafkaError | None:
        """Have the client go to the first event that was not admitted; gives why it does not."""
        if held.next_fetch is None:
            return KafkaError(KafkaError._NO_OFFSET)
        try:
            self._raw.seek(held.at(held.next_fetch))
        except KafkaException as refused:
            error: KafkaError = refused.args[0]
            return error
        return None

    def _fetch_anew(self, idle: Sequence[Assigned]) -> None:
        """Have the client take partitions again that it holds and in which it does not seek."""
        if not idle:
            return
        if self._is_cooperative is not False:
            places = [self._place_again(held) for held in idle]
            try:
                self._raw.incremental_unassign(places)
                self._change(self._raw.incremental_assign, places)
            except KafkaException as error:
                log.info("the client takes no incremental changes: %s", error.args[0])
            else:
                return
        self._change(self._raw.assign, [self._place_again(held) for held in self._assignments])

    def _place_again(self, held: Assigned) -> TopicPartition:
        if self._starts.is_held_back(held.key):
            return held.at(HELD_BACK)
        return held.at(OFFSET_INVALID if held.next_fetch is None else held.next_fetch)

    def _change(self, assign: Assign, places: list[TopicPartition]) -> None:
        """Have the client take `places`, some of which it may hold already."""
        self._inflow.lead_in(places)
        assign(places)
        self._inflow.lead_in_again(places)
        self._throttle.hold_back([key for key in keys_of(places) if self._starts.is_held_back(key)])

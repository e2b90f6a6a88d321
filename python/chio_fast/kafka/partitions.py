"""Which partitions are consumed and from where: rebalances, assign, seek, pause."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition

from chio_fast.errors import ChioError, ChioRevoked
from chio_fast.kafka.assignment import key_of, key_of_message, keys_of, require_topics
from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Consumer

    from chio_fast._native import Event, Gate
    from chio_fast.kafka.assignment import Assigned, Assignments, Key
    from chio_fast.kafka.buffer import Buffer
    from chio_fast.kafka.committer import Committer
    from chio_fast.kafka.metadata import Cluster
    from chio_fast.kafka.placement import Placement
    from chio_fast.kafka.starts import Start, Starts
    from chio_fast.kafka.throttle import Throttle
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

METADATA_TIMEOUT = 3.0
"""Seconds that a rebalance may wait for topic ids."""


class Partitions:
    """Keeps assignments, buffered events and the client in step.

    The client runs rebalance callbacks inside `consume`, on the calling thread. So events of a partition are taken out
    of the buffer right when it is revoked, lost or sought, and hand-out needs no check per event. What the running
    call itself returns may be of either side of the change: `settle` throws it away and has it fetched again.

    Args:
        raw: the client.
        gate: takes receipts back.
        cluster: learns the ids of topics.
        assignments: what is held.
        starts: finds where partitions begin.
        placement: tells the client.
        buffer: events that wait.
        throttle: what is paused because enough is prefetched.
        commit: finishes what is on its way before partitions are given up.
        trouble: keeps what has to be raised by the next call.

    Attributes:
        dropped: events that were given up unseen.
        recreated: partitions whose topic turned out to be created anew.
    """

    def __init__(
        self,
        *,
        raw: Consumer,
        gate: Gate,
        cluster: Cluster,
        assignments: Assignments,
        starts: Starts,
        placement: Placement,
        buffer: Buffer,
        throttle: Throttle,
        commit: Committer,
        trouble: Trouble,
    ) -> None:
        self._raw = raw
        self._gate = gate
        self._cluster = cluster
        self._assignments = assignments
        self._starts = starts
        self._placement = placement
        self._buffer = buffer
        self._throttle = throttle
        self._commit = commit
        self._trouble = trouble
        self._owner: Any = None
        self._callbacks: dict[str, Callable[[Any, list[TopicPartition]], None] | None] = {}
        self._touched: dict[Key, Literal["given up", "begun anew", "sought"]] = {}
        self._is_assigned = False  # by the application, inside its `on_assign`
        self.dropped = 0
        self.recreated = 0

    def subscribe(
        self,
        owner: Any,
        topics: Sequence[str],
        callbacks: dict[str, Callable[[Any, list[TopicPartition]], None] | None],
    ) -> None:
        """Subscribe the client; `owner` is what the application's callbacks get as consumer.

        Raises:
            ChioConfigError: a topic is a pattern or has no scope.
        """
        require_topics(topics)
        for topic in topics:
            self._assignments.scope(topic)
        self._owner, self._callbacks = owner, callbacks
        self._raw.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    # What the client calls, inside `consume` and `close`. Nothing may be raised from here: the client would throw away
    # the messages of the running call.

    def _on_assign(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        given = [TopicPartition(*key) for key in keys_of(partitions)]
        self._is_assigned = False
        try:
            self._begin(given)
            self._tell("on_assign", partitions)
            if not self._is_assigned:
                self._placement.take_given(given)
        except Exception as error:  # noqa: BLE001 - events that cannot be governed must not be consumed
            self._trouble.stop(error if isinstance(error, ChioError) else ChioError(f"assignment failed: {error!r}"))

    def _on_revoke(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        self._tell("on_revoke", partitions)
        self._leave(keys_of(partitions))

    def _on_lost(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        self._end(keys_of(partitions))
        self._tell("on_lost" if self._callbacks.get("on_lost") else "on_revoke", partitions)

    def _tell(self, name: str, partitions: list[TopicPartition]) -> None:
        callback = self._callbacks.get(name)
        if callback is None:
            return
        try:
            callback(self._owner, partitions)
        except BaseException as error:  # noqa: BLE001 - raised by the call that is running, once the client returned
            self._trouble.raise_once(error)

    # What the application calls.

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Take exactly `partitions`; what is held otherwise is left."""
        self._is_assigned = True
        for partition in partitions:
            self._assignments.scope(partition.topic)
        keys = keys_of(partitions)
        self._leave([held.key for held in self._assignments if held.key not in keys])
        self._begin(self._placement.take(self._raw.assign, partitions))

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Take `partitions` in addition."""
        self._is_assigned = True
        for partition in partitions:
            self._assignments.scope(partition.topic)
        self._begin(self._placement.take(self._raw.incremental_assign, partitions))

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Leave `partitions`."""
        self._leave(keys_of(partitions))
        self._raw.incremental_unassign(partitions)

    def unassign(self) -> None:
        """Leave everything."""
        self._leave([held.key for held in self._assignments])
        self._raw.unassign()

    def seek(self, partition: TopicPartition) -> None:
        """Go to an offset; what is buffered of the partition is dropped, what was handed out of it is void."""
        self._raw.seek(partition)
        held = self._assignments.get((partition.topic, partition.partition))
        if held is not None:
            self._assignments.sought(held, partition.offset)
            self._touched[held.key] = "sought"
            self.drop(self._buffer.remove(held.key, keep_paused=True))

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Withhold `partitions`, buffered events included, until they are resumed or given up."""
        self._raw.pause(partitions)
        for key in keys_of(partitions):
            if key in self._assignments:
                self._buffer.pause(key)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Go on with `partitions`, with what was buffered first."""
        for key in keys_of(partitions):
            self._buffer.resume(key)
        ready = [part for part in partitions if not self._throttle.is_paused((part.topic, part.partition))]
        if ready:
            self._raw.resume(ready)

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Give the offsets after the last events handed out or denied; `OFFSET_INVALID` where there is none yet."""
        found = []
        for partition in partitions:
            held = self._assignments.get((partition.topic, partition.partition))
            position = NOTHING if held is None else held.position
            offset = OFFSET_INVALID if position == NOTHING else position
            found.append(TopicPartition(partition.topic, partition.partition, offset))
        return found

    # What the intake calls.

    def expect_changes(self) -> None:
        """Forget what changed before; the intake calls this before each call of the client."""
        if self._touched:
            self._touched.clear()

    def lost(self, message: Message) -> None:
        """Note that the client has no position for a partition; `place_lost` has it begin."""
        self._starts.lose(message)

    def place_lost(self) -> None:
        """Have the client go on with partitions whose starts were looked for, as far as they show."""
        if not self._starts.is_looking:
            return
        self._placement.hold_back()
        if self._starts.is_due:
            found = [(start, held) for start in self._starts.find() if (held := self._note(start)) is not None]
            self._placement.go_on(found)

    def _note(self, start: Start) -> Assigned | None:
        """Note where a partition begins or goes on; None if nobody knows, which the next call raises."""
        held = start.held
        if start.offset is None:
            if start.error is not None and start.error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._starts.settle(start)
                self._trouble.raise_once(KafkaException(start.error))
                return None
        elif start.is_anew:
            log.warning("offsets of %s[%d] went back to %d", *held.key, start.offset)
            self._begin_anew(held.key, start.offset)
        elif held.native.admitted == NOTHING:
            log.info("%s[%d] begins at offset %d", *held.key, start.offset)
            held.start = start.offset
        else:
            held.native.admitted = max(held.native.admitted, start.offset)
        return self._assignments.get(held.key)

    def settle(self, messages: list[Message]) -> list[Message]:
        """Give back those of `messages` that certainly belong to what is assigned now.

        Messages of a partition that was begun anew or sought while the client was running are fetched again.
        """
        if not self._touched or not messages:
            return messages
        doubtful = {key for key, change in self._touched.items() if change != "given up"}
        mixed = doubtful & {key_of_message(message) for message in messages if message.error() is None}
        for key in mixed:
            held = self._assignments.get(key)
            if held is not None:
                self._placement.fetch([held])
        return [message for message in messages if key_of_message(message) not in mixed]

    def rewind(self, in_hand: Sequence[Event]) -> None:
        """Have the client deliver again what was lost between it and the buffer when a call raised.

        Args:
            in_hand: events taken out of the buffer whose hand-out is not finished.
        """
        kept: dict[Key, int] = {}
        for event in (*self._buffer.everything(), *in_hand):
            kept[key_of(event)] = max(kept.get(key_of(event), NOTHING), event.offset() + 1)
        for held in self._assignments:
            held.native.admitted = max(kept.get(held.key, NOTHING), held.native.position)
        # Even those that seem to be where they should: what was lost may have been that the client has no position.
        try:
            self._placement.fetch(list(self._assignments))
        except (KafkaException, RuntimeError) as error:
            log.info("the client does not fetch anew: %s", error)

    def begin_again(self, strays: list[Message]) -> list[Message]:
        """Recognise topics that were created anew: their offsets go back although nobody sought.

        Offsets of the same topic go back where the client fetches again what it has given already, and are passed over.
        librdkafka 2.16.0 does so when a partition is paused and resumed while it asks where to begin: it asks once more
        half a second later, and begins anew with the answer (`rd_kafka_toppar_handle_Offset`).

        Returns:
            Those of `strays` that are to be admitted again.
        """
        keys = {key: None for key in map(key_of_message, strays) if key in self._assignments}
        self._cluster.refresh((topic for topic, _ in keys), METADATA_TIMEOUT)
        anew = set()
        for key in keys:
            held = self._assignments.get(key)
            if held is not None and self._goes_on(held):
                log.warning("the client went back in %s[%d] by itself; it is sent to %s again", *key, held.next_fetch)
                self._placement.fetch([held])
                continue
            log.warning("offsets of %s[%d] went back without a seek: taken for a topic that was created anew", *key)
            self._begin_anew(key, OFFSET_INVALID)
            anew.add(key)
        return [message for message in strays if key_of_message(message) in anew]

    def _goes_on(self, held: Assigned) -> bool:
        """Whether a partition is the one that was assigned, and as long as it has to be: not deleted and created anew.

        Where topics have no ids it is not known, and the offsets that went back count.
        """
        if held.topic_id is None or held.topic_id != self._cluster.topic_id(held.key[0]):
            return False
        try:
            # The brokers may disagree for a moment on which topic there is; this is asked of the partition's leader.
            _, end = self._raw.get_watermark_offsets(held.at(OFFSET_INVALID), METADATA_TIMEOUT, cached=False)
        except KafkaException as error:
            log.info("the end of %s[%d] is not to be had: %s", *held.key, error)
            return True  # nothing is given up: what is sought and not there comes from the beginning, and here again
        return end >= held.native.admitted

    def drop(self, events: list[Event]) -> None:
        """Give up events that were not handed out; a receipt that says otherwise is taken back by another one."""
        self.dropped += len(events)
        receipted = [event for event in events if event.ordinal is not None]
        if receipted:
            self._gate.rollback(receipted)

    def _begin_anew(self, key: Key, offset: int) -> None:
        """Begin with the topic that has the name now; what is buffered of the former one is dropped."""
        self.recreated += 1
        self.drop(self._buffer.remove(key, keep_paused=True))
        self._begin([TopicPartition(*key, offset)])

    def _begin(self, partitions: Iterable[TopicPartition]) -> None:
        partitions = list(partitions)
        self._cluster.refresh((partition.topic for partition in partitions), METADATA_TIMEOUT)
        taken = self._assignments.take(partitions)
        for held in taken:
            held.topic_id = self._cluster.topic_id(held.key[0])
            if held.key in self._touched:
                self._touched[held.key] = "begun anew"
            self.drop(self._buffer.remove(held.key, keep_paused=True))
        self._commit.begun(taken)

    def _leave(self, keys: Sequence[Key]) -> None:
        """Give up `keys` after everything queued for them is confirmed and committed."""
        if not keys:
            return
        try:
            self._commit.drain(self._commit.timeout)
        except ChioRevoked as error:
            log.warning("%s", error)
        except BaseException as error:  # noqa: BLE001 - raised by the next call; the partition is gone all the same
            self._trouble.raise_once(error)
        self._end(keys)

    def _end(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._touched[key] = "given up"
            self._throttle.give_up(key)
            self.drop(self._buffer.remove(key))
        self._assignments.give_up(keys)
        self._commit.ended(keys)

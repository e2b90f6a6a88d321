"""Assigned partitions: which there are, their stamps, and what is known of each."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_INVALID, TopicPartition

from chio_fast.errors import ChioConfigError
from chio_fast.kafka.frontier import NOTHING, UNKNOWN_FLOOR, Frontier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from confluent_kafka import Message

    from chio_fast._native import Event, Gate, Partition
    from chio_fast.kafka.metadata import Cluster
    from chio_fast.kafka.recognition import Recognition

Key = tuple[str, int]
"""Topic and number of a partition."""


def key_of(event: Event) -> Key:
    """Give topic and number of an event's partition."""
    return event.topic(), event.partition()


def key_of_message(message: Message) -> Key:
    """Give topic and number of the partition that a message of the client is of, or tells an error of."""
    return message.topic() or "", message.partition() or 0


def keys_of(partitions: Iterable[TopicPartition]) -> list[Key]:
    """Give topic and number of what the client calls partitions."""
    return [(partition.topic, partition.partition) for partition in partitions]


def require_topics(topics: Iterable[str]) -> None:
    """Refuse what the client would take for patterns.

    Raises:
        ChioConfigError: and which one.
    """
    for topic in topics:
        if topic.startswith("^"):
            raise ChioConfigError(
                f"`{topic}` is a pattern: a topic that nobody gave a scope would be consumed; write out the topics"
            )


def partition_maker(
    gate: Gate, cluster: Cluster, recognition: Recognition, *, identity: str, group: str | None
) -> Callable[[str, int, str, int], Partition]:
    """Give what makes the gate's half of an assignment of (topic, number, scope, stamp).

    Args:
        gate: decides the partition's events.
        cluster: knows its id and those of the topics.
        recognition: learns what was decided of the partition before.
        identity: who consumes.
        group: the consumer group, where it is known.
    """

    def make(topic: str, number: int, scope: str, stamp: int) -> Partition:
        partition = gate.partition(
            topic,
            number,
            scope=scope,
            identity=identity,
            cluster=cluster.id,
            topic_id=cluster.topic_id(topic),
            group=group,
            stamp=stamp,
        )
        recognition.begin(partition)
        return partition

    return make


class Assigned:
    """One assignment of one partition, from assign to revoke or lost.

    Attributes:
        key: topic and number.
        native: the gate's half: stamp, and the offsets up to which events were admitted and issued.
        frontier: what may be committed.
        current: False once the partition was given up; read and written under the commit lock.
        start: offset, absolute or logical, at which an assign or seek began; None while it is not known.
        returned: with evidence before action, the offset after the last event that was handed out.
        topic_id: of the topic when the partition was assigned; None where it is not known.
    """

    __slots__ = ("current", "frontier", "key", "native", "returned", "start", "topic_id")

    def __init__(self, key: Key, native: Partition, start: int | None) -> None:
        self.key = key
        self.native = native
        self.frontier = Frontier()
        self.current = True
        self.start = start
        self.returned: int | None = None
        self.topic_id: str | None = None

    @property
    def position(self) -> int:
        """Offset after the last event that was handed out or denied, `NOTHING` before the first."""
        return self.native.position if self.returned is None else self.returned

    @property
    def next_fetch(self) -> int | None:
        """Offset, absolute or logical, that the client has to deliver next; None while it is not known."""
        return self.native.admitted if self.native.admitted != NOTHING else self.start

    def at(self, offset: int) -> TopicPartition:
        """Give the partition with an offset, as the client takes it."""
        return TopicPartition(self.key[0], self.key[1], offset)


class Assignments:
    """All partitions that this consumer holds.

    Changed only on the application's thread, in rebalance callbacks and in `assign` and `seek`; every change happens
    under `lock`, because the commit thread reads. No commit lands for a partition that has moved on, although the
    broker takes any partition from a valid member: rebalance callbacks and commits exclude each other by the client.

    Args:
        scopes: the scope that each topic needs.
        make_partition: makes the gate's half of an assignment, see `partition_maker`.
        track_returned: whether `Assigned.returned` is kept.
    """

    def __init__(
        self,
        scopes: dict[str, str],
        make_partition: Callable[[str, int, str, int], Partition],
        *,
        track_returned: bool,
    ) -> None:
        self.lock = threading.Lock()
        self.natives: dict[Key, Partition] = {}
        """The gate's view, handed to `admit`."""
        self._held: dict[Key, Assigned] = {}
        self._scopes = scopes
        self._make_partition = make_partition
        self._track_returned = track_returned
        self._stamps = itertools.count(1)

    def __iter__(self) -> Iterator[Assigned]:
        return iter(list(self._held.values()))

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> Assigned | None:
        """Give the assignment of `key`, or None if it is not held."""
        return self._held.get(key)

    def scope(self, topic: str) -> str:
        """Give the scope that a topic needs.

        Raises:
            ChioConfigError: the topic is not in the scope map.
        """
        scope = self._scopes.get(topic)
        if scope is None:
            raise ChioConfigError(
                f"topic `{topic}` has no scope; write `scope_map={{..., {topic!r}: 'events:consume:...'}}`"
            )
        return scope

    def take(self, partitions: Iterable[TopicPartition]) -> list[Assigned]:
        """Begin an assignment of each of `partitions`; one that is held already is begun anew."""
        taken = []
        for partition in partitions:
            key = (partition.topic, partition.partition)
            native = self._make_partition(*key, self.scope(partition.topic), next(self._stamps))
            assigned = Assigned(key, native, None if partition.offset == OFFSET_INVALID else partition.offset)
            if self._track_returned:
                assigned.returned = NOTHING
            with self.lock:
                self._end(key)
                self._held[key] = assigned
                self.natives[key] = native
            taken.append(assigned)
        return taken

    def give_up(self, keys: Iterable[Key]) -> None:
        """End the assignment of each of `keys`; events and claims of it are void from now on."""
        with self.lock:
            for key in keys:
                self._end(key)

    def sought(self, assigned: Assigned, offset: int) -> None:
        """Raise the stamp after a seek; no denial is committed over what the seek skipped, unless it is claimed."""
        with self.lock:
            native = assigned.native
            native.stamp = next(self._stamps)
            native.admitted = NOTHING
            native.position = offset if offset >= 0 else NOTHING
            native.handed = offset if offset >= 0 else UNKNOWN_FLOOR
            if assigned.returned is not None:
                assigned.returned = native.position
            assigned.start = offset
            assigned.frontier.forget_runs()

    def _end(self, key: Key) -> None:
        assigned = self._held.pop(key, None)
        self.natives.pop(key, None)
        if assigned is not None:
            assigned.current = False
            assigned.native.stamp = next(self._stamps)

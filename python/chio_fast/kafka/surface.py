"""The client's surface beside `poll` and `commit`: what is governed, passed on as it is, or refused with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

from chio_fast._native import Event
from chio_fast.errors import ChioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from confluent_kafka import Consumer, Message, TopicPartition
    from confluent_kafka.admin._metadata import ClusterMetadata

    from chio_fast.kafka.stats import ConsumerStats
    from chio_fast.kafka.wiring import Pipeline

    Rebalanced = Callable[[Any, list[TopicPartition]], None]

REFUSED = {
    "consumer_group_metadata": "a transaction would commit offsets without waiting for receipts and DLQ records; use "
    "`commit()`, or `raw` at your own risk",
    "store_offsets": "stored offsets are committed without waiting for receipts and DLQ records; use `commit()`",
}


class ClientSurface:
    """Methods of a confluent Consumer that need no more than to be passed to a part, or to the client, or refused."""

    raw: Consumer
    _parts: Pipeline
    _callbacks: dict[str, Rebalanced | None]
    _closed: bool

    poll: Callable[..., Event | Message | None]
    close: Callable[[], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Hand out events until the consumer is closed; each is the handled one until the next."""
        while not self._closed:
            event = self.poll(0.5)
            if isinstance(event, Event):
                with event:
                    yield event

    def subscribe(self, topics: Sequence[str], **callbacks: Rebalanced | None) -> None:
        """Subscribe to `topics`, each of which needs a scope; `on_assign`, `on_revoke`, `on_lost` replace others."""
        self._parts.partitions.subscribe(self, topics, {**self._callbacks, **callbacks})

    def stats(self) -> ConsumerStats:
        """Count what was done so far."""
        return self._parts.stats()

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Consume exactly `partitions`, without a group's help."""
        self._parts.partitions.assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Consume `partitions` in addition."""
        self._parts.partitions.incremental_assign(partitions)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Give up `partitions`."""
        self._parts.partitions.incremental_unassign(partitions)

    def unassign(self) -> None:
        """Give up all partitions."""
        self._parts.partitions.unassign()

    def seek(self, partition: TopicPartition) -> None:
        """Go on from another offset; events handed out before are void and cannot be committed any more."""
        self._parts.partitions.seek(partition)

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Withhold `partitions`, prefetched events included."""
        self._parts.partitions.pause(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Go on with `partitions`."""
        self._parts.partitions.resume(partitions)

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Give the offset after the last event handed out or denied, for each of `partitions`."""
        return self._parts.partitions.position(partitions)

    def assignment(self) -> list[TopicPartition]:
        """Give the partitions that are assigned now."""
        return self.raw.assignment()

    def cluster_id(self, timeout: float = -1) -> str | None:
        """Give the id of the cluster."""
        return self.raw.cluster_id(timeout=timeout)

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """Ask for the group's committed offsets."""
        return self.raw.committed(partitions, timeout=timeout)

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, *, cached: bool = False
    ) -> tuple[int, int] | None:
        """Ask for the first offset of a partition and the one after its last."""
        return self.raw.get_watermark_offsets(partition, timeout=timeout, cached=cached)

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        """Ask for the cluster's metadata."""
        topics: ClusterMetadata = (
            self.raw.list_topics(timeout=timeout) if topic is None else self.raw.list_topics(topic, timeout=timeout)
        )
        return topics

    def memberid(self) -> str | None:
        """Give this member's id in its group."""
        return self.raw.memberid()

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """Ask for the offsets that belong to timestamps."""
        return self.raw.offsets_for_times(partitions, timeout=timeout)

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Use other credentials from now on."""
        self.raw.set_sasl_credentials(username, password)

    def unsubscribe(self) -> None:
        """Give up the subscription; the partitions go with the next call of `poll` or `consume`.

        Assign none by hand before they have gone: it would go with them.
        """
        self.raw.unsubscribe()

    def consumer_group_metadata(self) -> NoReturn:
        """Refuse: offsets must not be committed past the receipts."""
        _refuse("consumer_group_metadata")

    def store_offsets(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        """Refuse: offsets must not be committed past the receipts."""
        _refuse("store_offsets")


def _refuse(name: str) -> NoReturn:
    raise ChioError(f"`{name}` is refused: {REFUSED[name]}")

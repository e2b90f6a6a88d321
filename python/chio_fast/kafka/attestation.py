"""What a transaction is about to do, written into its batches before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from chio_fast.errors import CheckpointsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chio_fast.kafka.assignment import Key


class Attestation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that is needed to find out later what became of the transaction.

    Attributes:
        cluster: id of the cluster.
        group: the consumer group.
        generation: the group's generation, not older than the assignment of any partition in `ranges`.
        member: name of the instance.
        transactional_id: that of its producer.
        ranges: {topic: {partition: (first offset, offset after the last)}}, as they will be sent.
        checkpoint_topic: where the checkpoint record will be.
        checkpoint_topic_id: its id, where the brokers have such.
        checkpoint_partition: its partition.
        high_watermark: of that partition, before the record can be written.
    """

    cluster: str
    group: str
    generation: int
    member: str
    transactional_id: str
    ranges: dict[str, dict[str, tuple[int, int]]]
    checkpoint_topic: str
    checkpoint_partition: int
    high_watermark: int
    checkpoint_topic_id: str | None = None

    @staticmethod
    def ranges_of(ranges: Mapping[Key, tuple[int, int]]) -> dict[str, dict[str, tuple[int, int]]]:
        """Give offsets by (topic, partition) in the form of `ranges`."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for (topic, partition), offsets in ranges.items():
            found.setdefault(topic, {})[str(partition)] = offsets
        return found

    def to_json(self) -> bytes:
        """Give its canonical form (RFC 8785), which is what the batches hold."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read what `to_json` gave.

        Raises:
            CheckpointsError: it is something else.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise CheckpointsError(f"not the attestation of a processor: {error}") from error

    def covers(self, partitions: Collection[Key]) -> bool:
        """Say whether it holds a range of any of these partitions."""
        return any(str(partition) in self.ranges.get(topic, {}) for topic, partition in partitions)

    def shown(self, *, offset: int | None = None, until: int | None = None) -> dict[str, Any]:
        """Say where Kafka shows what became of the transaction, for its outcome record.

        Args:
            offset: of the checkpoint record, where it was seen.
            until: where a search for it ended.
        """
        place: dict[str, Any] = {
            "cluster": self.cluster,
            "topic": self.checkpoint_topic,
            "partition": self.checkpoint_partition,
            "from": self.high_watermark,
        }
        if offset is not None:
            place["offset"] = offset
        if until is not None:
            place["until"] = until
        return place

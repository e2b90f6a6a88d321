"""Step 2 of a transaction: the receipts of what it covers are durable, and say what is about to be committed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from chio_fast.errors import CheckpointsError, CheckpointsTrimmed
from chio_fast.kafka.attestation import Attestation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chio_fast._native import Gate, SignedCheckpoint, Stretch
    from chio_fast.kafka.checkpoints import Checkpoints
    from chio_fast.kafka.errands import Errand

WATERMARK_SECONDS = 5.0
"""Age up to which a watermark of the checkpoint topic is used: a reader that begins lower only reads more."""


class Attested(NamedTuple):
    """What a transaction covers.

    Attributes:
        stretches: its events, as runs have them.
        ordinals: of the last receipt of each of its batches.
        metadata: gives the group's metadata, taken when all of the events could be committed.
    """

    stretches: list[Stretch]
    ordinals: list[int]
    metadata: Errand[object]


class Attesting:
    """Seals the receipts of transactions, on the transaction thread.

    Attributes:
        partition: that of the checkpoint topic where this member's records go.

    Args:
        gate: seals.
        checkpoints: the topic that will show what became of the transaction.
        cluster: id of the cluster.
        group: the consumer group.
        member: name of this instance.
        transactional_id: that of the transactions.
    """

    def __init__(
        self, gate: Gate, checkpoints: Checkpoints, *, cluster: str, group: str, member: str, transactional_id: str
    ) -> None:
        self.partition = checkpoints.partition_of(transactional_id)
        self._gate = gate
        self._log = gate.log
        self._checkpoints = checkpoints
        self._topic_id = checkpoints.topic_id()
        self._cluster = cluster
        self._group = group
        self._member = member
        self._transactional_id = transactional_id
        self._high_watermark: int | None = None
        self._asked_at = 0.0

    def begin(self, stretches: list[Stretch], metadata: Errand[object]) -> Attested:
        """Hand the receipts of `stretches` to the log, one batch per policy version.

        Raises:
            LogError: the log takes none.
            CheckpointsError: the checkpoint topic cannot be asked.
        """
        ordinals = self._gate.attest_stretches(
            stretches,
            group=self._group,
            transactional_id=self._transactional_id,
            attestation=self._attestation(stretches).to_json(),
        )
        return Attested(stretches, ordinals, metadata)

    def finish(self, attested: Attested) -> list[SignedCheckpoint]:
        """Wait until they are durable; give the checkpoints of the batches.

        Raises:
            LogError: they cannot be made durable.
        """
        self._log.wait_durable(max(attested.ordinals))
        return [self._log.checkpoint(ordinal) for ordinal in attested.ordinals]

    def _attestation(self, stretches: Sequence[Stretch]) -> Attestation:
        return Attestation(
            cluster=self._cluster,
            group=self._group,
            generation=max(stretch.run.generation for stretch in stretches),
            member=self._member,
            transactional_id=self._transactional_id,
            ranges=Attestation.ranges_of({stretch.run.key: (stretch.first, stretch.next) for stretch in stretches}),
            checkpoint_topic=self._checkpoints.topic,
            checkpoint_topic_id=self._topic_id,
            checkpoint_partition=self.partition,
            high_watermark=self._watermark(),
        )

    def _watermark(self) -> int:
        now = time.monotonic()
        if self._high_watermark is None or now > self._asked_at + WATERMARK_SECONDS:
            self._asked_at = now
            try:
                self._high_watermark = self._checkpoints.high_watermark(self.partition)
            except CheckpointsTrimmed:
                raise
            except CheckpointsError:
                if self._high_watermark is None:
                    raise
        return self._high_watermark

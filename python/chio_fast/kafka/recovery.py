"""What became of prepared batches, found out by reading; the only writer of outcomes."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chio_fast.errors import CheckpointsError, CheckpointsTrimmed, ContradictionError
from chio_fast.kafka.attestation import Attestation
from chio_fast.kafka.metadata import UNKNOWN_GENERATION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from chio_fast._native import Gate, SignedCheckpoint
    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.checkpoints import Checkpoints
    from chio_fast.log import ReceiptLog
    from chio_fast.records import PreparedBatch

log = logging.getLogger("chio_fast.kafka")

Outcome = Literal["committed", "rolled_back", "unknown"]


class Resolved(NamedTuple):
    """What became of one batch.

    Attributes:
        batch: the batch, as it stood in the log.
        outcome: `unknown` batches stay prepared.
        offset: of the checkpoint record, if it was seen.
    """

    batch: PreparedBatch
    outcome: Outcome
    offset: int | None = None


class _Finding(NamedTuple):
    """An outcome that is to be recorded."""

    batch: int
    checkpoint: str
    issuer: str
    outcome: Outcome
    shown: Mapping[str, Any]


class Recovery:
    """Resolves the batches of transactions of which nobody knows whether they were committed.

    Args:
        receipt_log: holds the batches.
        gate: issues outcome records into the same log.
        checkpoints: reads the checkpoint topic.
        group: the consumer group.
        transactional_id: that whose batches are its own.
        siblings: those of the other tracks of this instance, which resolve theirs.
    """

    def __init__(
        self,
        receipt_log: ReceiptLog,
        gate: Gate,
        checkpoints: Checkpoints,
        *,
        group: str,
        transactional_id: str,
        siblings: Collection[str] = (),
    ) -> None:
        self._receipt_log = receipt_log
        self._gate = gate
        self._checkpoints = checkpoints
        self._group = group
        self._transactional_id = transactional_id
        self._of_this_instance = {transactional_id, *siblings}
        self._reported: set[str] = set()

    def resolve_own(self) -> list[Resolved]:
        """Resolve the batches of its transactional id.

        To be called after `start`, `renew` or a clean `abort` of its `Transaction`: nothing can be written to
        an earlier transaction of the id any more, so the high watermark of now is above every record of them.

        Raises:
            ContradictionError: somebody recorded another outcome meanwhile.
            CheckpointsError: the topic could not be read; nothing was recorded, and it may be called again.
        """
        return self._resolve(lambda attested: attested.transactional_id == self._transactional_id)

    def resolve_assigned(self, partitions: Collection[Key], *, generation: int) -> list[Resolved]:
        """Resolve batches of other members that hold ranges of partitions which were assigned to this one since.

        To be called after a stable fetch of the committed offsets of all of `partitions` (`read_committed`): until an
        open transaction with their offsets has ended, it does not return, and the group refuses the offsets of members
        of an older generation. Batches of this generation or a later one are left alone: there, this member may be
        the one that has lost the partition and does not know.

        Args:
            partitions: assigned, and their offsets fetched.
            generation: the group's generation when they were assigned, see `metadata.generation_of`.

        Raises:
            ContradictionError, CheckpointsError: as `resolve_own`.
        """

        def is_taken_over(attested: Attestation) -> bool:
            is_foreign = attested.transactional_id not in self._of_this_instance
            is_older = attested.generation < generation != UNKNOWN_GENERATION
            return is_foreign and is_older and attested.covers(partitions)

        return self._resolve(is_taken_over)

    def committed(self, checkpoints: Sequence[SignedCheckpoint], shown: Mapping[str, Any]) -> int:
        """Record that the transaction of these batches was committed: its commit was clean, or its record was seen.

        Args:
            checkpoints: of the transaction's batches.
            shown: where Kafka shows it, see `Attestation.shown`.

        Returns:
            The ordinal of the last outcome record.

        Raises:
            ContradictionError: another outcome is recorded; that it is contradicted is recorded now.
        """
        return self._record_own(checkpoints, "committed", shown)

    def rolled_back(self, checkpoints: Sequence[SignedCheckpoint], shown: Mapping[str, Any]) -> int:
        """Record that the transaction of these batches was aborted, as `committed` does the opposite."""
        return self._record_own(checkpoints, "rolled_back", shown)

    def state(self, batch: int) -> str:
        """Give the state of a batch as the log has it now: somebody else may have resolved it meanwhile."""
        return self._receipt_log.state(batch)

    def _record_own(self, checkpoints: Sequence[SignedCheckpoint], outcome: Outcome, shown: Mapping[str, Any]) -> int:
        issuer = self._gate.log.issuer
        return self._record([_Finding(each.batch, each.hash, issuer, outcome, shown) for each in checkpoints])

    def _resolve(self, is_wanted: Callable[[Attestation], bool]) -> list[Resolved]:
        """Find out and record what became of the batches whose attestation passes."""
        resolved: list[Resolved] = []
        findings: list[_Finding] = []
        for attested, batches in itertools.groupby(self._wanted(is_wanted), key=lambda pair: pair[0]):
            for batch, outcome, shown in self._look_up(attested, [batch for _, batch in batches]):
                resolved.append(Resolved(batch, outcome, shown.get("offset")))
                if outcome == "unknown":
                    continue
                findings.append(_Finding(batch.batch, batch.checkpoint, batch.issuer, outcome, shown))
        if findings:
            self._gate.log.wait_durable(self._record(findings))
        return resolved

    def _wanted(self, is_wanted: Callable[[Attestation], bool]) -> Iterable[tuple[Attestation, PreparedBatch]]:
        """Give the prepared batches of this group that pass, those of one transaction one after the other."""
        for batch in self._receipt_log.prepared():
            if batch.group != self._group:
                continue
            try:
                attested = Attestation.from_json(batch.attestation)
            except CheckpointsError as error:
                self._report(batch, str(error))
                continue
            if is_wanted(attested):
                yield attested, batch

    def _look_up(
        self, attested: Attestation, batches: Sequence[PreparedBatch]
    ) -> Iterable[tuple[PreparedBatch, Outcome, dict[str, Any]]]:
        """Find out what became of the batches of one transaction."""
        checkpoints = self._checkpoints.named(attested.checkpoint_topic)
        partition, start = attested.checkpoint_partition, attested.high_watermark
        try:
            if checkpoints.cluster_id() != attested.cluster:
                raise CheckpointsTrimmed(f"cluster {attested.cluster} is not the one that is asked")
            bound = checkpoints.high_watermark(partition)
            signatures = {batch.checkpoint: batch.signature for batch in batches}
            found = checkpoints.find(signatures, partition, start, bound, topic_id=attested.checkpoint_topic_id)
        except CheckpointsTrimmed as error:
            for batch in batches:
                self._report(batch, str(error))
                yield batch, "unknown", {}
            return
        for batch in batches:
            offset = found.get(batch.checkpoint)
            outcome: Outcome = "rolled_back" if offset is None else "committed"
            log.info("batch %d of %s was %s", batch.batch, attested.transactional_id, outcome)
            yield batch, outcome, attested.shown(offset=offset, until=bound)

    def _record(self, findings: Sequence[_Finding]) -> int:
        """Issue the outcome records that are missing.

        Raises:
            ContradictionError: the log holds another outcome of one; Kafka's is recorded all the same, durably.
        """
        entries: list[tuple[str, str, Outcome, Mapping[str, Any], str | None]] = []
        contradictions: list[str] = []
        for finding in findings:
            state = self.state(finding.batch)
            if state == finding.outcome:
                continue
            contradicts = None if state == "prepared" else state
            if contradicts:
                contradictions.append(f"batch {finding.batch} is `{state}` there and `{finding.outcome}` in Kafka")
            entries.append((finding.checkpoint, finding.issuer, finding.outcome, finding.shown, contradicts))
        ordinal = self._gate.outcomes(entries) if entries else self._gate.log.issued
        if contradictions:
            self._gate.log.wait_durable(ordinal)
            raise ContradictionError(
                f"receipt log `{self._receipt_log.location}`: {'; '.join(contradictions)}; Kafka's word is recorded "
                "now; find out who else writes to the log or to the checkpoint topic"
            )
        return ordinal

    def _report(self, batch: PreparedBatch, why: str) -> None:
        """Say once that nobody can tell what became of a batch."""
        if batch.checkpoint not in self._reported:
            self._reported.add(batch.checkpoint)
            log.error(
                "what became of batch %d (%s) of `%s` is unknown and stays so: %s; its events are delivered again if "
                "their offsets were not committed",
                batch.batch,
                batch.checkpoint,
                batch.transactional_id,
                why,
            )

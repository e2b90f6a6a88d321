"""What a reconciliation found, as one value."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """Something that does not balance, or that cannot be verified any more.

    Attributes:
        what: a word of a fixed list, see `docs/operations.md`.
        detail: what was found, and what was expected.
        place: `topic/partition/offset`, where there is one.
        receipt: id of the receipt, where there is one.
    """

    what: str
    detail: str
    place: str | None = None
    receipt: str | None = None


class PartitionBooks(msgspec.Struct, frozen=True):
    """One source partition.

    Attributes:
        topic: name.
        partition: number.
        low: offset of the first record that the topic still holds.
        committed: the group's committed offset; -1 if there is none.
        begins: lowest offset that a receipt or range names; -1 if there is none.
        events: records that are readable between there and the committed offset.
        receipts: consume receipts that count: of committed transactions, or recorded and not taken back.
        denied: those of them that deny.
        ranges: ranges of offsets that committed transactions attested.
        generations: replay generations that they form; 1 if nobody moved the offsets back.
    """

    topic: str
    partition: int
    low: int
    committed: int
    begins: int
    events: int
    receipts: int
    denied: int
    ranges: int
    generations: int


class PreparedBatch(msgspec.Struct, frozen=True):
    """A transaction's batch without an outcome.

    Attributes:
        checkpoint: hash of its checkpoint.
        transactional_id: of its transaction.
        time: of sealing, Unix ms.
        shown: whether the checkpoint topic shows that it was committed.
    """

    checkpoint: str
    transactional_id: str
    time: int
    shown: bool


class Reconciliation(msgspec.Struct, kw_only=True):
    """What receipts and topics say of one consumer group.

    Attributes:
        group: the consumer group.
        committed: transactions with the outcome `committed`.
        rolled_back: transactions with the outcome `rolled_back`.
        prepared: batches without an outcome.
        partitions: the source partitions.
        dead_letters: records of the DLQ topics.
        failed_events: records of the error topic.
        outputs: records of the output topics.
        produce_receipts: produce receipts that count and allow.
        withheld: records of the logs whose bodies are withheld.
        discrepancies: the first 1,000 things that do not balance.
        discrepancies_found: how many there are.
        unverifiable: the first 1,000 things of which nothing can be said any more.
        unverifiable_found: how many there are.
    """

    group: str
    committed: int = 0
    rolled_back: int = 0
    prepared: list[PreparedBatch] = []
    partitions: list[PartitionBooks] = []
    dead_letters: int = 0
    failed_events: int = 0
    outputs: int = 0
    produce_receipts: int = 0
    withheld: int = 0
    discrepancies: list[Finding] = []
    discrepancies_found: int = 0
    unverifiable: list[Finding] = []
    unverifiable_found: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether everything was verified and nothing is wrong."""
        return not self.discrepancies_found and not self.unverifiable_found

"""What the tests on the broker need of a receipt log: every consume receipt, and the word of both verifiers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chio_fast import ReceiptLog, Signer, TrustFile
from chio_fast.verify.log import verify_log
from chio_fast.verify.trust import load_trust
from tests.kafka.topics import Place


class OwnLog:
    """A receipt log of a test's own, and the key that signs it, in `directory`."""

    directory: Path

    @property
    def log_path(self) -> Path:
        """Where the receipts go."""
        return self.directory / "receipts.db"

    @property
    def key_path(self) -> Path:
        """The key that signs them."""
        return self.directory / "signing.key"

    @property
    def trust(self) -> TrustFile:
        """The trust in that key alone."""
        return TrustFile.of(Signer.from_file(self.key_path).public_key)

    def verify(self) -> None:
        """Verify the whole log; fails if anything is found."""
        verify(self.log_path, self.trust)


@dataclass(frozen=True)
class ConsumeReceipt:
    """A consume receipt, as far as the tests look at it.

    Attributes:
        id: its id.
        place: topic, partition and offset of the event.
        topic_id: id of the topic.
        verdict: what was decided.
        rule: by which rule.
        attempt: which attempt at the request.
        policy_version: under which policy.
    """

    id: str
    place: Place
    topic_id: str | None
    verdict: str | None
    rule: str
    attempt: int
    policy_version: str


def consume_receipts(log: Path) -> dict[str, ConsumeReceipt]:
    """Every consume receipt by its id, in the order of the log."""
    return {
        receipt.id: ConsumeReceipt(
            receipt.id,
            (receipt.target.topic or "", receipt.target.partition or 0, int(receipt.target.offset or 0)),
            receipt.target.topic_id,
            receipt.verdict,
            receipt.rule,
            receipt.attempt or 0,
            receipt.batch.policy_version,
        )
        for receipt in ReceiptLog.open(log).query(kind="consume")
    }


def rolled_back(log: Path) -> set[str]:
    """Ids of the receipts that a `rollback` receipt takes back."""
    return {receipt.rollback or "" for receipt in ReceiptLog.open(log).query(kind="rollback")}


def verify(log: Path, trust: TrustFile) -> None:
    """Verify a whole log, natively and with the independent verifier; fails if either finds anything."""
    opened = ReceiptLog.open(log)
    native = opened.verify(trust)
    stream, trust_path = log.with_suffix(".frames"), log.with_suffix(".trust")
    opened.export_log(stream)
    trust.save(trust_path)
    independent = verify_log(stream.read_bytes(), load_trust(trust_path))
    assert independent.ok, independent.findings[:3]
    assert sum(issuer.batches for issuer in independent.issuers) == native.batches

"""What stands in a receipt log, as structs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from chio_fast.decision import GuardRun, RuleError, Verdict

State = Literal["recorded", "attempt", "prepared", "committed", "rolled_back"]
ReceiptKind = Literal["consume", "invoke", "produce", "override", "effect", "rollback"]
Direction = Literal["forward", "backward"]


class Target(msgspec.Struct, frozen=True):
    """What a receipt is about: an event's place, or a tool.

    Attributes:
        tool: name of the tool.
        cluster: id of the Kafka cluster.
        group: consumer group.
        topic: name of the topic.
        topic_id: its id, which changes when it is deleted and created again.
        partition: number of the partition.
        offset: offset within the partition.
        timestamp: timestamp of the record, Unix ms.
    """

    tool: str | None = None
    cluster: str | None = None
    group: str | None = None
    topic: str | None = None
    topic_id: str | None = None
    partition: int | None = None
    offset: int | str | None = None
    timestamp: int | str | None = None


class Batch(msgspec.Struct, frozen=True):
    """Receipts that were signed together.

    Attributes:
        batch: position in the log, from 1, without gaps.
        issuer: who signed it.
        epoch: the issuer's epoch.
        first_seq: position of its first record in the epoch.
        count: records in it.
        running_count: records of the issuer up to its end, over all epochs.
        min_id: smallest id.
        max_id: largest id.
        key_id: which key signed it.
        policy_version: policy under which its receipts were decided.
        previous: hash of the issuer's checkpoint before it.
        checkpoint: hash of its own.
        time: time of sealing, Unix ms.
        state: what became of its receipts.
        resolved_by: the batch that holds the outcome, where one is recorded.
        bytes: size of the stored frame.
    """

    batch: int
    issuer: str
    epoch: int
    first_seq: int
    count: int
    running_count: int
    min_id: str
    max_id: str
    key_id: str
    policy_version: str
    previous: str
    checkpoint: str
    time: int
    state: State
    resolved_by: int | None
    bytes: int


class PreparedBatch(msgspec.Struct, frozen=True):
    """A transaction's batch of which nobody has recorded yet what became of it.

    Attributes:
        batch: position in the log.
        issuer: who signed it.
        epoch: the issuer's epoch.
        checkpoint: hash of its checkpoint.
        signature: over its checkpoint, hexadecimal.
        group: consumer group of the transaction.
        transactional_id: that of its producer.
        attestation: what the transaction was about to do: the canonical JSON that was signed; `null` if there is none.
        time: time of sealing, Unix ms.
        count: records in it.
    """

    batch: int
    issuer: str
    epoch: int
    checkpoint: str
    signature: str
    group: str
    transactional_id: str
    attestation: msgspec.Raw
    time: int
    count: int


class Receipt(msgspec.Struct, frozen=True):
    """A receipt, or an outcome record, as it was signed, and where it lies.

    Attributes:
        id: its id.
        seq: position in its issuer's epoch.
        time: time of the decision, Unix ms.
        kind: what it is about; `outcome` for what became of a transaction's batch.
        batch: its batch: issuer, epoch, policy version, state.
        position: where it lies in the log; the `after` of a query.
        identity: who acted.
        scope: the permission asked for.
        verdict: what was decided.
        rule: the rule that decided; empty if none did.
        reason: why.
        target: the event's place, or the tool.
        digest: BLAKE3 of the content, hexadecimal.
        parents: receipts that led to this one.
        parents_rejected: how many asserted parents were no receipt ids or too many.
        request: name of the request, for people.
        attempt: which attempt at the request, from 1.
        correlation: text that joins what belongs together.
        rollback: the receipt that this one takes back.
        evidence: `before_action` if it was durable before what it authorises began.
        duration_ms: how long the tool call took.
        error: what the tool call failed with.
        errors: conditions that erred.
        errors_omitted: how many more erred.
        guards: guards that ran.
        guards_omitted: how many more ran.
        outcome: what became of a transaction's batch.
        outcome_of: hash of that batch's checkpoint.
        contradicts: the outcome recorded before, where Kafka contradicts it.
        shown: where Kafka shows the outcome.
        v: version of the format.
    """

    id: str
    seq: int | str
    time: int | str
    kind: ReceiptKind | Literal["outcome"]
    batch: Batch = msgspec.field(name="stored_in")
    position: str = msgspec.field(name="stored_at")
    identity: str = ""
    scope: str = ""
    verdict: Verdict | None = None
    rule: str = ""
    reason: str = ""
    target: Target = Target()
    digest: str | None = None
    parents: tuple[str, ...] = ()
    parents_rejected: int = 0
    request: str | None = None
    attempt: int | None = None
    correlation: str | None = None
    rollback: str | None = None
    evidence: Literal["before_commit", "before_action"] | None = None
    duration_ms: int | str | None = None
    error: str | None = None
    errors: tuple[RuleError, ...] = ()
    errors_omitted: int = 0
    guards: tuple[GuardRun, ...] = ()
    guards_omitted: int = 0
    outcome: Literal["committed", "rolled_back", "unknown"] | None = None
    outcome_of: str | None = msgspec.field(name="batch", default=None)
    contradicts: str | None = None
    shown: dict[str, Any] | None = None
    v: int = 1


class ChainNode(msgspec.Struct, frozen=True):
    """A receipt on a chain.

    Attributes:
        id: its id.
        depth: links between it and the start, by the shortest way.
        receipt: the receipt; None where this log does not hold it.
    """

    id: str
    depth: int
    receipt: Receipt | None


class ChainLink(msgspec.Struct, frozen=True):
    """One link of a chain.

    Attributes:
        parent: the cause.
        child: the effect.
        kind: `verified` if the log itself bears it out, `asserted` if it can neither confirm nor refute it.
    """

    parent: str
    child: str
    kind: Literal["verified", "asserted"]


class Chain(msgspec.Struct, frozen=True):
    """What a walk over parents or children found.

    Attributes:
        receipts: every receipt once, by depth, the start first.
        links: every link between them once.
        truncated: whether the bound ended the walk before it was complete.
    """

    receipts: tuple[ChainNode, ...]
    links: tuple[ChainLink, ...]
    truncated: bool


class Page(msgspec.Struct, frozen=True):
    """Receipts that a query found.

    Attributes:
        receipts: in the order asked for.
        next: the `after` of the next page; None if this was the last one at the time.
    """

    receipts: tuple[Receipt, ...]
    next: str | None


class IssuerReport(msgspec.Struct, frozen=True):
    """The verified chain of one issuer.

    Attributes:
        issuer: its full name.
        epoch: its last epoch.
        batches: batches in this log.
        running_count: records up to the last of them.
        head: hash of its last checkpoint.
    """

    issuer: str
    epoch: int
    batches: int
    running_count: int
    head: str


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a log.

    Attributes:
        fault: what, a word of a fixed list.
        frame: number of the batch in the log, from 0.
        issuer: issuer of the batch, where it can be read.
        epoch: its epoch.
        seq: position of the record in the epoch.
        detail: where, and what was expected.
    """

    fault: str
    frame: int
    issuer: str | None
    epoch: int | None
    seq: int | None
    detail: str


class VerifyReport(msgspec.Struct, frozen=True):
    """What verifying a log gave.

    Attributes:
        batches: batches that were read.
        receipts: receipts that were read.
        outcomes: outcome records that were read.
        outcomes_elsewhere: outcomes of batches that are not in this log.
        withheld: records whose bodies are withheld.
        transactions: batches of transactions.
        unresolved: those of them whose outcome is not known.
        issuers: the issuers' chains, by name.
        findings: what is wrong, in the order of the log.
        found: how many findings there were, those beyond the first 1,000 included.
    """

    batches: int
    receipts: int
    outcomes: int
    outcomes_elsewhere: int
    withheld: int
    transactions: int
    unresolved: int
    issuers: tuple[IssuerReport, ...]
    findings: tuple[Finding, ...]
    found: int


class VerifiedReceipt(msgspec.Struct, frozen=True):
    """What is known of an exported receipt that verified.

    Attributes:
        id: its id; None if the body is withheld.
        issuer: who signed it.
        epoch: the issuer's epoch.
        seq: position in the epoch.
        checkpoint: hash of the checkpoint that commits to it.
        state: `recorded`, `attempt`, `committed`, `rolled_back`, or `unknown`: authentic, outcome unknown.
    """

    id: str | None
    issuer: str
    epoch: int
    seq: int
    checkpoint: str
    state: Literal["recorded", "attempt", "committed", "rolled_back", "unknown"]


class Imported(msgspec.Struct, frozen=True):
    """What an import took over.

    Attributes:
        issuers: batches that were appended, by issuer.
        records: records in them.
        duplicates: batches that the log held already.
    """

    issuers: dict[str, int]
    records: int
    duplicates: int


class LogStats(msgspec.Struct, frozen=True):
    """What an open log has done in this process.

    Attributes:
        issued: receipts issued.
        durable: receipts durable.
        batches: batches appended.
        appends: durable writes, each of one or more batches.
        bytes: bytes of frames appended.
        waits: times that issuing waited because too much was unsealed.
        unsealed_bytes: bytes that wait for the sealer.
    """

    issued: int
    durable: int
    batches: int
    appends: int
    bytes: int
    waits: int
    unsealed_bytes: int

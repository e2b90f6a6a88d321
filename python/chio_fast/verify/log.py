"""Verifying a whole log: every frame by itself, and how they follow each other."""

from dataclasses import dataclass, field
from typing import Any

from chio_fast.verify import hashing
from chio_fast.verify.anchors import AnchorCheck
from chio_fast.verify.errors import MalformedError, VerifyError
from chio_fast.verify.frames import Frame, decode, split
from chio_fast.verify.ids import EpochIds
from chio_fast.verify.records import Checkpoint, Record, parse_record
from chio_fast.verify.trust import Trust, TrustedKey, check_attestation

MAX_FINDINGS = 1000


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        fault: What, as a code.
        frame: Number of the frame in the log, from 0; the number of all frames for what concerns the end.
        issuer: Issuer of the frame, where it can be read.
        epoch: Its epoch.
        seq: Position of the record in the epoch, or of the batch's first.
        detail: Where, and what was expected.
    """

    fault: str
    frame: int
    issuer: str | None
    epoch: int | None
    seq: int | None
    detail: str


@dataclass(frozen=True)
class IssuerReport:
    """The chain of one issuer: last epoch, batches in this log, last running_count, hash of the last checkpoint."""

    issuer: str
    epoch: int
    batches: int
    running_count: int
    head: str


@dataclass
class Report:
    """What was found in a log: counts, the issuers by name, and the first 1000 findings in the order of the log."""

    frames: int = 0
    receipts: int = 0
    outcomes: int = 0
    outcomes_elsewhere: int = 0
    withheld: int = 0
    transactions: int = 0
    unresolved: int = 0
    issuers: list[IssuerReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    found: int = 0

    @property
    def ok(self) -> bool:
        """Whether the log verified."""
        return self.found == 0


@dataclass
class _Issuer:
    """Where the chain of one issuer stands."""

    epoch: int
    next_seq: int
    running_count: int
    head: bytes
    key_id: bytes | None = None
    batches: int = 0
    ids: EpochIds = field(default_factory=EpochIds)
    followers: dict[bytes, bytes] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    keys: dict[bytes, bool] = field(default_factory=dict)
    """Keys that signed, and whether the chain has reached their last checkpoint."""

    def follow(self, checkpoint: Checkpoint, checkpoint_hash: bytes, key: TrustedKey) -> list[VerifyError]:
        """Check the next batch, of which key and signature are good, and take it as the new end of the chain."""
        faults = list(self._faults(checkpoint))
        follower = self.followers.get(checkpoint.previous)
        follows = checkpoint.previous == self.head
        if not follows:
            name = checkpoint.previous.hex()
            if follower is None:
                faults.append(VerifyError("previous", f"follows checkpoint `{name}`, which is not the last one"))
            elif follower == checkpoint_hash:
                faults.append(VerifyError("previous", "this batch stands in the log twice"))
            else:
                faults.append(VerifyError("fork", f"checkpoint `{name}` has another successor already"))
        # A fork or repetition is no continuation: what follows is held against the chain that was there first.
        if follows or follower is None:
            self._advance(checkpoint, checkpoint_hash)
        if fault := self._note_key(key, checkpoint.issuer, checkpoint_hash):
            faults.append(fault)
        return faults

    def _faults(self, checkpoint: Checkpoint) -> list[VerifyError]:
        faults = []
        same_epoch = checkpoint.epoch == self.epoch
        if not same_epoch and not (checkpoint.epoch == self.epoch + 1 and self.batches):
            faults.append(VerifyError("epoch", f"epoch {checkpoint.epoch} follows epoch {self.epoch}"))
        if same_epoch and self.key_id not in (None, checkpoint.key_id):
            detail = f"the key changes to `{checkpoint.key_id.hex()}` within the epoch"
            faults.append(VerifyError("key_change", detail))
        first_seq = self.next_seq if same_epoch else 0
        if checkpoint.first_seq != first_seq:
            faults.append(VerifyError("first_seq", f"`first_seq` is {checkpoint.first_seq}, expected {first_seq}"))
        running_count = self.running_count + checkpoint.count
        if checkpoint.running_count != running_count:
            detail = f"`running_count` is {checkpoint.running_count}, expected {running_count}"
            faults.append(VerifyError("running_count", detail))
        return faults

    def _advance(self, checkpoint: Checkpoint, checkpoint_hash: bytes) -> None:
        if checkpoint.epoch != self.epoch:
            self.ids = EpochIds()
        self.followers[checkpoint.previous] = checkpoint_hash
        self.seen.add(checkpoint_hash)
        self.epoch = checkpoint.epoch
        self.next_seq = checkpoint.first_seq + checkpoint.count
        self.running_count = checkpoint.running_count
        self.head = checkpoint_hash
        self.key_id = checkpoint.key_id
        self.batches += 1

    def _note_key(self, key: TrustedKey, issuer: str, checkpoint_hash: bytes) -> VerifyError | None:
        last = key.last_checkpoints.get(issuer)
        before = self.keys.get(key.key_id, False)
        self.keys[key.key_id] = before or last == checkpoint_hash
        lost = key.status == "compromised" and last is None
        return key.ended() if before or lost else None


class LogVerifier:
    """Verifies a log that is fed to it frame by frame, in the order of the log; issuers may be mixed.

    It goes on after a fault, so that the report shows all of them.

    Args:
        trust: Whom to trust.
        partial: Let every issuer's chain start and end anywhere: for a part of a log.
        anchors: Checkpoints that were kept elsewhere, to which the log has to lead.
    """

    def __init__(self, trust: Trust, *, partial: bool = False, anchors: AnchorCheck | None = None) -> None:
        self._trust = trust
        self._partial = partial
        self._anchors = anchors
        self._issuers: dict[str, _Issuer] = {}
        self._transactions: dict[bytes, tuple[str, str | None]] = {}
        # Outcomes of batches that were not fed yet: an import may bring them first.
        self._early: dict[bytes, list[dict[str, Any]]] = {}
        self._tags: dict[int, tuple[str, int, int, int]] = {}
        self._report = Report()

    def feed_stream(self, stream: bytes) -> None:
        """Take all frames of a stream; what follows a malformed one is not read."""
        try:
            for frame in split(stream):
                self.feed(frame)
        except VerifyError as error:
            self._find(error)

    def feed(self, data: bytes) -> None:
        """Take the next frame of the log."""
        try:
            self._frame(decode(data))
        except VerifyError as error:
            self._find(error)
        self._report.frames += 1

    def finish(self) -> Report:
        """Give what was found, once all frames are fed."""
        self._check_last_checkpoints()
        for fault, checkpoint in self._anchors.findings() if self._anchors else ():
            self._find(fault, checkpoint)
        report = self._report
        report.issuers = [
            IssuerReport(issuer, state.epoch, state.batches, state.running_count, state.head.hex())
            for issuer, state in sorted(self._issuers.items())
        ]
        report.transactions = len(self._transactions)
        report.unresolved = sum(outcome in (None, "unknown") for _, outcome in self._transactions.values())
        return report

    def _frame(self, frame: Frame) -> None:
        checkpoint = frame.checkpoint
        try:
            key = self._trust.check(checkpoint, frame.checkpoint_hash, frame.signature)
        except VerifyError as error:
            self._find(error, checkpoint)
            return
        if self._anchors:
            self._anchors.batch(checkpoint.issuer, checkpoint.running_count, frame.checkpoint_hash)
        state = self._issuers.get(checkpoint.issuer)
        if state is None:
            state = self._issuers[checkpoint.issuer] = self._before(checkpoint)
        for fault in state.follow(checkpoint, frame.checkpoint_hash, key):
            self._find(fault, checkpoint)
        try:
            check_attestation(checkpoint, frame.attestation, required=True)
        except VerifyError as error:
            self._find(error, checkpoint)
        if checkpoint.mode == "transaction":
            self._transactions.setdefault(frame.checkpoint_hash, (checkpoint.issuer, None))
        for members in self._early.pop(frame.checkpoint_hash, ()):
            self._report.outcomes_elsewhere -= 1
            self._told(members, checkpoint, checkpoint.first_seq)
        if hashing.root(frame.leaves) == checkpoint.root:
            self._records(frame, state)
        else:
            self._find(VerifyError("root", "the leaves of this batch do not lead to its root"), checkpoint)

    def _before(self, first: Checkpoint) -> _Issuer:
        """Give the state before the first batch that is seen of an issuer."""
        if self._partial:
            return _Issuer(first.epoch, first.first_seq, first.running_count - first.count, first.previous)
        return _Issuer(0, 0, 0, bytes(32))

    def _records(self, frame: Frame, state: _Issuer) -> None:
        checkpoint = frame.checkpoint
        tag = hashing.id_tag(checkpoint.issuer, checkpoint.epoch)
        recorded = checkpoint.mode == "recorded"
        first: int | None = None
        last: int | None = None
        for seq, body in enumerate(frame.bodies, checkpoint.first_seq):
            if body is None:
                self._report.withheld += 1
                continue
            try:
                record = parse_record(body)
            except MalformedError as error:
                self._find(VerifyError("record", str(error)), checkpoint, seq)
                continue
            if record.seq != seq:
                self._find(VerifyError("seq", f"`seq` is {record.seq} at place {seq}"), checkpoint, seq)
            wrong: str | None = "is of another issuer or epoch"
            if record.id >> 48 & 0xFFFF_FFFF == tag:
                wrong = state.ids.take(record.id, last, recorded=recorded)
            if wrong:
                self._find(VerifyError("id", f"id `{record.members['id']}` {wrong}"), checkpoint, seq)
            first = record.id if first is None else min(first, record.id)
            last = record.id if last is None else max(last, record.id)
            if record.is_outcome:
                self._outcome(record, checkpoint, seq)
            else:
                self._report.receipts += 1
        if first is not None and last is not None:
            self._note_tag(checkpoint, tag, first, last)

    def _note_tag(self, checkpoint: Checkpoint, tag: int, first: int, last: int) -> None:
        """Check that two epochs whose tags agree by chance gave their ids at different times."""
        issuer, epoch, known_first, known_last = self._tags.get(tag, (checkpoint.issuer, checkpoint.epoch, first, last))
        if (issuer, epoch) == (checkpoint.issuer, checkpoint.epoch):
            self._tags[tag] = (issuer, epoch, min(known_first, first), max(known_last, last))
        elif first <= known_last and known_first <= last:
            detail = f"ids overlap with those of issuer `{issuer}`, epoch {epoch}"
            self._find(VerifyError("id", detail), checkpoint)

    def _outcome(self, record: Record, checkpoint: Checkpoint, seq: int) -> None:
        self._report.outcomes += 1
        self._told(record.members, checkpoint, seq)

    def _told(self, members: dict[str, Any], checkpoint: Checkpoint, seq: int) -> None:
        batch = bytes.fromhex(members["batch"])
        known = self._transactions.get(batch)
        detail = None
        if known is None:
            state = self._issuers.get(members["issuer"])
            if state is None or batch not in state.seen:
                self._report.outcomes_elsewhere += 1
                self._early.setdefault(batch, []).append(members)
                return
            detail = f"batch `{batch.hex()}` is not that of a transaction"
        elif known[0] != members["issuer"]:
            detail = f"batch `{batch.hex()}` is of another issuer"
        elif known[1] not in (None, members["outcome"], members.get("contradicts")):
            detail = f"batch `{batch.hex()}` is `{known[1]}` already"
        else:
            self._transactions[batch] = (known[0], members["outcome"])
            return
        self._find(VerifyError("outcome", detail), checkpoint, seq)

    def _check_last_checkpoints(self) -> None:
        """Check that every checkpoint that the trust file knows was seen."""
        for key in self._trust.keys.values():
            for issuer, last in key.last_checkpoints.items():
                state = self._issuers.get(issuer)
                signed = state is not None and key.key_id in state.keys
                if state is not None and state.keys.get(key.key_id, False):
                    continue
                if key.status == "compromised" and signed:
                    detail = f"this log does not lead to checkpoint `{last.hex()}`, the last before the compromise"
                    self._find(VerifyError("key_compromised", detail), issuer=issuer)
                elif not self._partial:
                    detail = f"the log ends before checkpoint `{last.hex()}`, which the trust file knows"
                    self._find(VerifyError("truncated", detail), issuer=issuer)

    def _find(
        self,
        error: VerifyError,
        checkpoint: Checkpoint | None = None,
        seq: int | None = None,
        issuer: str | None = None,
    ) -> None:
        self._report.found += 1
        if len(self._report.findings) >= MAX_FINDINGS:
            return
        epoch = None
        if checkpoint is not None:
            issuer, epoch = checkpoint.issuer, checkpoint.epoch
            seq = checkpoint.first_seq if seq is None else seq
        self._report.findings.append(Finding(error.fault, self._report.frames, issuer, epoch, seq, error.detail))


def verify_log(stream: bytes, trust: Trust, *, partial: bool = False, anchors: AnchorCheck | None = None) -> Report:
    """Verify a log, given as its frames one after the other."""
    verifier = LogVerifier(trust, partial=partial, anchors=anchors)
    verifier.feed_stream(stream)
    return verifier.finish()

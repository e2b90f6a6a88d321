"""Anchors: signed checkpoints that were kept outside a log, and whether the log still leads to them."""

from dataclasses import dataclass

from chio_fast.verify import canonical, hashing
from chio_fast.verify.errors import MalformedError, VerifyError
from chio_fast.verify.records import Checkpoint, hexadecimal, parse_checkpoint
from chio_fast.verify.trust import Trust


@dataclass(frozen=True)
class Anchor:
    """A checkpoint with its signature, as an issuer published it.

    Attributes:
        checkpoint: The checkpoint.
        text: Its canonical text, which the signature covers.
        checkpoint_hash: Its hash.
        signature: Signature over it.
    """

    checkpoint: Checkpoint
    text: bytes
    checkpoint_hash: bytes
    signature: bytes


def read_anchor(value: bytes) -> Anchor:
    """Read one anchor: a JSON object with the members ``checkpoint`` (its text) and ``signature``; others may follow.

    Raises:
        MalformedError: it is not one.
    """
    document = canonical.loads(value)
    if not isinstance(document, dict) or not isinstance(document.get("checkpoint"), str):
        raise MalformedError("expected an object with `checkpoint` and `signature`")
    text = document["checkpoint"].encode()
    signature = hexadecimal(64)(document.get("signature"))
    return Anchor(parse_checkpoint(text), text, hashing.keyed(hashing.CHECKPOINT, text), signature)


class AnchorCheck:
    """Compares anchors with the batches of one log.

    Feed all anchors, then every batch in the order of the log, then ask for the findings. Anchors of other logs, which
    the part of the issuer's name after ``@`` tells apart, are left out. Anchors that no trusted key signed are counted
    and prove nothing: whoever may write where anchors are kept could have made them.

    Args:
        trust: Whom to trust.
        log_id: The log's id; without it, the ids in the names of the log's issuers count, and any if it is empty.
        partial: The log is a part: that it ends early is no fault.
    """

    def __init__(self, trust: Trust, *, log_id: str | None = None, partial: bool = False) -> None:
        self._trust = trust
        self._partial = partial
        self._log_ids = set() if log_id is None else {log_id}
        self._anchors: dict[tuple[str, int], dict[bytes, Anchor]] = {}
        self._ends: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self.not_trusted = 0

    def anchor(self, value: bytes) -> None:
        """Take one anchor."""
        try:
            anchor = read_anchor(value)
            self._trust.check(anchor.checkpoint, anchor.checkpoint_hash, anchor.signature)
        except (MalformedError, VerifyError):
            self.not_trusted += 1
            return
        place = (anchor.checkpoint.issuer, anchor.checkpoint.running_count)
        self._anchors.setdefault(place, {})[anchor.checkpoint_hash] = anchor
        log_id = log_id_of(anchor.checkpoint.issuer)
        self._counts[log_id] = self._counts.get(log_id, 0) + 1

    @property
    def anchors(self) -> int:
        """How many anchors the log is held to; final when every batch was taken."""
        return sum(count for log_id, count in self._counts.items() if not self._log_ids or log_id in self._log_ids)

    def batch(self, issuer: str, running_count: int, checkpoint_hash: bytes) -> None:
        """Take the next batch of the log."""
        self._log_ids.add(log_id_of(issuer))
        self._ends[issuer] = max(self._ends.get(issuer, 0), running_count)
        self._anchors.get((issuer, running_count), {}).pop(checkpoint_hash, None)

    def findings(self) -> list[tuple[VerifyError, Checkpoint]]:
        """Give the anchored checkpoints that the log does not lead to, by issuer and place, with their faults.

        ``truncated``: the log ends before it; ``fork``: the log holds another chain there.
        """
        missing = [
            (self._fault(anchor), anchor.checkpoint)
            for (issuer, _), anchored in sorted(self._anchors.items())
            if not self._log_ids or log_id_of(issuer) in self._log_ids
            for anchor in anchored.values()
        ]
        return [found for found in missing if found[0].fault == "fork" or not self._partial]

    def _fault(self, anchor: Anchor) -> VerifyError:
        count = anchor.checkpoint.running_count
        name = f"checkpoint `{anchor.checkpoint_hash.hex()}`, which was anchored at {count} records"
        end = self._ends.get(anchor.checkpoint.issuer, 0)
        if count > end:
            return VerifyError("truncated", f"the log ends at {end} records of the issuer, before {name}")
        return VerifyError("fork", f"the log holds another chain in the place of {name}")


def log_id_of(issuer: str) -> str:
    """Give the id of the log that an issuer's full name tells."""
    return issuer.rpartition("@")[2]

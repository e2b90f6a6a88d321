"""Verifying one receipt from its export."""

from dataclasses import dataclass
from typing import Any

from chio_fast.verify import canonical, hashing
from chio_fast.verify.errors import MalformedError, VerifyError
from chio_fast.verify.records import Checkpoint, Record, hexadecimal, parse_checkpoint, parse_record
from chio_fast.verify.trust import Trust, check_attestation


@dataclass(frozen=True)
class Verified:
    """What is known of a receipt that verified.

    Attributes:
        id: Its id; None if the body is withheld.
        issuer: Its issuer.
        epoch: The issuer's epoch.
        seq: Position in the epoch.
        checkpoint_hash: Hash of the checkpoint that commits to it.
        state: ``recorded``, ``attempt``, ``committed``, ``rolled_back`` or ``unknown``.
        receipt: Its members; None if the body is withheld.
    """

    id: str | None
    issuer: str
    epoch: int
    seq: int
    checkpoint_hash: bytes
    state: str
    receipt: dict[str, Any] | None


def verify_export(document: bytes | str, trust: Trust) -> Verified:
    """Verify the export of one receipt.

    Args:
        document: The export as JSON text.
        trust: Whom to trust.

    Raises:
        VerifyError: The first fault: document, checkpoint, key, signature, attestation, record, place, proof, then the
            same for the outcome.
    """
    try:
        export = canonical.loads(document)
        _check_document(export)
    except MalformedError as error:
        raise VerifyError("document", str(error)) from error
    proven = export["receipt"]
    checkpoint, checkpoint_hash, record = _verify_proven(proven, trust)
    outcome = export.get("outcome")
    if checkpoint.mode == "transaction":
        state = "unknown" if outcome is None else _state_of(outcome, checkpoint.issuer, checkpoint_hash, trust)
    elif outcome is not None:
        raise VerifyError("outcome", "only a transaction's batch has an outcome")
    else:
        state = checkpoint.mode
    return Verified(
        id=record.members["id"] if record else None,
        issuer=checkpoint.issuer,
        epoch=checkpoint.epoch,
        seq=checkpoint.first_seq + proven["index"],
        checkpoint_hash=checkpoint_hash,
        state=state,
        receipt=record.members if record else None,
    )


def _state_of(outcome: dict[str, Any], issuer: str, batch: bytes, trust: Trust) -> str:
    _, _, record = _verify_proven(outcome, trust)
    if record is None or not record.is_outcome:
        raise VerifyError("outcome", "the outcome is not an outcome record")
    if record.members["batch"] != batch.hex() or record.members["issuer"] != issuer:
        raise VerifyError("outcome", "the outcome is that of another batch")
    return str(record.members["outcome"])


def _verify_proven(proven: dict[str, Any], trust: Trust) -> tuple[Checkpoint, bytes, Record | None]:
    """Verify that a record is part of a batch that a trusted key signed."""
    text = proven["checkpoint"].encode()
    try:
        checkpoint = parse_checkpoint(text)
    except MalformedError as error:
        raise VerifyError("checkpoint", str(error)) from error
    checkpoint_hash = hashing.keyed(hashing.CHECKPOINT, text)
    key = trust.check(checkpoint, checkpoint_hash, bytes.fromhex(proven["signature"]))
    # Times can be forged with a stolen key: of a single checkpoint, only the one that is known from elsewhere counts.
    is_last = key.last_checkpoints.get(checkpoint.issuer) == checkpoint_hash
    if key.status == "compromised" and not is_last and (fault := key.ended()):
        raise fault
    attestation = proven.get("attestation")
    check_attestation(checkpoint, None if attestation is None else attestation.encode(), required=False)
    record = None
    if proven.get("body") is None:
        leaf = bytes.fromhex(proven["leaf"])
    else:
        body = proven["body"].encode()
        leaf = hashing.leaf(body)
        try:
            record = parse_record(body)
        except MalformedError as error:
            raise VerifyError("record", str(error)) from error
        _check_place(record, checkpoint, proven["index"])
    proof = [bytes.fromhex(sibling) for sibling in proven["proof"]]
    if hashing.root_of_proof(leaf, proven["index"], checkpoint.count, proof) != checkpoint.root:
        raise VerifyError("proof", "the proof does not lead from this record at this index to the root")
    return checkpoint, checkpoint_hash, record


def _check_place(record: Record, checkpoint: Checkpoint, index: int) -> None:
    if record.seq != checkpoint.first_seq + index:
        raise VerifyError("seq", "`seq` is not `first_seq` + `index`")
    if record.id >> 48 & 0xFFFF_FFFF != hashing.id_tag(checkpoint.issuer, checkpoint.epoch):
        raise VerifyError("id", "the id is of another issuer or epoch")


def _check_document(export: Any) -> None:
    if not isinstance(export, dict) or not export.keys() <= {"v", "receipt", "outcome"} or "receipt" not in export:
        raise MalformedError("an export has the members `v`, `receipt` and perhaps `outcome`")
    if type(export.get("v")) is not int or export["v"] != 1:
        raise MalformedError("version of the export is not known")
    _check_proven(export["receipt"])
    if export.get("outcome") is not None:
        _check_proven(export["outcome"])


def _check_proven(proven: Any) -> None:
    known = {"body", "leaf", "index", "proof", "checkpoint", "signature", "attestation"}
    if not isinstance(proven, dict) or not proven.keys() <= known:
        raise MalformedError(f"a proven record has the members {sorted(known)}")
    for name in ("body", "attestation"):
        if proven.get(name) is not None and not isinstance(proven[name], str):
            raise MalformedError(f"`{name}` is a text")
    if (proven.get("body") is None) == (proven.get("leaf") is None):
        raise MalformedError("exactly one of `body` and `leaf` must be given")
    if proven.get("leaf") is not None:
        hexadecimal(32)(proven["leaf"])
    if type(proven.get("index")) is not int or not 0 <= proven["index"] < 2**64:
        raise MalformedError("`index` is an integer")
    if not isinstance(proven.get("checkpoint"), str):
        raise MalformedError("`checkpoint` is a text")
    if not isinstance(proven.get("proof"), list):
        raise MalformedError("`proof` is a list")
    for sibling in proven["proof"]:
        hexadecimal(32)(sibling)
    hexadecimal(64)(proven.get("signature"))

"""The trust file, and what a key may sign."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chio_fast.verify import canonical, hashing
from chio_fast.verify.errors import MalformedError, VerifyError
from chio_fast.verify.records import Checkpoint, hexadecimal


class TrustError(ValueError):
    """A text is not a trust file."""


@dataclass(frozen=True)
class TrustedKey:
    """One key and what it may do.

    Attributes:
        public_key: The Ed25519 public key.
        issuers: Issuers that it may sign for: exact, or a prefix with ``*`` at its end.
        not_before: Checkpoints before this time do not count, Unix ms.
        not_after: Checkpoints after this time do not count, Unix ms.
        status: ``active``, ``retired`` or ``compromised``.
        last_checkpoints: Hash of the last known checkpoint, by issuer.
    """

    public_key: bytes
    issuers: tuple[str, ...]
    not_before: int | None
    not_after: int | None
    status: str
    last_checkpoints: dict[str, bytes]

    @property
    def key_id(self) -> bytes:
        """Name of the key, computed."""
        return hashing.key_id(self.public_key)

    def may_sign_for(self, issuer: str) -> bool:
        """Whether it may sign for ``issuer``."""
        return any(
            issuer.startswith(pattern[:-1]) if pattern.endswith("*") else issuer == pattern for pattern in self.issuers
        )

    def ended(self) -> VerifyError | None:
        """Give the fault of a checkpoint that follows the key's last one."""
        name = self.key_id.hex()
        if self.status == "retired":
            return VerifyError("key_retired", f"key `{name}` was retired at an earlier checkpoint")
        if self.status == "compromised":
            detail = f"key `{name}` is compromised, and nothing shows that this checkpoint was signed before"
            return VerifyError("key_compromised", detail)
        return None


@dataclass(frozen=True)
class Trust:
    """Whom the verifier trusts: keys by their computed names."""

    keys: dict[bytes, TrustedKey]

    def check(self, checkpoint: Checkpoint, checkpoint_hash: bytes, signature: bytes) -> TrustedKey:
        """Check key, window and signature of a checkpoint; gives the key.

        Whether a retired or compromised key may have signed this one depends on where it stands, which the caller
        knows.

        Raises:
            VerifyError: key_unknown, key_issuer, key_time or signature.
        """
        name = checkpoint.key_id.hex()
        key = self.keys.get(checkpoint.key_id)
        if key is None:
            raise VerifyError("key_unknown", f"key `{name}` is not in the trust file")
        if not key.may_sign_for(checkpoint.issuer):
            raise VerifyError("key_issuer", f"key `{name}` may not sign for issuer `{checkpoint.issuer}`")
        early = key.not_before is not None and checkpoint.time < key.not_before
        late = key.not_after is not None and checkpoint.time > key.not_after
        if early or late:
            raise VerifyError("key_time", f"key `{name}` may not sign at {checkpoint.time} ms")
        if not hashing.signature_holds(key.public_key, checkpoint_hash, signature):
            raise VerifyError("signature", f"not the signature of key `{name}` over this checkpoint")
        return key


def check_attestation(checkpoint: Checkpoint, attestation: bytes | None, *, required: bool) -> None:
    """Check that the attestation is the one that the checkpoint names.

    Raises:
        VerifyError: attestation.
    """
    if attestation is None:
        if required and checkpoint.attestation is not None:
            raise VerifyError("attestation", "the attestation that the checkpoint names is missing")
        return
    if checkpoint.attestation is None:
        raise VerifyError("attestation", "the checkpoint names no attestation")
    if hashing.keyed(hashing.ATTESTATION, attestation) != checkpoint.attestation:
        raise VerifyError("attestation", "not the attestation that the checkpoint names")
    try:
        is_canonical = canonical.dumps(canonical.loads(attestation)) == attestation
    except MalformedError:
        is_canonical = False
    if not is_canonical:
        raise VerifyError("attestation", "the attestation is not canonical")


def load_trust(source: bytes | str | Path) -> Trust:
    """Read a trust file, given as its text or its path.

    Raises:
        TrustError: What is wrong with it.
        OSError: The file cannot be read.
    """
    text = source.read_bytes() if isinstance(source, Path) else source
    try:
        document = canonical.loads(text)
        keys = _keys(document)
    except (MalformedError, KeyError, TypeError) as error:
        raise TrustError(f"trust file: {error}") from error
    by_id = {key.key_id: key for key in keys}
    if len(by_id) != len(keys):
        raise TrustError("trust file: a key stands twice")
    return Trust(by_id)


def _keys(document: Any) -> list[TrustedKey]:
    _members(document, {"v", "keys"}, set())
    if type(document["v"]) is not int or document["v"] != 1:
        raise MalformedError('version is not known: write `"v": 1`')
    return [_key(item) for item in _list(document["keys"])]


def _key(item: Any) -> TrustedKey:
    optional = {"key_id", "not_before", "not_after", "last_checkpoints"}
    _members(item, {"public_key", "issuers", "status"}, optional)
    public_key = hexadecimal(32)(item["public_key"])
    if item.get("key_id") is not None and hexadecimal(16)(item["key_id"]) != hashing.key_id(public_key):
        raise MalformedError("`key_id` is not the first 16 bytes of the key's BLAKE3 hash")
    issuers = tuple(_issuer(issuer) for issuer in _list(item["issuers"]))
    if item["status"] not in ("active", "retired", "compromised"):
        raise MalformedError("`status` is `active`, `retired` or `compromised`")
    last_checkpoints: dict[str, bytes] = {}
    for last in _list(item.get("last_checkpoints", [])):
        _members(last, {"issuer", "hash"}, set())
        if not isinstance(last["issuer"], str) or last["issuer"] in last_checkpoints:
            raise MalformedError("an issuer has one last checkpoint")
        last_checkpoints[last["issuer"]] = hexadecimal(32)(last["hash"])
    key = TrustedKey(
        public_key, issuers, _time(item, "not_before"), _time(item, "not_after"), item["status"], last_checkpoints
    )
    if key.status == "retired" and key.not_after is None and not last_checkpoints:
        raise MalformedError("a retired key needs `not_after` or `last_checkpoints`")
    return key


def _members(value: Any, required: set[str], optional: set[str]) -> None:
    if not isinstance(value, dict):
        raise MalformedError("expected an object")
    if unknown := value.keys() - required - optional:
        raise MalformedError(f"unknown member `{min(unknown)}`")
    if missing := required - value.keys():
        raise MalformedError(f"expected member `{min(missing)}`")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError("expected a list")
    return value


def _issuer(value: Any) -> str:
    if not isinstance(value, str) or not value or "*" in value[:-1]:
        raise MalformedError("an issuer is exact, or a prefix with one `*` at its end")
    return value


def _time(item: dict[str, Any], name: str) -> int | None:
    value = item.get(name)
    if value is None or (type(value) is int and 0 <= value < 2**64):
        return value
    raise MalformedError(f"`{name}` is Unix ms")

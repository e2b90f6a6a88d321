"""Signing keys and the trust file: whose signatures a verifier counts."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from chio_fast import _native
from chio_fast._native import Signer
from chio_fast.errors import SigningKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chio_fast._native import StrPath

__all__ = ["LastCheckpoint", "Rotation", "Signer", "TrustFile", "TrustedKey", "rotate_key"]


class LastCheckpoint(msgspec.Struct, forbid_unknown_fields=True):
    """A checkpoint known from elsewhere: a log without it was cut off, or is another one.

    Attributes:
        issuer: who signed it.
        hash: its hash, hexadecimal.
    """

    issuer: str
    hash: str


class TrustedKey(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One key and what it may do.

    Attributes:
        public_key: the Ed25519 public key, hexadecimal.
        issuers: issuers that it may sign for: exact, or a prefix with `*` at its end.
        status: `active`; `retired` or `compromised` keys count up to their last checkpoints.
        key_id: its name; recomputed, and refused if it is another key's.
        not_before: checkpoints before this time do not count, Unix ms.
        not_after: checkpoints after this time do not count, Unix ms.
        last_checkpoints: one for each issuer at most.
    """

    public_key: str
    issuers: list[str]
    status: Literal["active", "retired", "compromised"]
    key_id: str | None = None
    not_before: int | None = None
    not_after: int | None = None
    last_checkpoints: list[LastCheckpoint] = []


class TrustFile(msgspec.Struct, forbid_unknown_fields=True):
    """Whom a verifier trusts.

    Attributes:
        v: version of the form, 1.
        keys: the keys; no two are the same.
    """

    v: int = 1
    keys: list[TrustedKey] = []

    @classmethod
    def load(cls, path: StrPath) -> TrustFile:
        """Read a trust file.

        Raises:
            SigningKeyError: it cannot be read or is malformed.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise SigningKeyError(f"trust file `{os.fspath(path)}` cannot be read: {error.strerror}") from None
        try:
            return cls.from_json(text)
        except SigningKeyError as error:
            raise SigningKeyError(f"`{os.fspath(path)}`: {error}") from None

    @classmethod
    def from_json(cls, text: bytes | str) -> TrustFile:
        """Read the text of a trust file.

        Raises:
            SigningKeyError: it is malformed, or a key stands in it twice or under another key's name.
        """
        checked = _native.check_trust(text.encode() if isinstance(text, str) else text)
        return msgspec.json.decode(checked, type=cls)

    @classmethod
    def of(cls, public_key: bytes, issuers: Iterable[str] = ("*",)) -> TrustFile:
        """Trust one key, by default for every issuer."""
        return cls(keys=[TrustedKey(public_key=public_key.hex(), issuers=list(issuers), status="active")])

    def to_json(self) -> bytes:
        """The text of the trust file."""
        return _native.check_trust(msgspec.json.encode(self))

    def save(self, path: StrPath) -> None:
        """Write the trust file; whoever reads it meanwhile sees the former one or this one, whole.

        Raises:
            SigningKeyError: it is malformed.
            OSError: it cannot be written.
        """
        text = self.to_json()
        target = Path(path)
        draft = target.with_name(f"{target.name}-new-{secrets.token_hex(8)}")
        try:
            with draft.open("xb") as file:
                file.write(text + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


class Rotation(msgspec.Struct, frozen=True):
    """One issuer whose key is followed by another.

    Attributes:
        issuer: its full name.
        former: name of the key that signed its last checkpoint.
        last_checkpoint: hash of that checkpoint: the last one that the former key stands for.
    """

    issuer: str
    former: str
    last_checkpoint: str


class _Rotated(msgspec.Struct):
    rotations: list[Rotation]
    trust: str | None


def rotate_key(log: StrPath, signer: Signer, trust: TrustFile | None = None) -> tuple[list[Rotation], TrustFile | None]:
    """Record in a log that the key of `signer` follows whatever keys its issuers signed with.

    It takes effect when an issuer starts again. Doing it twice does no harm.

    Args:
        log: path or URL of the receipt log.
        signer: the new key.
        trust: a trust file that knows the former keys.

    Returns:
        What was rotated, and the trust file in which the former keys are retired and the new one is active.

    Raises:
        LogClaimedError: one of the issuers is running; stop it first.
        LogError: the log cannot be opened.
    """
    told = _native.rotate_key(log, signer, None if trust is None else trust.to_json())
    rotated = msgspec.json.decode(told, type=_Rotated)
    return rotated.rotations, None if rotated.trust is None else TrustFile.from_json(rotated.trust)

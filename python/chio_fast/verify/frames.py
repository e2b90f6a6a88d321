"""The container: one batch as bytes."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from chio_fast.verify import hashing, lz4
from chio_fast.verify.errors import MalformedError, VerifyError
from chio_fast.verify.records import MAX_COUNT, Checkpoint, parse_checkpoint

MAGIC = b"CHF1"
HEADER_LEN = 96
WITHHELD = 1 << 31
_NONE, _ZLIB, _LZ4 = range(3)
# zlib cannot expand by more (RFC 1951).
_MAX_EXPANSION = 1032


@dataclass(frozen=True)
class Frame:
    """A batch as it is read; nothing is verified yet but the container and the checkpoint's form.

    Attributes:
        checkpoint: The checkpoint.
        checkpoint_hash: Its hash.
        signature: Signature over it.
        attestation: The attestation's text, if there is one.
        bodies: The body at each place; None where it is withheld.
        leaves: The leaf at each place.
    """

    checkpoint: Checkpoint
    checkpoint_hash: bytes
    signature: bytes
    attestation: bytes | None
    bodies: list[bytes | None]
    leaves: list[bytes]


def split(stream: bytes) -> Iterator[bytes]:
    """Give the frames of a stream in order.

    Raises:
        VerifyError: frame, where no whole frame comes next.
    """
    view = memoryview(stream)
    at = 0
    while at < len(view):
        total = _header(bytes(view[at : at + HEADER_LEN]))[1]
        if at + total > len(view):
            raise VerifyError("frame", "stream ends within a frame")
        yield bytes(view[at : at + total])
        at += total


def decode(data: bytes) -> Frame:
    """Read one frame, which must be all of ``data``.

    Raises:
        VerifyError: frame or checkpoint.
    """
    compression, total, count, stored_len, raw_len, checkpoint_len, attestation_len = _header(data)
    if total != len(data) or HEADER_LEN + stored_len + checkpoint_len + attestation_len != total:
        raise VerifyError("frame", "parts do not make up the frame")
    signature = data[32:HEADER_LEN]
    checkpoint_at = HEADER_LEN + stored_len
    records = data[HEADER_LEN:checkpoint_at]
    if compression == _ZLIB:
        records = _inflate(records, raw_len)
    elif compression == _LZ4:
        try:
            records = lz4.decompress(records, raw_len)
        except MalformedError as error:
            raise VerifyError("frame", str(error)) from error
    elif raw_len != stored_len:
        raise VerifyError("frame", "records that are not compressed have two lengths")
    text = data[checkpoint_at : checkpoint_at + checkpoint_len]
    try:
        checkpoint = parse_checkpoint(text)
    except MalformedError as error:
        raise VerifyError("checkpoint", str(error)) from error
    if checkpoint.count != count:
        raise VerifyError("frame", "frame and checkpoint count differently")
    bodies, leaves = _records(records, count)
    return Frame(
        checkpoint=checkpoint,
        checkpoint_hash=hashing.keyed(hashing.CHECKPOINT, text),
        signature=signature,
        attestation=data[checkpoint_at + checkpoint_len :] or None,
        bodies=bodies,
        leaves=leaves,
    )


def _header(data: bytes) -> tuple[int, int, int, int, int, int, int]:
    if len(data) < HEADER_LEN:
        raise VerifyError("frame", "shorter than the header of a frame")
    magic, *fields = struct.unpack_from("<4s7I", data)
    if magic != MAGIC:
        raise VerifyError("frame", "not a frame: it does not start with `CHF1`")
    compression, total, count, stored_len, raw_len, checkpoint_len, attestation_len = fields
    if compression not in (_NONE, _ZLIB, _LZ4):
        raise VerifyError("frame", "unknown compression")
    if not 1 <= count <= MAX_COUNT:
        raise VerifyError("frame", "a frame has 1 to 1,048,576 records")
    if total < HEADER_LEN:
        raise VerifyError("frame", "parts are longer than the frame")
    return compression, total, count, stored_len, raw_len, checkpoint_len, attestation_len


def _inflate(stored: bytes, raw_len: int) -> bytes:
    if raw_len // _MAX_EXPANSION > len(stored):
        raise VerifyError("frame", "records cannot expand to the length that the frame says")
    decoder = zlib.decompressobj()
    try:
        raw = decoder.decompress(stored, raw_len + 1)
    except zlib.error as error:
        raise VerifyError("frame", "compressed records are damaged") from error
    if len(raw) != raw_len or not decoder.eof or decoder.unused_data:
        raise VerifyError("frame", "compressed records are damaged")
    return raw


def _records(records: bytes, count: int) -> tuple[list[bytes | None], list[bytes]]:
    """Read the bodies and leaves; the table must account for every byte, and padding is spaces."""
    if len(records) < 4 * count:
        raise VerifyError("frame", "table of lengths is cut off")
    bodies: list[bytes | None] = []
    leaves: list[bytes] = []
    at = 4 * count
    for length in struct.unpack_from(f"<{count}I", records):
        if length == WITHHELD:
            end = at + 32
            bodies.append(None)
            leaves.append(records[at:end])
        else:
            end = at + length + -length % hashing.BLOCK
            if not 0 < length < WITHHELD or end > len(records):
                raise VerifyError("frame", "empty or oversized body")
            if records[at + length : end].strip(b" "):
                raise VerifyError("frame", "a body is not padded with spaces")
            bodies.append(records[at : at + length])
            leaves.append(hashing.keyed(hashing.LEAF, records[at:end]))
        at = end
    if at != len(records):
        raise VerifyError("frame", "records are cut off, or bytes follow the last one")
    return bodies, leaves

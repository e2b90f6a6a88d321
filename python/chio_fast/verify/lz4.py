"""The LZ4 block format, reading only: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md."""

from chio_fast.verify.errors import MalformedError

_MIN_MATCH = 4
# A byte of the block adds at most 255 bytes to the length of a match.
_MAX_EXPANSION = 255


def decompress(block: bytes, raw_len: int) -> bytes:
    """Decompress a block to exactly ``raw_len`` bytes.

    A sequence is a token, literals and a match: a copy of bytes that were written before. The last sequence ends after
    its literals. The claim of ``raw_len`` is believed only as far as the block can expand, and is never exceeded.

    Raises:
        MalformedError: the block is cut off, refers to what is not there, or has another length.
    """
    if raw_len // _MAX_EXPANSION > len(block):
        raise MalformedError("records cannot expand to the length that the frame says")
    raw = bytearray()
    at = 0
    try:
        while True:
            token = block[at]
            literals, at = _length(block, at + 1, token >> 4)
            end = at + literals
            if end > len(block) or len(raw) + literals > raw_len:
                raise MalformedError("literals of a block are cut off or too long")
            raw += block[at:end]
            if end == len(block):
                break
            distance = block[end] | block[end + 1] << 8
            length, at = _length(block, end + 2, token & 15)
            _copy(raw, distance, length + _MIN_MATCH, raw_len)
    except IndexError as error:
        raise MalformedError("a block is cut off") from error
    if len(raw) != raw_len:
        raise MalformedError("a block is shorter than the frame says")
    return bytes(raw)


def _length(block: bytes, at: int, nibble: int) -> tuple[int, int]:
    """Read a length, and where it ends: 15 in the token is continued by bytes up to the first that is not 255."""
    if nibble == 15:
        while True:
            more = block[at]
            at += 1
            nibble += more
            if more != 255:
                break
    return nibble, at


def _copy(raw: bytearray, distance: int, length: int, limit: int) -> None:
    """Append ``length`` bytes from ``distance`` bytes before the end; what is copied may itself be copied again."""
    if not 1 <= distance <= len(raw) or len(raw) + length > limit:
        raise MalformedError("a match of a block refers to what is not there, or is too long")
    start = len(raw) - distance
    if distance >= length:
        raw += raw[start : start + length]
    else:
        raw += (bytes(raw[start:]) * (length // distance + 1))[:length]

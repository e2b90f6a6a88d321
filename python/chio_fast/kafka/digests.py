"""Digests of events, and whether content is what a receipt was given for."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from chio_fast._native import headers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_HEADER_NAMES = 10
"""Different header names of a record up to which every choice of them is tried."""
OWN_PREFIX = "X-Chio-"
"""How the names of headers begin that no digest covers, because they are added once the receipt is issued."""


def header_pairs(record: Any) -> list[tuple[str, Any]]:
    """Give the headers of a message or event, in order."""
    headers = headers_of(record) or []
    return list(headers.items() if isinstance(headers, dict) else headers)


def is_content_of(digest: str, record: Any) -> bool | None:
    """Say whether a record has a digest of a log without digest key; None if that cannot be told.

    Which headers the digest covers is up to the policy of then. All that bear a name count or none does, so every
    choice of names is tried.

    Args:
        digest: hexadecimal.
        record: a message or event.
    """
    headers = header_pairs(record)
    names = list(dict.fromkeys(name for name, _ in headers if not name.startswith(OWN_PREFIX)))
    if len(names) > MAX_HEADER_NAMES:
        return None
    choices = itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(len(names) + 1))
    key, value = record.key(), record.value()
    return any(
        event_digest(key, [pair for pair in headers if pair[0] in chosen], value) == digest for chosen in choices
    )


def event_digest(key: Any, headers: Sequence[tuple[str, Any]], value: Any) -> str:
    """Give the digest of an event, as `docs/receipt-format.md` defines it for a log without digest key."""
    parts = [b"\x01", _optional(key), len(headers).to_bytes(4, "little")]
    for name, content in headers:
        parts += [_sized(name.encode()), _optional(content)]
    encoding = b"".join([*parts, _optional(value)])
    return blake3(encoding + bytes(-len(encoding) % 64)).hexdigest()


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content


def _optional(content: Any) -> bytes:
    if content is None:
        return b"\0"
    return b"\x01" + _sized(content.encode() if isinstance(content, str) else bytes(content))

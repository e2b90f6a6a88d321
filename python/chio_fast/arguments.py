"""Arguments and results of tool calls as JSON: what the policy sees and the receipt digests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

# Sets are written in one order, so that equal documents and arguments are equal in every process.
_ordering = msgspec.json.Encoder(order="deterministic")
# That encoder takes keys that are strings and no others.
_encoder = msgspec.json.Encoder()


def encode_arguments(arguments: Any) -> bytes:
    """Write arguments as JSON.

    Raises:
        ValueError: they cannot be written, or hold NaN or an infinity, which JSON has not.
    """
    try:
        encoded = _encode(arguments)
        # msgspec writes NaN and the infinities as null, which the policy would take for a value that is not there.
        has_non_finite = b"null" in encoded and _has_non_finite(arguments)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"the arguments cannot be written as JSON: {error}") from None
    if has_non_finite:
        raise ValueError("the arguments hold NaN or an infinity, which JSON has not: pass it as a string")
    return encoded


def _encode(arguments: Any) -> bytes:
    try:
        return _ordering.encode(arguments)
    except TypeError:
        return _encoder.encode(arguments)


def encode_result(result: Any) -> bytes | None:
    """Write a result as JSON; None where that is not possible, so that it has no digest."""
    try:
        return encode_arguments(result)
    except Exception:  # noqa: BLE001 - a result may run code of its own, and fail; the call was made nevertheless
        return None


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, str | bytes | int | None):
        return False
    if isinstance(value, Mapping):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_non_finite, value))
    return _has_non_finite(msgspec.to_builtins(value))

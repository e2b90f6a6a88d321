"""Messages that no broker delivered: the client's own type, made from samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

SampleEvent = bytes | Mapping[str, Any]
"""The value alone, or a dictionary with any of `key`, `value` (bytes or None) and `headers` (list of pairs)."""


def sample_message(sample: SampleEvent, *, topic: str, offset: int) -> Message:
    """Make a message of partition 0 of `topic`; `offset` counts from 0."""
    fields: Mapping[str, Any] = sample if isinstance(sample, Mapping) else {"value": sample}
    return Message(
        topic=topic,
        partition=0,
        offset=offset,
        key=fields.get("key"),
        value=fields.get("value"),
        headers=fields.get("headers"),
        timestamp=(TIMESTAMP_CREATE_TIME, 0),
    )

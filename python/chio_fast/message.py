"""What counts as an event: anything with the accessors of a confluent_kafka Message, or a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

Headers = list[tuple[str, bytes | None]]
OutputHeaders = Iterable[tuple[str, bytes | str | None]] | Mapping[str, bytes | str | None]
"""Headers of an event to be produced, as a client takes them."""


class MessageLike(Protocol):
    """The accessors of a confluent_kafka Message that a decision reads."""

    def topic(self) -> str | None:
        """Name of the topic."""

    def partition(self) -> int | None:
        """Number of the partition."""

    def offset(self) -> int | None:
        """Offset within the partition."""

    def key(self) -> Any:
        """Key, bytes, str or None."""

    def value(self) -> Any:
        """Value, bytes, str or None."""

    def timestamp(self) -> tuple[int, int]:
        """Kind of timestamp (0: there is none) and Unix time in ms."""

    def headers(self) -> Any:
        """List of (name, value) pairs, or None."""


EventLike = MessageLike | Mapping[str, Any]
"""A message, or a dictionary with `topic` and any of `partition, offset, key, timestamp, headers, value`.

`key` and `value` are bytes, str or None; `timestamp` is Unix time in ms; `headers` is a list of (name, value) pairs
or a dictionary.
"""

"""Sending denied events again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chio_fast._native import Policy
from chio_fast.errors import ChioConfigError
from chio_fast.kafka.letters import HEADER_REDRIVEN
from chio_fast.kafka.producing import Feed

if TYPE_CHECKING:
    from chio_fast.kafka.letters import StoredLetter


class RedriveCounts(msgspec.Struct):
    """What became of the chosen denials.

    Attributes:
        topics: events sent, or that would be, by target topic.
        without_value: events that stay because the DLQ does not hold their value.
        still_denied: events that stay because the policy would not allow them.
        sent: whether they were sent.
    """

    topics: dict[str, int]
    without_value: int = 0
    still_denied: int = 0
    sent: bool = False


class Redrive:
    """One run of `dlq redrive`.

    Args:
        conf: settings of the client.
        to: target for all events; None for the topic that each came from.
        policy_file: send only what this policy allows; None for all.
        send: False only counts.
    """

    def __init__(self, conf: dict[str, Any], *, to: str | None, policy_file: str | None, send: bool) -> None:
        self._to = to
        self._policy = Policy.from_file(policy_file) if policy_file else None
        self._feed = Feed.from_config(conf) if send else None
        self._counts = RedriveCounts({}, sent=send)

    def take(self, stored: StoredLetter) -> None:
        """Send one event again, or count why not.

        Raises:
            ChioDeliveryError: an earlier event was not taken.
        """
        letter = stored.letter
        if letter is None:
            return
        try:
            key, value, headers = stored.original()
        except ChioConfigError:
            self._counts.without_value += 1
            return
        if not self._allowed(stored, key, value, headers):
            self._counts.still_denied += 1
            return
        target = self._to or letter.original_topic
        self._counts.topics[target] = self._counts.topics.get(target, 0) + 1
        if self._feed is not None:
            self._feed.send(target, key, value, [*headers, (HEADER_REDRIVEN, stored.place.encode())])

    def finish(self) -> RedriveCounts:
        """Wait for every acknowledgement.

        Raises:
            ChioDeliveryError: an event was not taken, or not acknowledged in time.
        """
        if self._feed is not None:
            self._feed.flush()
        return self._counts

    def _allowed(
        self, stored: StoredLetter, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
    ) -> bool:
        letter = stored.letter
        if self._policy is None or letter is None:
            return True
        event = {
            "topic": letter.original_topic,
            "partition": letter.original_partition,
            "offset": letter.original_offset,
            "timestamp": letter.original_timestamp,
            "key": key,
            "value": value,
            "headers": headers,
        }
        denial = letter.chio_denial
        return self._policy.decide(denial.identity, denial.scope_requested, event=event).allowed

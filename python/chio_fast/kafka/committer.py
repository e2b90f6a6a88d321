"""What intake and partitions need of whoever commits what they took in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from chio_fast._native import Event
    from chio_fast.kafka.assignment import Assigned, Key


class Committer(Protocol):
    """The group commit of a consumer, or the transactions of a processor; called on the thread that uses the client.

    Attributes:
        timeout: seconds that a revoke waits for what is on its way.
    """

    timeout: float

    @property
    def client(self) -> AbstractContextManager[Any]:
        """Held by whoever is inside the client."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that hand-out has to."""

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way, so that the client should be left soon."""

    def pump(self) -> None:
        """Do what is due on this thread; called outside the client."""

    def deny(self, events: Sequence[Event]) -> None:
        """Take over events that were denied."""

    def drain(self, timeout: float) -> None:
        """Wait until what is done with is committed."""

    def begun(self, assigned: Sequence[Assigned]) -> None:
        """Note that assignments have begun."""

    def ended(self, keys: Sequence[Key]) -> None:
        """Note that the assignments of `keys` have ended."""

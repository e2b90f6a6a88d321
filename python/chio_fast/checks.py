"""What an enforcer is asked, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from chio_fast.context import current_event
from chio_fast.decision import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chio_fast.message import EventLike


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request of `Enforcer.check_batch`; the members mean what the arguments of `Enforcer.check` mean."""

    scope: str
    identity: str | None = None
    kind: Kind | None = None
    event: Any = None
    tool: str | None = None
    arguments: Any = None
    output: Any = None
    parents: tuple[str, ...] = ()
    correlation: str | None = None

    @classmethod
    def of_call(
        cls,
        tool: str,
        scope: str,
        arguments: Mapping[str, Any] | None,
        *,
        identity: str | None = None,
        event: EventLike | None = None,
        parents: Sequence[str] = (),
        correlation: str | None = None,
    ) -> Self:
        """Ask for a tool call; the event is by default that of the `with event:` block around."""
        return cls(
            scope=scope,
            identity=identity,
            kind="invoke",
            event=event if event is not None else current_event(),
            tool=tool,
            # A copy, so that nobody changes between decision and call what the tool gets.
            arguments=dict(arguments or {}),
            parents=tuple(parents),
            correlation=correlation,
        )

    @property
    def boundary(self) -> Kind:
        """`kind`, or what follows from the other members."""
        if self.kind is not None:
            return self.kind
        if self.output is not None:
            return "produce"
        return "invoke" if self.tool is not None or self.arguments is not None else "consume"


class EnforcerStats(msgspec.Struct, frozen=True):
    """What an enforcer has done since it was built.

    Attributes:
        policy_version: of the policy by which it decides now.
        allowed: receipts of each verdict; denials by guards count as `denied`.
        denied: likewise.
        escalated: likewise.
        delayed: likewise.
        redecided: decisions made again because the policy changed or their time was over.
        guards_evaluated: how often a guard ran.
        guards_hung: guards that ran out of time and have not returned.
        reloads: policies taken over.
        reload_failures: policies refused, the former one kept.
        receipts_issued: receipts of the log, other enforcers of the process included.
        receipts_durable: those of them that are durable.
    """

    policy_version: str
    allowed: int
    denied: int
    escalated: int
    delayed: int
    redecided: int
    guards_evaluated: int
    guards_hung: int
    reloads: int
    reload_failures: int
    receipts_issued: int
    receipts_durable: int

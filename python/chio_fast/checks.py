"""What an enforcer is asked, and what it counts."""

from __future__ import annotations

from typing import Any

import msgspec

from chio_fast.decision import Kind


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

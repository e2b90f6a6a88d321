"""What governed consumers, producers and processors are all told when they are built: checked and completed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from chio_fast import settings
from chio_fast.enforcer import Enforcer
from chio_fast.errors import ChioConfigError
from chio_fast.kafka.assignment import require_topics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chio_fast._native import Policy, Signer, StrPath
    from chio_fast.guards import Guards
    from chio_fast.log import ReceiptLog
    from chio_fast.policy import PolicyWatcher

_sidecar_warned = False


def enforcer_for(
    *,
    enforcer: Enforcer | None,
    identity: str | None,
    policy: Policy | PolicyWatcher | StrPath | None,
    receipt_log: ReceiptLog | StrPath | None,
    signer: Signer | StrPath | None,
    guards: Guards | None,
) -> Enforcer:
    """Give the enforcer, the one passed or a new one.

    Raises:
        ChioConfigError: an enforcer and parts of one are both given, or there is no policy.
    """
    if enforcer is None:
        return Enforcer(policy, receipt_log=receipt_log, signer=signer, guards=guards, identity=identity)
    parts = {"policy": policy, "receipt_log": receipt_log, "signer": signer, "guards": guards}
    for name, value in parts.items():
        if value is not None:
            raise ChioConfigError(f"`enforcer` and `{name}` are both given; the enforcer has its own, leave one out")
    return enforcer


def identity_for(identity: str | None, enforcer: Enforcer | None) -> str:
    """Give who acts: the argument, else the enforcer's, else the environment's.

    Raises:
        ChioConfigError: nobody says.
    """
    found = identity or (enforcer.identity if enforcer else None) or settings.identity()
    if not found:
        raise ChioConfigError(f"nobody consumes: give `identity=`, or set the environment's `{settings.IDENTITY}`")
    return found


def check_topics(scope_map: Mapping[str, str] | None, dlq_topic: str | None) -> tuple[dict[str, str], str]:
    """Give scope map and DLQ topic, if they make sense.

    Raises:
        ChioConfigError: and what to write instead.
    """
    if not scope_map:
        raise ChioConfigError('there is no topic: write `scope_map={"orders": "events:consume:orders"}`')
    require_topics(scope_map)
    if not dlq_topic:
        raise ChioConfigError("denied events have nowhere to go: write `dlq_topic=`, the name of a topic for them")
    if dlq_topic in scope_map:
        raise ChioConfigError(
            f"`{dlq_topic}` is both consumed and the DLQ topic: each denial would be consumed and denied again; write "
            "the name of another topic"
        )
    return dict(scope_map), dlq_topic


def warn_of_sidecar(sidecar_url: str | None) -> None:
    """Say once per process that no sidecar is asked."""
    global _sidecar_warned  # noqa: PLW0603 - once per process is what it is for
    if sidecar_url is not None and not _sidecar_warned:
        _sidecar_warned = True
        warnings.warn(
            f"`sidecar_url={sidecar_url!r}` is not asked: decisions are made in this process, by the policy given as "
            f"`policy=` or in `{settings.POLICY}`",
            stacklevel=3,
        )

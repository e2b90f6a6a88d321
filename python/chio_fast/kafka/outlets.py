"""Who produces what to where: the decision about each event that a governed producer is given."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from chio_fast import context, settings
from chio_fast.errors import ChioConfigError, ChioDenied, ChioRevoked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from chio_fast._native import Check, Event, Gate, Outlet
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.outbox import Content, OnDelivery, Parcel
    from chio_fast.message import OutputHeaders

HOW_TO_IDENTIFY = (
    f"give `identity=`, set the environment variable `{settings.IDENTITY}`, or give `client.id` to `from_config`"
)


def fallback_identity(identity: str | None, enforcer: Enforcer | None, client_id: str | None) -> str | None:
    """Give who produces where neither `identity` nor an event says so; warn if nobody does."""
    fallback = (enforcer.identity if enforcer else settings.identity()) or client_id
    if not (identity or fallback):
        warnings.warn(f"nobody produces outside of handlers: {HOW_TO_IDENTIFY}", stacklevel=3)
    return fallback


class Outlets:
    """Decides on outputs by the scope of their topic, for whoever produces.

    Args:
        gate: decides.
        scope_map: the scope that each topic needs.
        identity: who produces, whatever is being handled; None for the identity of the event.
        fallback: who produces where neither says so; None for nobody.
        max_bytes: the client's `message.max.bytes`; None where it is not known.
        know: is told of every outlet that is open.

    Raises:
        ChioConfigError: there is no topic.
    """

    def __init__(
        self,
        gate: Gate,
        scope_map: Mapping[str, str] | None,
        *,
        identity: str | None,
        fallback: str | None,
        max_bytes: int | None,
        know: Callable[[Outlet], None],
    ) -> None:
        if not scope_map:
            raise ChioConfigError('there is no topic: write `scope_map={"results": "events:produce:results"}`')
        self.denied = 0
        self._gate = gate
        self._scopes = dict(scope_map)
        self._identity = identity
        self._fallback = fallback
        self._max_bytes = max_bytes
        self._know = know
        self._known: dict[tuple[str, str], Outlet] = {}

    def authorise(  # noqa: PLR0917 - what `produce` was given, passed on at its speed
        self,
        topic: str,
        value: Content,
        key: Content,
        partition: int,
        headers: OutputHeaders | None,
        timestamp: int,
        parents: Iterable[str],
        correlation: str | None,
    ) -> Check:
        """Decide on one output and issue its receipt, unless guards have to run first.

        Raises:
            ChioRevoked: the partition of the event being handled was revoked, lost or sought.
            TypeError: key, value or headers are of another type than the client takes.
            LogError: the receipt cannot be issued.
        """
        outlet, event, parents = self._aim(topic, parents)
        return self._gate.authorise(outlet, key, value, headers, partition, timestamp, event, parents, correlation)

    def decide_all(
        self, topic: str, messages: Iterable[Mapping[str, Any]], partition: int, on_delivery: OnDelivery | None
    ) -> tuple[list[Parcel], int]:
        """Decide on the messages of a batch, without receipts yet; give them with their size in bytes.

        What a message does not say, `partition` and `on_delivery` say. Raises what `authorise` and `size_of` raise.
        """
        parcels: list[Parcel] = []
        size = 0
        for message in messages:
            key, value = message.get("key"), message.get("value")
            outlet, event, parents = self._aim(topic, ())
            check = self._gate.output(
                outlet,
                key,
                value,
                message.get("headers"),
                message.get("partition", partition),
                message.get("timestamp", 0),
                event,
                parents,
            )
            parcels.append((check, message.get("on_delivery", message.get("callback", on_delivery))))
            size += self.size_of(topic, value, key)
        return parcels, size

    def size_of(self, topic: str, value: Content, key: Content) -> int:
        """Give the size of an output in bytes, headers left aside.

        Raises:
            KafkaException: the client would not take it.
        """
        size = len(value or b"") + len(key or b"")
        if self._max_bytes is not None and size > self._max_bytes:
            text = f"the message for topic `{topic}` is {size} bytes, and `message.max.bytes` is {self._max_bytes}"
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, text))
        return size

    def issue(self, checks: Sequence[Check]) -> Sequence[Check]:
        """Give outputs that are sent together their receipts; only to those that are not allowed, if there are any.

        Returns:
            Those with guards that have to run first; then no receipt was issued.
        """
        return self._gate.issue_checks([check for check in checks if not check.is_allowed] or checks)

    def require_allowed(self, checks: Sequence[Check]) -> None:
        """Raise unless all outputs with receipts are allowed.

        Raises:
            ChioDenied: one is not; the receipts of the others, if there are any, are taken back.
        """
        refused = [check for check in checks if not check.is_allowed]
        if refused:
            self.denied += len(refused)
            self._gate.rollback_checks([check for check in checks if check.is_allowed])
            raise ChioDenied(refused[0].decision)

    def _aim(self, topic: str, parents: Iterable[str]) -> tuple[Outlet, Event | None, Iterable[str]]:
        """Give the outlet for whoever produces now, the event being handled, and what led to the output beside it."""
        handling = context.current()
        if handling is None:
            event, identity = None, self._identity or self._fallback or ""
        else:
            event = handling.event
            if not event.is_current:
                raise ChioRevoked.of(event.request, f"nothing was produced to `{topic}`")
            identity = self._identity or event.identity
            if handling.calls:
                parents = (*parents, *handling.calls)
        outlet = self._known.get((topic, identity)) or self._outlet(topic, identity or settings.identity())
        return outlet, event, parents

    def _outlet(self, topic: str, identity: str | None) -> Outlet:
        """Make the outlet of a topic for an identity, or a closed one, which is not kept."""
        scope = self._scopes.get(topic)
        closed = None
        if not identity:
            closed = f"nobody produces: {HOW_TO_IDENTIFY}"
        elif scope is None:
            closed = f"topic `{topic}` has no scope: write `scope_map={{..., {topic!r}: 'events:produce:...'}}`"
        outlet = self._gate.outlet(
            topic, scope=scope or f"events:produce:{topic}", identity=identity or "", closed=closed
        )
        if closed is None and identity:
            self._known[topic, identity] = outlet
            self._know(outlet)
        return outlet

"""What handlers are held to, where `HandlerContext` of the extension has no short way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from chio_fast._native import Exits
from chio_fast.errors import ChioDeliveryError, ChioDenied, ChioError, ChioRevoked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Generator, Mapping

    from chio_fast._native import Check, HandlerContext, Outlet, Work
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.calls import EventCalls, ToolCaller
    from chio_fast.message import OutputHeaders

RECORD_OVERHEAD = 512
"""Bytes that headers and framing may add to an output."""

Value = Any
"""Bytes, a string or None are written as they are, everything else as JSON."""
BYTES_LIKE = (bytearray, memoryview)


class Done:
    """What a call gives that has done its work already: to await it is possible and not necessary."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


DONE = Done()


class Boundaries:
    """What all contexts of a processor share: where may be produced, and how tools are called.

    Args:
        enforcer: decides and issues.
        tools: makes the tool calls.
        outlets: by topic, what may be produced.
        max_bytes: by topic, the largest output, key and headers included.
    """

    def __init__(
        self, enforcer: Enforcer, tools: ToolCaller, outlets: Mapping[str, Outlet], max_bytes: Mapping[str, int]
    ) -> None:
        self.enforcer = enforcer
        self.gate = enforcer.gate
        self.tools = tools
        self.outlets = outlets
        self.max_bytes = max_bytes
        largest = {topic: limit - RECORD_OVERHEAD for topic, limit in max_bytes.items()}
        self.exits = Exits(self.gate, [(outlet, largest.get(topic)) for topic, outlet in outlets.items()], self, DONE)

    def closed(self, topic: str) -> Outlet:
        """Give the outlet of a topic without a scope, through which nothing comes."""
        why = f"topic `{topic}` has no scope: write `produce_scope_map={{..., {topic!r}: 'events:produce:...'}}`"
        return self.gate.outlet(topic, scope=f"events:produce:{topic}", identity=self.tools.identity, closed=why)

    def tools_for(self, ctx: HandlerContext) -> Tools:
        """Give the tools of the processor's enforcer, called on behalf of an event."""
        if ctx.made is None:
            ctx.made = self._calls_of(ctx)
        return Tools(ctx.work, ctx.made)

    def ended(self, ctx: HandlerContext) -> None:
        """Compare the tool calls of a handler that has made none with those of earlier attempts.

        Raises:
            ChioCallDiverged: the handler has not repeated a call.
        """
        self._calls_of(ctx).ended()

    def _calls_of(self, ctx: HandlerContext) -> EventCalls:
        """Begin the tool calls of an attempt; they hold its work, not its context, which holds them."""
        return self.tools.of(ctx.event, partial(require_current, ctx.work, ctx.attempt))

    def produce(  # noqa: PLR0917 - what `HandlerContext.produce` was given
        self,
        ctx: HandlerContext,
        topic: str,
        value: Value,
        key: bytes | str | None,
        headers: OutputHeaders | None,
        partition: int,
        timestamp: int,
        parents: Collection[str],
    ) -> Awaitable[None]:
        """Do what `HandlerContext.produce` does with an output that is not plain; it says what is raised."""
        require_current(ctx.work, ctx.attempt)
        event = ctx.event
        outlet = self.outlets.get(topic) or self.closed(topic)
        value = _encode(value)
        size, limit = len(value or b"") + len(_encode(key) or b""), self.max_bytes.get(topic)
        if limit is not None and size + RECORD_OVERHEAD > limit:
            raise ChioDeliveryError(
                f"the output of `{event.request}` is {size} bytes, topic `{topic}` takes {limit - RECORD_OVERHEAD}; "
                "produce less, or raise `message.max.bytes` of the client and `max.message.bytes` of the topic"
            )
        output = self.gate.output(outlet, key, value, headers, partition, timestamp, event, parents)
        if output.guards_due:
            if ctx.work.run.is_async:
                return self._guarded(ctx, output)
            self.enforcer.guards.run([output])
        self._keep(ctx, output)
        return DONE

    async def _guarded(self, ctx: HandlerContext, output: Check) -> None:
        await self.enforcer.guards.arun([output])
        self._keep(ctx, output)

    def _keep(self, ctx: HandlerContext, output: Check) -> None:
        require_current(ctx.work, ctx.attempt)
        if not output.is_allowed:
            self.gate.issue_checks([output])
            raise ChioDenied(output.decision)
        ctx.work.keep(output)


def require_current(work: Work, attempt: int) -> None:
    """Raise unless something may still be done for an attempt at an event.

    Raises:
        ChioRevoked: its partition was revoked, lost or sought.
        ChioError: the handler has returned or failed; what it has left running adds nothing to the next attempt.
    """
    event = work.event
    if not event.is_current:
        raise ChioRevoked.of(event.request, "it is handled again by whoever holds it")
    if not work.is_running(attempt):
        raise ChioError(f"the handler of `{event.request}` has returned; await what it starts")


class Tools:
    """Calls tools on behalf of one event."""

    __slots__ = ("_calls", "_work")

    def __init__(self, work: Work, calls: EventCalls) -> None:
        self._work = work
        self._calls = calls

    def invoke(
        self, tool: str, scope: str, arguments: Mapping[str, Any] | None = None, *, call_id: str | None = None
    ) -> Any:
        """Check a tool call, then run the tool and give what it returns; awaited in async handlers.

        Args:
            tool: name of the tool, as registered.
            scope: the permission that the call needs.
            arguments: keywords of the tool.
            call_id: the handler's own name for the call, the same whenever the event comes again, for calls that are
                made in no fixed order.

        Raises:
            ChioDenied: the call is not allowed; the tool did not run.
            ChioRevoked: the event's partition was revoked, lost or sought; the tool did not run.
            ChioError: the handler has returned or failed before the tool began.
            ChioCallUnknown: it is not known what became of the same call of an earlier attempt.
            Exception: whatever the tool raises.
        """
        self._calls.require_current()
        call = self._calls.ainvoke if self._work.run.is_async else self._calls.invoke
        return call(tool, scope, arguments, call_id)


def _encode(value: Value) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, BYTES_LIKE) else msgspec.json.encode(value)

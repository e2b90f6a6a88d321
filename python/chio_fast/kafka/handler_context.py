"""`ctx`: what a handler may do for the event that it handles, and is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chio_fast._native import Exits
from chio_fast.context import Handling
from chio_fast.errors import ChioDeliveryError, ChioDenied, ChioError, ChioRevoked
from chio_fast.kafka.work import RUNNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Generator, Mapping

    from chio_fast._native import Check, Outlet
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.calls import EventCalls, ToolCaller
    from chio_fast.kafka.work import Work
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
        self.exits = Exits(self.gate, [(outlet, largest.get(topic)) for topic, outlet in outlets.items()])

    def closed(self, topic: str) -> Outlet:
        """Give the outlet of a topic without a scope, through which nothing comes."""
        why = f"topic `{topic}` has no scope: write `produce_scope_map={{..., {topic!r}: 'events:produce:...'}}`"
        return self.gate.outlet(topic, scope=f"events:produce:{topic}", identity=self.tools.identity, closed=why)


class HandlerContext(Handling):
    """What a handler gets beside its event.

    Attributes:
        event: the event that is handled.
    """

    _work: Work
    _boundaries: Boundaries
    _attempt: int
    _made: EventCalls | None = None

    @property
    def chio(self) -> Tools:
        """The tools of the processor's enforcer, called on behalf of this event."""
        if self._made is None:
            self._made = self._boundaries.tools.of(self.event, self._require_current)
        return Tools(self._work, self._made)

    @property
    def receipt(self) -> str:
        """Id of the consume receipt, which becomes visible in the log with the transaction."""
        return self.event.chio_receipt_id or ""

    @property
    def trace(self) -> bytes | None:
        """The event's `traceparent` header, which outputs carry on, or None."""
        return self.event.trace

    def produce(
        self,
        topic: str,
        value: Value = None,
        key: bytes | str | None = None,
        *,
        headers: OutputHeaders | None = None,
        partition: int = -1,
        timestamp: int = 0,
    ) -> Awaitable[None]:
        """Produce an event in the transaction that commits the one being handled; decided at once.

        It may be awaited, in async handlers, or not, in sync ones.

        Args:
            topic: one of the topics of `produce_scope_map`.
            value: bytes, a string or None are written as they are, everything else as JSON.
            key: its key.
            headers: its headers; receipt id, scope and trace are added.
            partition: -1 for the partitioner's choice.
            timestamp: Unix ms; 0 for now.

        Raises:
            ChioDenied: it is not allowed, or the topic has no scope; nothing is produced, the receipt says so.
            ChioRevoked: the event's partition was revoked, lost or sought; the event is handled again elsewhere.
            ChioError: the handler has returned or failed before.
            ChioDeliveryError: the event is larger than the cluster takes.
        """
        made, boundaries, work = self._made, self._boundaries, self._work
        parents = self.calls if made is None else (*self.calls, *made.receipts)
        output = boundaries.exits.output(self.event, topic, value, key, headers, partition, timestamp, parents or None)
        if output is not None and work.state == RUNNING and work.attempts == self._attempt:
            work.outputs += (output,)
            return DONE
        self._require_current()
        output = self._decide(topic, value, key, headers, partition, timestamp, parents)
        if output.guards_due:
            if work.run.is_async:
                return self._guarded(output)
            boundaries.enforcer.guards.run([output])
        self._keep(output)
        return DONE

    def end(self) -> None:
        """Compare the tool calls with those of earlier attempts, now that the handler has returned.

        Raises:
            ChioCallDiverged: the handler has not repeated a call.
        """
        if self._made is not None:
            self._made.ended()
            return
        run, event = self._work.run, self.event
        if run.begun is None:
            run.begun = self._boundaries.tools.begun(event)
        if run.begun and event.offset() in run.begun:
            self._boundaries.tools.of(event, self._require_current).ended()

    def _decide(  # noqa: PLR0917 - what `produce` was given
        self,
        topic: str,
        value: Value,
        key: bytes | str | None,
        headers: OutputHeaders | None,
        partition: int,
        timestamp: int,
        parents: Collection[str],
    ) -> Check:
        """Decide on an output that `Exits` does not give.

        Raises:
            ChioDeliveryError: it is larger than the cluster takes.
        """
        event, boundaries = self.event, self._boundaries
        outlet = boundaries.outlets.get(topic) or boundaries.closed(topic)
        value = _encode(value)
        size, limit = len(value or b"") + len(_encode(key) or b""), boundaries.max_bytes.get(topic)
        if limit is not None and size + RECORD_OVERHEAD > limit:
            raise ChioDeliveryError(
                f"the output of `{event.request}` is {size} bytes, topic `{topic}` takes {limit - RECORD_OVERHEAD}; "
                "produce less, or raise `message.max.bytes` of the client and `max.message.bytes` of the topic"
            )
        return boundaries.gate.output(outlet, key, value, headers, partition, timestamp, event, parents)

    async def _guarded(self, output: Check) -> None:
        await self._boundaries.enforcer.guards.arun([output])
        self._keep(output)

    def _keep(self, output: Check) -> None:
        self._require_current()
        if not output.is_allowed:
            self._boundaries.gate.issue_checks([output])
            raise ChioDenied(output.decision)
        self._work.outputs += (output,)

    def _require_current(self) -> None:
        """Raise unless something may still be done for this attempt at the event.

        Raises:
            ChioRevoked: its partition was revoked, lost or sought.
            ChioError: the handler has returned or failed; what it has left running adds nothing to the next attempt.
        """
        work = self._work
        if not work.event.is_current:
            raise ChioRevoked.of(work.event.request, "it is handled again by whoever holds it")
        if work.state != RUNNING or work.attempts != self._attempt:
            raise ChioError(f"the handler of `{work.event.request}` has returned; await what it starts")


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

"""One tool call of a handler, as the journal keeps it: begun, answered from before, or refused."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from chio_fast import steps
from chio_fast.errors import ChioCallDiverged, ChioCallUnknown, ChioError
from chio_fast.kafka.journal import Call
from chio_fast.tools import Answer, Note

if TYPE_CHECKING:
    from chio_fast._native import Check, Event
    from chio_fast.kafka.calls import EventCalls, ToolCaller
    from chio_fast.kafka.journal import Recorded
    from chio_fast.steps import Steps
    from chio_fast.tools import Tool

log = logging.getLogger("chio_fast.kafka")

CONTEXT = "chio_fast v1 idempotency key of a tool call"
MAX_RESULT = 4 << 20
"""Bytes of JSON beyond which a result is not kept in full."""
ADVICE = (
    "make handlers repeat their calls, name those made in no fixed order by `call_id`, or write `on_divergence='call'`"
)


def idempotency_key(request: bytes, tool: str, arguments: bytes, *, occurrence: int, call_id: str | None) -> bytes:
    """Give the key of one call, which is the same whenever its event comes again.

    BLAKE3 in key derivation mode over the parts, each preceded by its length as u64, little endian.

    Args:
        request: request key of the event.
        tool: name of the tool.
        arguments: BLAKE3 of the arguments' JSON.
        occurrence: which of the event's calls of this tool with these arguments it is, from 1.
        call_id: the handler's own name for it, instead of the occurrence.
    """
    which = (b"occurrence", b"%d" % occurrence) if call_id is None else (b"call_id", call_id.encode())
    hasher = blake3(derive_key_context=CONTEXT)
    for part in (request, tool.encode(), arguments, *which):
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def counts(former: Recorded) -> bool:
    """Whether a recorded call may have done anything."""
    return former.state != "failed"


def spell(former: Recorded) -> str:
    """Say of a recorded call what and when it was."""
    time = datetime.fromtimestamp(former.started / 1000, UTC).isoformat(timespec="milliseconds")
    return f"tool `{former.call.tool}` was called by {former.call.receipt} at {time}"


class KeptCall:
    """One call, kept in the journal; a `Keeper`.

    Attributes:
        key: see `Keeper`.
        note: likewise.
        over: done when the call is made no more.
        place: see `Call`.
    """

    __slots__ = ("_call", "_caller", "_calls", "_event", "_former", "_tool", "key", "note", "over", "place")

    def __init__(
        self, caller: ToolCaller, calls: EventCalls, event: Event, place: tuple[int | None, str | None]
    ) -> None:
        self.key: str | None = None
        self.note = Note()
        self.over: Future[None] = Future()
        self.over.set_running_or_notify_cancel()  # whoever waits cannot cancel it
        self.place = place
        self._caller = caller
        self._calls = calls
        self._event = event
        self._call: Call
        self._tool: Tool
        self._former: Recorded | None = None

    def begin(self, check: Check, tool: Tool) -> Steps[Answer | None]:
        """Name the call; answer it from the journal, or record that it begins."""
        event, calls, journal = self._event, self._calls, self._caller.journal
        calls.require_current()
        receipt = check.receipt_id or ""
        calls.receipts.append(receipt)
        arguments = blake3(check.arguments or b"").digest()
        position, call_id = self.place
        occurrence = 0 if call_id is not None else calls.occurrence(tool.name, arguments)
        key = idempotency_key(event.request_key or b"", tool.name, arguments, occurrence=occurrence, call_id=call_id)
        self.key = key.hex()
        self._tool = tool
        if journal is None:
            return None
        self._call = Call(
            event.partition_key or b"",
            event.offset(),
            key,
            event.digest,
            position,
            call_id,
            tool.name,
            check.scope,
            check.identity,
            receipt,
        )
        # An attempt before this one may be in the midst of the same call: what it gives is known in a moment.
        for other in self._caller.left_behind(calls):
            yield steps.future(other.over)
        self._caller.begins(self, calls)
        answer = self._settle(calls.repeat(key))
        if answer is None and not (yield steps.future(journal.start(self._call, self._former))):
            raise ChioError(f"{event.request}: another attempt at the event has just begun to call tool `{tool.name}`")
        return answer

    def complete(self, result: Any, encoded: bytes | None) -> Steps[Any]:
        """Record what the call gave, and give that as a call that is answered from the journal would."""
        journal, tool = self._caller.journal, self._tool
        if journal is None:
            return result
        value, kept = self._keep(result, encoded) if tool.result == "full" else (result, None)
        digest = None if encoded is None or tool.result == "off" else blake3(encoded).digest()
        former = self._former
        if former is not None and former.digest not in {None, digest} and former.state == "completed":
            self.note = self.note._replace(reason=f"{self.note.reason}; the result is another one")
        yield steps.future(journal.complete(self._call, result=kept, digest=digest))
        return value

    def fail(self, error: Exception) -> Steps[None]:
        """Record that the tool raised."""
        if self._caller.journal is not None:
            yield steps.future(self._caller.journal.fail(self._call, type(error).__name__))

    def _settle(self, former: Recorded | None) -> Answer | None:
        """Give the answer of a call that was recorded, or None if the call is to be made."""
        call = self._call
        if former is not None and (former.call.scope, former.call.identity) == (call.scope, call.identity):
            self._former = former
            return self._repeat(former)
        self._former = former  # another call with the same key, if any, is replaced
        other = former or self._calls.in_place_of(call)
        if other is not None:
            self._caller.diverged += 1
            self.note = Note(f"diverged: {spell(other)}", (other.call.receipt,))
            log.warning("%s: tool `%s` is called where %s", self._event.request, call.tool, spell(other))
            if self._caller.on_divergence == "stop":
                raise self._calls.refused(
                    ChioCallDiverged(
                        f"{self._event.request}: tool `{call.tool}` is called with scope `{call.scope}` where "
                        f"{spell(other)}; {ADVICE}"
                    ),
                    stop=True,
                )
        return None

    def _repeat(self, former: Recorded) -> Answer | None:
        caller, tool = self._caller, self._tool
        if former.state == "failed":
            self.note = Note(f"called again: {spell(former)} and failed with {former.error}", (former.call.receipt,))
            return None
        if former.result is not None:
            try:
                answer = Answer(tool.decoder.decode(former.result), former.result)
            except msgspec.MsgspecError as error:
                caller.warn_once(tool.name, f"what was kept is not what the tool says it returns: {error}")
            else:
                caller.replayed += 1
                self.note = Note(f"replayed: {spell(former)}", (former.call.receipt,))
                return answer
        caller.unknown += 1
        why = "its result was not kept" if former.state == "completed" else "whether it did its work is not known"
        self.note = Note(f"{tool.on_unknown}: {spell(former)}, {why}", (former.call.receipt,))
        if tool.on_unknown == "call again":
            return None
        refusal = ChioCallUnknown(
            f"{self._event.request}: {spell(former)}, {why}; look what the tool did, or register it with "
            "`on_unknown='call again'` if it can be called twice with one idempotency key"
        )
        raise self._calls.refused(refusal, stop=tool.on_unknown == "stop")

    def _keep(self, result: Any, encoded: bytes | None) -> tuple[Any, bytes | None]:
        """Give the result as it will be read from the journal, and what is kept there."""
        name = self._tool.name
        if encoded is None:
            self._caller.warn_once(name, "they cannot be written as JSON; return what can, or write `result='off'`")
            return result, None
        if len(encoded) > MAX_RESULT:
            self._caller.warn_once(name, f"one has {len(encoded)} bytes; return less, or write `result='digest'`")
            return result, None
        try:
            return self._tool.decoder.decode(encoded), encoded
        except msgspec.MsgspecError as error:
            self._caller.warn_once(name, f"they are not what the tool says it returns: {error}")
            return result, None

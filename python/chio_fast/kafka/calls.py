"""Tool calls of handlers: an event that comes again is answered with what its calls gave before.

A call is the same as one before if tool, arguments, scope, identity and the event's key and value are, and the policy
of now allows it. Its idempotency key says which of the event's equal calls it is.
"""

from __future__ import annotations

import itertools
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from chio_fast.checks import CheckRequest
from chio_fast.errors import (
    ChioCallDiverged,
    ChioConfigError,
    ChioDenied,
    ChioError,
    GuardError,
    JournalError,
    LogError,
)
from chio_fast.kafka.keeping import ADVICE, KeptCall, counts, spell
from chio_fast.tools import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping

    from chio_fast._native import Event
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.journal import Call, Journal, Recorded

log = logging.getLogger("chio_fast.kafka")

OnDivergence = Literal["stop", "call"]

FATAL = (ChioConfigError, GuardError, JournalError, LogError)
"""What no handler can do anything about, and no other event would fare better with."""


class ToolCaller:
    """Calls tools for the handlers of a processor.

    Args:
        enforcer: decides, and knows the tools.
        identity: who acts.
        journal: keeps the calls; None if calls of events that come again are to be made again.
        on_divergence: what to do when a handler does not repeat the calls that it made before. `stop`: the processor
            stops; `call`: the call is made, and a receipt names the one before.
        stop: stops the processor with an error.

    Attributes:
        replayed: calls that were answered from the journal.
        unknown: calls of which it was not known what became of them.
        diverged: calls that were not those recorded, or were recorded and not repeated.

    Raises:
        ChioConfigError: `on_divergence` is no such word.
    """

    def __init__(
        self,
        enforcer: Enforcer,
        identity: str,
        journal: Journal | None,
        *,
        on_divergence: OnDivergence = "stop",
        stop: Callable[[BaseException], None],
    ) -> None:
        if on_divergence not in get_args(OnDivergence):
            raise ChioConfigError(f"`on_divergence` is `{on_divergence}`; write `stop` or `call`")
        self.enforcer = enforcer
        self.identity = identity
        self.journal = journal
        self.on_divergence = on_divergence
        self.stop = stop
        self.replayed = 0
        self.unknown = 0
        self.diverged = 0
        self._begun: dict[bytes, tuple[int | None, set[int]]] = {}  # guarded by the lock, as is what it holds
        self._lock = threading.Lock()
        self._under_way: dict[tuple[bytes, int], dict[KeptCall, EventCalls]] = {}  # by event; guarded by the lock
        self._warned: set[str] = set()

    def of(self, event: Event, require_current: Callable[[], None]) -> EventCalls:
        """Begin an attempt at an event: what its handler calls tools with.

        Args:
            event: the event.
            require_current: raises once the attempt is over.
        """
        return EventCalls(self, event, require_current)

    def begins(self, kept: KeptCall, calls: EventCalls) -> None:
        """Note that a call of an attempt is being made, until `ends`."""
        with self._lock:
            self._under_way.setdefault(calls.place, {})[kept] = calls

    def ends(self, kept: KeptCall, calls: EventCalls) -> None:
        """Note that it is made no more, whatever came of it."""
        with self._lock:
            others = self._under_way.get(calls.place, {})
            others.pop(kept, None)
            if not others:
                self._under_way.pop(calls.place, None)
        kept.over.set_result(None)

    def left_behind(self, calls: EventCalls) -> list[KeptCall]:
        """Give the calls that attempts at the same event before this one are still making."""
        with self._lock:
            return [kept for kept, owner in self._under_way.get(calls.place, {}).items() if owner is not calls]

    def committed(self, offsets: Mapping[bytes, int]) -> None:
        """Forget the calls of committed events: partition key → the next offset."""
        if self.journal is None:
            return
        forgotten = {}
        with self._lock:
            for partition, offset in offsets.items():
                _, begun = self._begun.get(partition, (None, None))
                if begun is None:
                    forgotten[partition] = offset
                elif over := [other for other in begun if other < offset]:
                    forgotten[partition] = offset
                    begun.difference_update(over)  # others hold it, see `begun`
        if forgotten:
            self.journal.committed(forgotten)

    def has_begun(self, event: Event, *, begins: bool = False) -> bool:
        """Whether calls of an event may be recorded; `begins` notes that they are from now on."""
        if self.journal is None:
            return False
        offset = event.offset()
        with self._lock:
            begun = self._begun_beside(event, self.journal)
            found = offset in begun
            if begins:
                begun.add(offset)
            return found

    def begun(self, event: Event) -> Collection[int]:
        """Give the offsets of an event's partition for which calls may be recorded.

        What is given changes with what begins and what is committed; it is right for events with the same stamp.
        """
        if self.journal is None:
            return ()
        with self._lock:
            return self._begun_beside(event, self.journal)

    def _begun_beside(self, event: Event, journal: Journal) -> set[int]:
        """Give the set of a partition; the journal, which others of the host write as well, is read once per stamp."""
        partition, stamp = event.partition_key or b"", event.stamp
        known, begun = self._begun.get(partition, (None, set[int]()))
        if known != stamp:
            begun |= journal.offsets(partition)
            self._begun[partition] = stamp, begun
        return begun

    def warn_once(self, tool: str, message: str) -> None:
        """Say of a tool that its results cannot be kept."""
        if tool not in self._warned:
            self._warned.add(tool)
            log.warning("results of tool `%s` are not kept, so its calls are not answered from them: %s", tool, message)


class EventCalls:
    """The tool calls of one attempt at an event; a handler may make several at a time.

    Attributes:
        place: partition key and offset of the event.
        receipts: ids of the receipts of the allowed calls, in the order in which they began.
        require_current: raises once the attempt is over.
    """

    __slots__ = (
        "_caller",
        "_denied",
        "_event",
        "_ids",
        "_lock",
        "_occurrences",
        "_positions",
        "_recorded",
        "_refusal",
        "_repeated",
        "place",
        "receipts",
        "require_current",
    )

    def __init__(self, caller: ToolCaller, event: Event, require_current: Callable[[], None]) -> None:
        self.place = event.partition_key or b"", event.offset()
        self.receipts: list[str] = []
        self.require_current = require_current
        self._caller = caller
        self._denied: set[tuple[int | None, str | None]] = set()
        self._event = event
        self._ids: set[str] = set()
        self._lock = threading.Lock()
        self._occurrences: dict[tuple[str, bytes], Iterator[int]] = {}
        self._positions = itertools.count(1)
        self._recorded: dict[bytes, Recorded] | None = None
        self._refusal: ChioError | None = None
        self._repeated: set[bytes] = set()

    def invoke(
        self, tool: str, scope: str, arguments: Mapping[str, Any] | None = None, call_id: str | None = None
    ) -> Any:
        """Check a call, run the tool or answer from the journal, and give the result; blocks.

        Args:
            tool: name of the tool.
            scope: the permission that the call needs.
            arguments: keywords of the tool.
            call_id: the handler's own name for the call, the same whenever the event comes again, for calls that are
                made in no fixed order.

        Raises:
            ChioDenied: the call is not allowed.
            ChioRevoked: the event's partition was revoked, lost or sought.
            ChioCallUnknown: it is not known what became of the call before.
            ChioCallDiverged: another call was recorded in its place.
            ValueError: `call_id` was used before, or the arguments cannot be written as JSON.
            ChioConfigError: there is no such tool; the processor stops.
            Exception: whatever the tool raises.
        """
        request, kept = self._prepare(tool, scope, arguments, call_id)
        with self._guarding(kept):
            return self._caller.enforcer.tools.run(request, kept)

    def ainvoke(
        self, tool: str, scope: str, arguments: Mapping[str, Any] | None = None, call_id: str | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Do what `invoke` does without blocking the loop; the order of calls is that in which this is called."""
        return self._ainvoke(*self._prepare(tool, scope, arguments, call_id))

    def ended(self) -> None:
        """Look for calls that were recorded and that the handler, which has returned, did not repeat.

        Raises:
            ChioCallDiverged: there are some, and `on_divergence` is `stop`.
            ChioError: a call was refused for such a reason before, and the handler went on nevertheless.
        """
        caller = self._caller
        if self._refusal is not None:
            raise self._refusal
        if not caller.has_begun(self._event):
            return
        missing = [former for key, former in self.recorded().items() if key not in self._repeated]
        missing = [former for former in missing if counts(former) and former.call.place not in self._denied]
        for former in missing:
            caller.diverged += 1
            note = Note(f"diverged: {spell(former)} and was not repeated", _receipts(former, self._event))
            request = self._request(former.call.tool, former.call.scope, None)
            caller.enforcer.tools.remark(caller.enforcer.request(request), note)
            log.warning("%s: %s", self._event.request, note.reason)
        if missing and caller.on_divergence == "stop":
            raise self.refused(
                ChioCallDiverged(f"{self._event.request}: {spell(missing[0])} and was not repeated; {ADVICE}"),
                stop=True,
            )

    def recorded(self) -> dict[bytes, Recorded]:
        """Give the calls of attempts before this one by their keys, without those for another content of the event."""
        with self._lock:
            if self._recorded is None:
                journal, event = self._caller.journal, self._event
                rows: list[Recorded] = []
                if journal is not None and self._caller.has_begun(event, begins=True):
                    rows = journal.recorded(event.partition_key or b"", event.offset())
                self._recorded = {row.call.key: row for row in rows if row.call.event == event.digest}
            return self._recorded

    def in_place_of(self, call: Call) -> Recorded | None:
        """Give the call that was recorded where `call` is made now."""
        same_place = [
            former for former in self.recorded().values() if former.call.place == call.place and counts(former)
        ]
        return max(same_place, key=lambda former: former.started, default=None)

    def repeat(self, key: bytes) -> Recorded | None:
        """Give the call recorded with this key, which is repeated now."""
        self._repeated.add(key)
        return self.recorded().get(key)

    def occurrence(self, tool: str, arguments: bytes) -> int:
        """Count the calls of one tool with the same arguments."""
        return next(self._occurrences.setdefault((tool, arguments), itertools.count(1)))

    def refused(self, error: ChioError, *, stop: bool) -> ChioError:
        """Give `error` to be raised, and let the handler fail even if it goes on.

        Args:
            error: why a call is neither made nor answered.
            stop: whether the processor stops.
        """
        self._refusal = error
        if stop:
            self._caller.stop(error)
        return error

    def _prepare(
        self, tool: str, scope: str, arguments: Mapping[str, Any] | None, call_id: str | None
    ) -> tuple[CheckRequest, KeptCall]:
        if call_id is not None:
            if call_id in self._ids:
                raise ValueError(
                    f"`call_id` {call_id!r} was used for another call of {self._event.request}; write another"
                )
            self._ids.add(call_id)
        place = (next(self._positions) if call_id is None else None, call_id)
        return self._request(tool, scope, arguments), KeptCall(self._caller, self, self._event, place)

    def _request(self, tool: str, scope: str, arguments: Mapping[str, Any] | None) -> CheckRequest:
        return CheckRequest.of_call(tool, scope, arguments, identity=self._caller.identity, event=self._event)

    @contextmanager
    def _guarding(self, kept: KeptCall) -> Iterator[None]:
        """Stop the processor for what is no fault of the event; remember that a call was repeated and not allowed."""
        try:
            yield
        except ChioDenied:
            self._denied.add(kept.place)
            raise
        except FATAL as error:
            self.refused(error, stop=True)
            raise
        finally:
            self._caller.ends(kept, self)

    async def _ainvoke(self, request: CheckRequest, kept: KeptCall) -> Any:
        with self._guarding(kept):
            return await self._caller.enforcer.tools.arun(request, kept)


def _receipts(former: Recorded, event: Event) -> tuple[str, ...]:
    return tuple(filter(None, (former.call.receipt, event.chio_receipt_id)))

"""The event that is being handled, so that what happens meanwhile can name what led to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self, TypeAlias

import msgspec

from chio_fast._native import Event, HandlerContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from chio_fast._native import Check

MAX_CALLS = 15
"""Tool calls of one event that its outputs name as parents at most, the latest ones; with the event itself these are
as many parents as a receipt holds."""


class Handling(msgspec.Struct, eq=False):
    """One event that is being handled, from `enter` to `leave`; tasks that the handler starts share it.

    Attributes:
        event: the event.
        calls: ids of the receipts of the tool calls that were made for it so far, the latest ones.
    """

    event: Event
    calls: Collection[str]

    __repr__ = object.__repr__  # that of a struct shows what it holds

    def note_call(self, receipt_id: str) -> None:
        """Remember the receipt of a tool call that was allowed."""
        if not isinstance(self.calls, deque):
            self.calls = deque(maxlen=MAX_CALLS)  # most events need none
        self.calls.append(receipt_id)


AnyHandling: TypeAlias = Handling | HandlerContext
"""The former for a consumer's events, the latter for those of a processor."""

_handled: ContextVar[tuple[AnyHandling, ...]] = ContextVar("chio_fast_handled_events", default=())


def current() -> AnyHandling | None:
    """Give what is being handled by this code, in this task or thread: the innermost one."""
    handled = _handled.get()
    return handled[-1] if handled else None


def current_event() -> Event | None:
    """Give the event that is being handled by this code, in this task or thread: the innermost one."""
    handled = _handled.get()
    return handled[-1].event if handled else None


def handling_of(event: object) -> AnyHandling | None:
    """Give the innermost handling of `event` around this code, in this task or thread."""
    for handling in reversed(_handled.get()):
        if handling.event is event:
            return handling
    return None


def enter(event: Event) -> Handling:
    """Begin handling `event`; the extension calls this for `with event:`."""
    handling = Handling(event, ())
    _handled.set((*_handled.get(), handling))
    return handling


turn_to = _handled.set
"""Handle the last one of a tuple from now on, for code that handles one event after the other.

What the former event's handler has started keeps to that event: tasks have a context of their own.
"""


def rest() -> None:
    """Handle nothing from now on."""
    _handled.set(())


def leave(event: Event) -> None:
    """End the innermost handling of `event`; nothing happens if there is none."""
    handled = _handled.get()
    if handled and handled[-1].event is event:
        _handled.set(handled[:-1])
        return
    handling = handling_of(event)
    _handled.set(tuple(other for other in handled if other is not handling))


class HandledEvents:
    """Hands out events to `async for`; each is the handled one until the next, or until the loop is left.

    No asynchronous generator, because what one has to do when its loop is left runs later, in a task and a context of
    its own (PEP 525). This object is dropped by the loop that is left, in the context of that loop.

    Args:
        take: gives the next event; None if there will be none any more.
    """

    __slots__ = ("_event", "_take")

    def __init__(self, take: Callable[[], Awaitable[Event | None]]) -> None:
        self._take = take
        self._event: Event | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self._leave()
        event = await self._take()
        if event is None:
            raise StopAsyncIteration
        enter(event)
        self._event = event
        return event

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._event is not None:
            leave(self._event)
            self._event = None


def note_calls(checks: Iterable[Check]) -> None:
    """Remember the allowed tool calls among `checks` for the events for which they were made."""
    for check in checks:
        if check.kind == "invoke" and check.is_allowed and check.receipt_id:
            handling = handling_of(check.event)
            if handling is not None:
                handling.note_call(check.receipt_id)

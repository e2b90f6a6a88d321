"""The event that is being handled, so that what happens meanwhile can name its receipt as parent."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chio_fast._native import Event

_handled: ContextVar[tuple[Event, ...]] = ContextVar("chio_fast_handled_events", default=())


def current_event() -> Event | None:
    """Give the innermost event of a `with event:` block around this code, in this task or thread."""
    handled = _handled.get()
    return handled[-1] if handled else None


def enter(event: Event) -> None:
    """Begin handling `event`; the extension calls this for `with event:`."""
    _handled.set((*_handled.get(), event))


def leave() -> None:
    """End handling the innermost event."""
    _handled.set(_handled.get()[:-1])

"""One event that is being handled: its state, its outputs, what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from chio_fast.kafka.envelope import Form

if TYPE_CHECKING:
    from chio_fast._native import Check, Event
    from chio_fast.kafka.runs import Run

WAITING, RUNNING, FINISHED, DROPPED = range(4)
"""States of a work: its handler has not begun, runs, is done with it; nothing of it will be committed."""
FULL = Form.FULL
"""Looked up once: members of an enumeration are slow to find, and every event asks for this one."""


class Failure(NamedTuple):
    """Why a handler, or the cluster, could not be done with an event.

    Attributes:
        type: name of the exception, or of the client's error.
        message: what it said.
        attempts: how often the event was tried.
    """

    type: str
    message: str
    attempts: int


class Work:
    """One event that is being handled.

    Written by the worker that runs its handler; from `FINISHED` on it is read by the transaction thread alone.

    Attributes:
        event: the event.
        run: the run that it is part of.
        denied: whether the event was denied, so that no handler sees it and its output is a DLQ record.
        state: see the constants; changed under the lock of the runs.
        outputs: what the handler produced, as it was decided; the receipts follow when the work is attested.
        failure: why it goes to the error topic instead of having outputs.
        form: how much of the event its DLQ or error record holds.
        lane: key whose events are handled in order.
        follower: the next work of the same lane, if there is one.
        attempts: how often its handler has failed, as far as this process knows.
        is_suspect: whether its handler may have ended the process before, so that it waits for its turn.
        tried: how often it was counted before this process took it.
    """

    __slots__ = (
        "attempts", "denied", "event", "failure", "follower", "form", "is_suspect", "lane", "outputs", "run", "state",
        "tried",
    )  # fmt: skip

    def __init__(self, event: Event, run: Run, *, denied: bool) -> None:
        self.event = event
        self.run = run
        self.denied = denied
        self.state = FINISHED if denied else WAITING
        self.outputs: tuple[Check, ...] = ()
        self.failure: Failure | None = None
        self.form: Form = FULL
        self.lane: object = None
        self.follower: Work | None = None
        self.attempts = 0
        self.is_suspect = False
        self.tried = 0

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return (*self.run.key, self.event.offset())

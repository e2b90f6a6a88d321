"""One event that is being handled, and the run of its partition that it is part of."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from chio_fast._native import Check, Event
from chio_fast.kafka.envelope import Form

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chio_fast.kafka.assignment import Assigned
    from chio_fast.kafka.runs import Runs

WAITING, RUNNING, FINISHED, DROPPED = range(4)
"""States of a work: its handler has not begun, runs, is done with it; nothing of it will be committed."""


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


class Run:
    """What was taken of one partition since it was assigned or last sought, and is not committed.

    Attributes:
        key: topic and number of the partition.
        held: its assignment.
        runs: those of its track, once it has begun.
        handler: what handles its events.
        is_async: whether the handler is awaited.
        works: in the order of their offsets, picked ones included.
        lanes: the last work of each lane that has unfinished ones.
        next: offset up to which everything is picked or committed, `NOTHING` before the first event.
        picked: how many works, from the first one on, are part of the running transaction or the one after it.
        unproven: how many of the next events may be those that ended the process before.
        generation: the group's, when the partition was assigned.
        begun: offsets of events for which tool calls may be recorded, as the `ToolCaller` keeps them; None before it
            was asked.
        alive: False once nothing of it may be committed any more.
    """

    __slots__ = (
        "alive", "begun", "generation", "handler", "held", "is_async", "key", "lanes", "next", "picked", "runs",
        "unproven", "works",
    )  # fmt: skip

    def __init__(
        self,
        held: Assigned,
        handler: Callable[..., Any],
        next_offset: int,
        *,
        is_async: bool,
        unproven: int,
        generation: int,
    ) -> None:
        self.key = held.key
        self.held = held
        self.runs: Runs
        self.handler = handler
        self.is_async = is_async
        self.works: deque[Work] = deque()
        self.lanes: dict[object, Work] = {}
        self.next = next_offset
        self.picked = 0
        self.unproven = unproven
        self.generation = generation
        self.begun: Collection[int] | None = None
        self.alive = True


class Work(msgspec.Struct, eq=False, gc=False):
    """One event that is being handled.

    Written by the worker that runs its handler; from `FINISHED` on it is read by the transaction thread alone. There is
    one for every event, so it is a struct: no line of Python runs to make one. And Python's garbage collector, which
    would look at thousands of them again and again, does not see it: a run lets go of its works when it ends.

    Attributes:
        event: the event.
        run: the run that it is part of.
        lane: key whose events are handled in order.
        denied: whether the event was denied, so that no handler sees it and its output is a DLQ record.
        state: see the constants; changed under the lock of the runs.
        outputs: what the handler produced, as it was decided; the receipts follow when the work is attested.
        failure: why it goes to the error topic instead of having outputs.
        form: how much of the event its DLQ or error record holds.
        follower: the next work of the same lane, if there is one.
        attempts: how often its handler has failed, as far as this process knows.
        is_suspect: whether its handler may have ended the process before, so that it waits for its turn.
        tried: how often it was counted before this process took it.
    """

    event: Event
    run: Run
    lane: object = None
    denied: bool = False
    state: int = WAITING
    outputs: tuple[Check, ...] = ()
    failure: Failure | None = None
    form: Form = Form.FULL
    follower: Work | None = None
    attempts: int = 0
    is_suspect: bool = False
    tried: int = 0

    # That of a struct shows what it holds, and so on: all that follows in the lane.
    __repr__ = object.__repr__

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return (*self.run.key, self.event.offset())

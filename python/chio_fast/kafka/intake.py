"""Prefetch and hand-out: every event is decided before it waits, and receipted when it is handed out."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from chio_fast._native import Hatch
from chio_fast.errors import GuardError, LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from confluent_kafka import Message

    from chio_fast._native import Event, Gate, Inlet
    from chio_fast.kafka.assignment import Assignments
    from chio_fast.kafka.buffer import Buffer
    from chio_fast.kafka.committer import Committer
    from chio_fast.kafka.inflow import Inflow
    from chio_fast.kafka.partitions import Partitions
    from chio_fast.kafka.recognition import Recognition
    from chio_fast.kafka.throttle import Throttle
    from chio_fast.kafka.trouble import Trouble

    RunGuards = Callable[[Sequence[Event], Callable[[], None]], None]
    """Runs what is due for events, calling the second argument at least every 100 ms meanwhile."""
    Issue = Callable[[list[Event]], tuple[list[Event], list[Event], list[Event]]]
    """Gives ids, and receipts unless they follow later: the allowed events, the denied ones, those with guards due."""

log = logging.getLogger("chio_fast.kafka")

ENTER_EVERY = 0.1
"""Seconds after which the client is entered although events are waiting, so that it stays in its group."""
SLICE = 0.1
"""Seconds that one wait inside the client takes at most, so that failures of the background show soon."""
BUSY_SLICE = 0.01
"""Seconds instead, while offsets are about to land, which needs the client."""
GUARDED_TOGETHER = 64
"""Events whose guards run at the same time."""

# What waiting does not heal: the application has to know.
RAISED = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_EXCEPTION, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.INCONSISTENT_GROUP_PROTOCOL, KafkaError.INVALID_GROUP_ID,
    KafkaError.FENCED_INSTANCE_ID, KafkaError.UNSUPPORTED_VERSION,
})  # fmt: skip


class Intake:
    """Fetches, has the gate decide, hands out.

    Used by one thread at a time. An event is in the buffer from its admission to its hand-out; everything that makes
    it void in between takes it out there.

    Args:
        inflow: gives messages.
        gate: decides.
        run_guards: runs the guards that are due.
        assignments: what is held.
        buffer: where events wait.
        throttle: says how much may be fetched.
        partitions: sorts out what changes while the client is entered.
        commit: takes over what was denied, and says when hand-out has to wait.
        issue: gives events their ids, and their receipts unless these follow later.
        trouble: keeps what has to be raised by the next call.
        before_action: whether events are handed out only when their receipts are durable.
        on_error: hears errors that the client deals with by itself.
        recognition: tells events what they repeat.

    Attributes:
        denied: events that were not handed out.
        client_errors: transient errors that the client reported.
    """

    def __init__(
        self,
        *,
        inflow: Inflow,
        gate: Gate,
        run_guards: RunGuards,
        assignments: Assignments,
        buffer: Buffer,
        throttle: Throttle,
        partitions: Partitions,
        commit: Committer,
        issue: Issue,
        trouble: Trouble,
        before_action: bool,
        on_error: Callable[[KafkaError], None] | None,
        recognition: Recognition,
    ) -> None:
        self._inflow = inflow
        self._inlet = inflow.inlet
        self._gate = gate
        self._issue = issue
        self._receipts = gate.log
        self._guard = run_guards
        self._assignments = assignments
        self._buffer = buffer
        self._ready = buffer.ready
        self._throttle = throttle
        self._partitions = partitions
        self._commit = commit
        self._trouble = trouble
        self._before_action = before_action
        self._on_error = on_error
        self._recognition = recognition
        # Shut when a hand-out must not simply take the next event: evidence comes first, the DLQ is behind, or it may
        # have been decided before. Open no longer than until the client is to be entered again.
        self._hatch = Hatch(gate, trouble, buffer.ready)
        self._hatch.is_shut = before_action
        self._ends: list[Message] = []
        self._in_hand: list[Event] = []  # taken out of the buffer, hand-out not finished
        self._handed_out = 0
        self.denied = 0
        self.client_errors = 0

    @property
    def handed_out(self) -> int:
        """How many events were given to the application."""
        return self._handed_out + self._hatch.handed_out

    def poll(self, timeout: float | None = None) -> Event | Message | None:
        """Hand out the next allowed event.

        Args:
            timeout: seconds to wait for one; None or negative waits without end.

        Returns:
            The event; None if there was none in time; the client's own message for an end of partition, which only
            comes if the configuration asks for it.
        """
        event = self._hatch.next()
        if event is not None:
            return event
        events = self.consume(1, timeout)
        return events[0] if events else None

    def consume(self, count: int, timeout: float | None = None) -> list[Event | Message]:
        """Hand out up to `count` allowed events: those that are there, without waiting to fill the list.

        Args:
            count: how many at most.
            timeout: seconds to wait for the first one; None or negative waits without end.
        """
        if self._trouble.waiting:
            self._trouble.deliver()
        hatch = self._hatch
        deadline = None if timeout is None or timeout < 0 else monotonic() + timeout
        while True:
            wait = SLICE if deadline is None else min(SLICE, max(0.0, deadline - monotonic()))
            if self._commit.is_full:
                self._stay_alive(wait)
            else:
                hatch.is_shut = self._before_action or self._recognition.is_active
                if not self._ready:
                    self._fetch(count, wait)
                elif hatch.is_over:
                    self.keep_alive()
                events = self._attested(count) if self._before_action else self._hand_out(count)
                if events or self._ends:
                    return [*events, *self._take_ends()]
            if self._trouble.waiting:
                self._trouble.deliver()
            if deadline is not None and monotonic() >= deadline and (hatch.is_shut or not self._ready):
                return []

    def keep_alive(self) -> None:
        """Enter the client without waiting, so that it stays in its group and rebalances are served."""
        buffered = len(self._ready)
        self._throttle.observe_work(buffered)
        room = max(1, self._throttle.room(buffered))
        with self._nothing_lost():
            self._admit(self._enter(room, 0.0), room)

    def _stay_alive(self, wait: float) -> None:
        """Enter the client and take in as little as possible, because hand-out has to wait."""
        if self._inlet is None:
            self._throttle.stop_fetching()
        # What is in the inlet stays there. Nothing is paused for that: it takes the client half a second to go on.
        with self._nothing_lost():
            self._admit(self._enter(1, wait, has_room=False), 0)

    def run_guards_with(self, run_guards: RunGuards) -> None:
        """Run guards in another way from now on."""
        self._guard = run_guards

    def close(self) -> None:
        """Take in nothing any more, and drop what was not handed out; called before the client is closed."""
        self._inflow.close()
        self._partitions.drop(self._buffer.clear())

    def _fetch(self, count: int, wait: float) -> None:
        """Wait for one message, then take what else is there: a batch is never waited for."""
        self._throttle.observe_work(0)
        room = max(self._throttle.room(0), count)
        with self._nothing_lost():
            messages = self._enter(1, wait)
            if messages and room > 1 and self._inlet is None:
                # To enter the client again may make void what it has returned, and that is found in the buffer alone.
                self._admit(messages, 0)
                messages = self._enter(room - 1, 0.0)
            self._admit(messages, room)

    def _enter(self, count: int, timeout: float, *, has_room: bool = True) -> list[Message]:
        """Call the client, and throw away what a change during the call makes doubtful."""
        self._commit.pump()
        self._partitions.place_lost()
        self._partitions.expect_changes()
        if timeout > BUSY_SLICE and self._commit.is_busy:
            timeout = BUSY_SLICE
        with self._commit.client:
            messages = self._inflow.enter(count, timeout, has_room=has_room)
        self._hatch.open_for(ENTER_EVERY)
        self._hatch.is_shut |= self._recognition.is_active
        return self._partitions.settle(messages)

    @contextmanager
    def _nothing_lost(self) -> Iterator[None]:
        """Fetch again what is lost when something raises on the way from the client into the buffer.

        A callback of the configuration or a signal handler may raise at any point; the client itself then drops what
        it was about to return.
        """
        try:
            yield
        except BaseException:
            self._partitions.rewind(self._in_hand)
            raise

    def _admit(self, messages: list[Message], room: int) -> None:
        """Have `messages` decided, and up to `room` of those that wait in the inlet.

        The client is not entered in between: what is in the inlet belongs to what was assigned after the last entry.
        """
        count, size = 0, 0
        if messages:
            count, size = len(messages), sum(map(len, messages))
            self._decide(messages)
        if self._inlet is not None and room:
            taken = self._inlet.take(room)
            count, size = count + taken[0], size + taken[1]
            if taken[0]:
                self._decide(self._inlet)
        self._throttle.observe_fetch(len(self._ready), count, size)

    def _decide(self, messages: list[Message] | Inlet) -> None:
        events, errors, strays = self._gate.admit(messages, self._assignments.natives)
        self._buffer.add(events)
        if strays:
            again = self._partitions.begin_again(strays)
            self._buffer.add(self._gate.admit(again, self._assignments.natives)[0])
        for message in errors:
            self._hear(message)

    def _hand_out(self, count: int) -> list[Event]:
        """Give receipts to the next `count` events; those that are denied go to the DLQ."""
        events = self._next(count)
        if not events:
            return events
        self._in_hand = events
        try:
            allowed = self._receipted(events)
        except BaseException:
            self._ready.extendleft(reversed(events))
            raise
        finally:
            self._in_hand = []
        self._handed_out += len(allowed)
        return allowed

    def _attested(self, count: int) -> list[Event]:
        """Hand out events whose receipts are durable, see to it that the next ones become so."""
        ready = self._ready
        if ready and ready[0].ordinal is None:
            events = self._in_hand = self._next(self._throttle.batch_size)
            try:
                events = self._receipted(events)
                self._receipts.seal()
            finally:
                ready.extendleft(reversed(events))
                self._in_hand = []
        if ready and not self._receipts.wait_durable(ready[0].ordinal or 0, ENTER_EVERY):
            return []
        durable = self._receipts.durable
        handed: list[Event] = []
        while ready and len(handed) < count and ready[0].ordinal is not None and ready[0].ordinal <= durable:
            event = ready.popleft()
            held = self._assignments.get((event.topic(), event.partition()))
            if held is not None and event.is_current:
                held.returned = event.offset() + 1
                handed.append(event)
        self._handed_out += len(handed)
        return handed

    def _next(self, count: int) -> list[Event]:
        """Take up to `count` events out of the buffer; they know what they repeat."""
        if self._recognition.is_active:
            try:
                count = self._recognition.recognise(list(islice(self._ready, count)))
            except LogError as error:
                self._trouble.stop(error)
                raise
        return self._buffer.take(count)

    def _receipted(self, events: list[Event]) -> list[Event]:
        """Issue receipts, after the guards that are due; give back those that are allowed."""
        try:
            allowed, denied, undecided = self._issue(events)
            while undecided:
                self._run_guards(undecided)
                allowed, denied, undecided = self._issue(events)
        except (GuardError, LogError) as error:
            self._trouble.stop(error)
            raise
        self._recognition.note(events)
        if denied:
            self._deny(denied)
        return allowed

    def _run_guards(self, undecided: list[Event]) -> None:
        """Run guards for `undecided` and, if they are few, for some that come next; the client is entered meanwhile."""
        more = max(0, GUARDED_TOGETHER - len(undecided))
        self._guard([*undecided, *islice(self._ready, more)], self.keep_alive)

    def _deny(self, events: list[Event]) -> None:
        self.denied += len(events)
        self._commit.deny(events)
        self._hatch.is_shut = self._before_action or self._commit.is_full or self._recognition.is_active

    def _take_ends(self) -> list[Message]:
        """Give the ends of partition that are due: when everything before them was handed out."""
        if self._ready or not self._ends:
            return []
        ends, self._ends = self._ends, []
        return ends

    def _hear(self, message: Message) -> None:
        """Sort a message that carries an error."""
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends.append(message)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._partitions.lost(message)
        elif error.fatal():
            self._trouble.stop(KafkaException(error))
        elif error.code() in RAISED:
            self._trouble.raise_once(KafkaException(error))
        else:
            self.hear_transient(error)

    def hear_transient(self, error: KafkaError) -> None:
        """Note an error that the client deals with by itself."""
        self.client_errors += 1
        log.warning("the client reports %s: %s", error.name(), error.str())
        if self._on_error is not None:
            self._trouble.call(self._on_error, error)

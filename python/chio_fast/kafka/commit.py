"""The group commit: evidence first, then the DLQ, then the offsets.

A confluent Consumer admits one thread at a time: who comes second spins until the first has left, and a rebalance
callback never leaves while it waits for another thread. So receipts and DLQ records are awaited by a thread of their
own, and the offsets are sent (they *land*) by the thread that uses the client, or by the other one while the
application is busy elsewhere.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from chio_fast.errors import ChioCommitError, ChioError, ChioRevoked
from chio_fast.kafka.dlq import Letter
from chio_fast.kafka.landing import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import RLock

    from confluent_kafka import TopicPartition

    from chio_fast._native import Event, Log
    from chio_fast.kafka.assignment import Assigned, Assignments, Key
    from chio_fast.kafka.dlq import ChioDeadLetterProducer
    from chio_fast.kafka.landing import Landing
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

MAX_BACKLOG = 10_000
"""Denied events that may wait for their DLQ record before hand-out waits too."""


class Ticket:
    """What a caller waits on; it is done when receipts and DLQ records of everything before it are safe."""

    __slots__ = ("_done", "error")

    def __init__(self) -> None:
        self._done = threading.Event()
        self.error: BaseException | None = None

    def finish(self, error: BaseException | None = None) -> None:
        """Let the caller go on, with an error if there is one."""
        self.error = error
        self._done.set()

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; False if it is not done by then."""
        return self._done.wait(timeout)


class Denials(NamedTuple):
    """Denied events, with receipts, each with the assignment it came from (None: given up meanwhile)."""

    events: Sequence[Event]
    held: Sequence[Assigned | None]


class Claim(NamedTuple):
    """Offsets below which the application is done with everything."""

    offsets: dict[Assigned, int]
    ordinal: int
    awaited: bool


Work = Denials | Claim | Ticket | None
"""What the queue holds; None ends the thread."""


class Commit:
    """Commits denials and claims in the order in which they come in, as many at once as have come.

    1. receipts up to the last ordinal are durable; 2. every denial's DLQ record is acknowledged; 3. the offsets land.
    A failure in 1 or 2 ends the consumer before 3: nothing is committed, and a restart delivers the events again.

    Args:
        receipts: the log that is open for issuing.
        dlq: writes denied events.
        landing: sends offsets.
        assignments: what is held, with its frontiers.
        trouble: ends the consumer.

    Attributes:
        timeout: seconds that revoke and close wait for what is on its way.
        dead_letters: DLQ records acknowledged.
    """

    def __init__(
        self,
        *,
        receipts: Log,
        dlq: ChioDeadLetterProducer,
        landing: Landing,
        assignments: Assignments,
        trouble: Trouble,
    ) -> None:
        self.timeout = TIMEOUT
        self.dead_letters = 0
        self._landing = landing
        self._receipts = receipts
        self._dlq = dlq
        self._assignments = assignments
        self._trouble = trouble
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._queued = 0  # written by the application's thread alone
        self._processed = 0  # written by the commit thread alone
        self._rounds_asked = 0  # likewise: items queued
        self._rounds_done = 0  # likewise: items done
        self._awaited = False  # whether the application waits, and lands by itself
        self._thread = threading.Thread(target=self._run, name="chio-commit", daemon=True)
        self._thread.start()

    @property
    def client(self) -> RLock:
        """Held by whoever is inside the client; the application's thread may take it again in a callback."""
        return self._landing.client

    @property
    def backlog(self) -> int:
        """How many denied events wait for their DLQ record."""
        return self._queued - self._processed

    @property
    def is_full(self) -> bool:
        """Whether so many denied events wait that hand-out has to."""
        return self.backlog > MAX_BACKLOG

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way, so that the client should be left soon."""
        return self._landing.is_busy or self._rounds_asked != self._rounds_done

    def deny(self, events: Sequence[Event]) -> None:
        """Queue denied events for the DLQ."""
        get = self._assignments.get
        self._queued += len(events)
        self._put(Denials(events, [get((event.topic(), event.partition())) for event in events]))

    def claim(self, offsets: dict[Assigned, int], ordinal: int) -> None:
        """Queue a commit of `offsets`, which waits for receipts up to `ordinal`."""
        self._put(Claim(offsets, ordinal, awaited=False))

    def claim_and_wait(self, offsets: dict[Assigned, int], ordinal: int) -> list[TopicPartition]:
        """Commit `offsets` and give what the broker took.

        Raises:
            ChioError: it failed, or was not done in time.
        """
        self._put(Claim(offsets, ordinal, awaited=True))
        self.drain(self.timeout)
        gone = [held for held in offsets if not held.current]
        if gone:
            names = ", ".join(f"{held.key[0]}[{held.key[1]}]" for held in gone)
            raise ChioRevoked(f"{names} was given up before the commit; nothing is committed there")
        return [held.at(held.frontier.committed) for held in offsets]

    def drain(self, timeout: float) -> None:
        """Wait, on the application's thread, until everything queued so far is safe and has landed.

        Raises:
            ChioRevoked: the group has moved on, so nothing was committed.
            ChioError: it failed, or was not done in `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        ticket = Ticket()
        self._awaited = True
        try:
            self._put(ticket)
            if not ticket.wait(timeout):
                raise ChioCommitError(
                    f"receipts and DLQ records were not all confirmed within {timeout:g} s; what is not committed is "
                    "delivered again"
                )
            if ticket.error is not None:
                raise ticket.error
            self._landing.land_by(deadline)
        finally:
            self._awaited = False

    def pump(self) -> None:
        """Land what is due, if it is time; called on the application's thread, outside the client."""
        if self._landing.is_due:
            self._landing.land_in_passing()

    def begun(self, _assigned: Sequence[Assigned]) -> None:
        """Have the committed offsets looked at, now and some times later."""
        self._landing.rearm()
        self._put(Claim({}, 0, awaited=False))

    def ended(self, _keys: Sequence[Key]) -> None:
        """Do nothing: what is not current is not committed."""

    def stop(self, timeout: float) -> None:
        """End the thread after what is queued."""
        self._put(None)
        self._thread.join(timeout)

    def _put(self, work: Work) -> None:
        self._rounds_asked += 1
        self._queue.put(work)

    # What the thread does.

    def _run(self) -> None:
        running = True
        while running:
            work = self._next_work()
            running = None not in work
            failure = self._trouble.failure or self._try(work)
            if failure is not None:
                self._abandon(work, failure)
            self._rounds_done += len(work)

    def _try(self, work: list[Work]) -> BaseException | None:
        try:
            self._round(work)
            self._land()
        except ChioError as error:
            return error
        except BaseException as error:
            log.exception("the commit thread failed")
            return ChioError(f"the commit thread failed: {error!r}")
        return None

    def _next_work(self) -> list[Work]:
        """Wait for work, or for the next chance to land; take all that is there."""
        work: list[Work] = []
        try:
            work.append(self._queue.get(timeout=self._patience()))
            while True:
                work.append(self._queue.get_nowait())
        except queue.Empty:
            return work

    def _patience(self) -> float | None:
        if self._trouble.failure is not None:
            return None
        return self._landing.due_in()

    def _round(self, work: list[Work]) -> None:
        denials = [item for item in work if isinstance(item, Denials)]
        claims = [item for item in work if isinstance(item, Claim)]
        self._await_receipts(denials, claims)
        self._send_dead_letters(denials)
        self._settle(denials, claims)
        for item in work:
            if isinstance(item, Ticket):
                item.finish()

    def _await_receipts(self, denials: list[Denials], claims: list[Claim]) -> None:
        """Step 1. Somebody waits for a claim, so it is sealed at once; denials alone may keep each other company."""
        ordinals = [claim.ordinal for claim in claims]
        ordinals += [event.ordinal or 0 for item in denials for event in item.events[-1:]]
        if not ordinals or max(ordinals) <= self._receipts.durable:
            return
        if claims:
            self._receipts.seal()
        self._receipts.wait_durable(max(ordinals))

    def _send_dead_letters(self, denials: list[Denials]) -> None:
        """Step 2."""
        events = [event for item in denials for event in item.events]
        if not events:
            return
        attempts = self._receipts.attempts([event.ordinal or 0 for event in events])
        self._dlq.send_all(Letter(event, None, attempt) for event, attempt in zip(events, attempts, strict=True))
        self._processed += len(events)
        self.dead_letters += len(events)

    def _settle(self, denials: list[Denials], claims: list[Claim]) -> None:
        """Tell the frontiers what is safe now."""
        with self._assignments.lock:
            for item in denials:
                for event, held in zip(item.events, item.held, strict=True):
                    if held is not None and event.is_current:
                        held.frontier.deny(event.floor, event.offset() + 1)
            for claim in claims:
                for held, offset in claim.offsets.items():
                    held.frontier.claim(offset)
            self._landing.look()
        if not any(claim.awaited for claim in claims):
            self._landing.lost(each for claim in claims for each in claim.offsets.items() if not each[0].current)

    def _land(self) -> None:
        """Step 3, unless the application does it."""
        if not self._awaited and self._landing.is_due:
            self._landing.land_meanwhile()

    def _abandon(self, work: list[Work], error: BaseException) -> None:
        """End the consumer's work, and tell everybody who waits."""
        self._trouble.stop(error)
        for item in work:
            if isinstance(item, Ticket):
                item.finish(error)

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

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from chio_fast.errors import ChioCommitError, ChioError, ChioRevoked
from chio_fast.kafka.dlq import Letter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Consumer

    from chio_fast._native import Event, Log
    from chio_fast.kafka.assignment import Assigned, Assignments, Key
    from chio_fast.kafka.dlq import ChioDeadLetterProducer
    from chio_fast.kafka.tripwire import Tripwire
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 30.0
"""Seconds for which a commit is tried again, and for which revoke and close wait."""
BACKOFF = 0.1
"""Seconds between two tries of a commit."""
SHARE = 0.05
"""Part of the time that commits which nobody waits for may take; what comes meanwhile joins the next one."""
RETRY_LANDING = 0.02
"""Seconds after which the thread looks again whether the application has left the client."""
UNHEARD = 0.1
"""Seconds after which the thread does not count on the application to hear what became of a commit that was sent."""
MAX_BACKLOG = 10_000
"""Denied events that may wait for their DLQ record before hand-out waits too."""

# The member is out of step with its group, or the coordinator with its member: what was claimed is not this member's
# any more, and is delivered again to whoever holds it now.
GONE = frozenset({
    KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH, KafkaError._ASSIGNMENT_LOST,
})  # fmt: skip
TRANSIENT = frozenset({
    KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._WAIT_COORD,
    KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT, KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR, KafkaError.NETWORK_EXCEPTION,
    KafkaError.REBALANCE_IN_PROGRESS, KafkaError.STALE_MEMBER_EPOCH, KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.NOT_ENOUGH_REPLICAS,
})  # fmt: skip


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

    Where the client reports (`reports`: it calls `landed` as its `on_commit`), commits that nobody waits for are sent
    and their results heard later, inside whatever call of the client comes next; one is on its way at a time.
    Otherwise each waits for its result. Commits that somebody waits for always do, and supersede what is on its way:
    the client sends both in order, so when the second has its result, the first one has too.

    Attributes:
        client: held by whoever is inside the client; the application's thread may take it again in a callback.
        ready: whether offsets are due that have not landed. A plain attribute, because every entry reads it.
    """

    def __init__(
        self,
        *,
        raw: Consumer,
        receipts: Log,
        dlq: ChioDeadLetterProducer,
        assignments: Assignments,
        trouble: Trouble,
        tripwire: Tripwire,
        reports: bool = False,
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.client = threading.RLock()
        self.ready = False
        self.timeout = timeout
        self.dead_letters = 0
        self.commits = 0
        self.failures = 0
        self._raw = raw
        self._receipts = receipts
        self._dlq = dlq
        self._assignments = assignments
        self._trouble = trouble
        self._tripwire = tripwire
        self._reports = reports
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._queued = 0  # written by the application's thread alone
        self._processed = 0  # written by the commit thread alone
        self._rounds_asked = 0  # likewise: items queued
        self._rounds_done = 0  # likewise: items done
        self._awaited = False  # whether the application waits, and lands by itself
        self._land_at = 0.0  # guarded by `client`, as all below
        self._failing_since: float | None = None
        self._sent: dict[Assigned, int] | None = None  # on its way
        self._sent_at = 0.0
        self._thread = threading.Thread(target=self._run, name="chio-commit", daemon=True)
        self._thread.start()

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
        return self.ready or self._sent is not None or self._rounds_asked != self._rounds_done

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
            with self.client:
                while (error := self._land()) is not None and error.code() in TRANSIENT and time.monotonic() < deadline:
                    time.sleep(BACKOFF)
        finally:
            self._awaited = False
        if error is not None:
            raise _failed(error)

    def pump(self) -> None:
        """Land what is due, if it is time; called on the application's thread, outside the client."""
        if self.ready or self._tripwire.is_due:
            with self.client:
                self._land_in_passing(self.timeout)

    def begun(self, _assigned: Sequence[Assigned]) -> None:
        """Have the committed offsets looked at, now and some times later."""
        self._tripwire.rearm()
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
            self._land_for_the_application()
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
        return RETRY_LANDING if self.ready else self._tripwire.due_in(RETRY_LANDING)

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
            self.ready = any(held.frontier.due() is not None for held in self._assignments)
        gone = [held.at(offset) for claim in claims for held, offset in claim.offsets.items() if not held.current]
        if gone and not any(claim.awaited for claim in claims):
            self._report(gone, KafkaError(KafkaError._ASSIGNMENT_LOST))

    def _land_for_the_application(self) -> None:
        """Step 3, unless the application is inside the client: then it does so itself when it leaves."""
        if self._awaited or not (self.ready or self._tripwire.is_due):
            return
        if self.client.acquire(blocking=False):
            try:
                self._land_in_passing(UNHEARD)
            finally:
                self.client.release()

    # What whoever holds the client does.

    def _land_in_passing(self, patience: float) -> None:
        """Step 3 when nobody waits for it: not too often, again while the failure is transient and the time lasts.

        Args:
            patience: seconds that the result of what is on its way may take to be heard.
        """
        if self._trouble.failure is not None:
            return
        try:
            self._tripwire.look_if_due()
        except ChioError as moved:
            self._trouble.stop(moved)
            return
        now = time.monotonic()
        if not self.ready or now < self._land_at:
            return
        if not self._reports or (self._sent is not None and now > self._sent_at + patience):
            self._land_and_judge()
        elif self._sent is None:
            self._send_off()

    def _land_and_judge(self) -> None:
        started = time.monotonic()
        error = self._land()
        self._land_at = time.monotonic() + (time.monotonic() - started) / SHARE
        self._judge(error, started)

    def _judge(self, error: KafkaError | None, started: float) -> None:
        """Decide whether a commit that failed is tried again."""
        if error is None:
            self._failing_since = None
            return
        now = time.monotonic()
        self._land_at = max(self._land_at, now + BACKOFF)
        self._failing_since = self._failing_since or started
        if error.code() in GONE or (error.code() in TRANSIENT and now < self._failing_since + self.timeout):
            return
        self._failing_since = None
        self._refuse()
        self._trouble.raise_once(_failed(error))

    def _send_off(self) -> None:
        """Send the offsets that are due, and do not wait."""
        due = self._take_due()
        if not due:
            return
        offsets = [held.at(offset) for held, offset in due.items()]
        self._sent, self._sent_at = due, time.monotonic()
        try:
            self._raw.commit(offsets=offsets, asynchronous=True)
        except KafkaException as failure:
            self.landed(failure.args[0], offsets)
        else:
            self._land_at = time.monotonic() + (time.monotonic() - self._sent_at) / SHARE

    def landed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Take the result of a commit that was sent; the client calls this, on the thread that is inside it.

        It also calls for commits that were waited for: only the one that is on its way counts.
        """
        sent = self._sent
        if sent is None or {(part.topic, part.partition): part.offset for part in offsets} != {
            held.key: offset for held, offset in sent.items()
        }:
            return
        self._judge(self._note(sent, offsets, error or _first_error(offsets)), self._sent_at)

    def _land(self) -> KafkaError | None:
        """Send the offsets that are due, once, and wait for the result."""
        due = self._take_due()
        if not due:
            return None
        offsets = [held.at(offset) for held, offset in due.items()]
        try:
            landed = self._raw.commit(offsets=offsets, asynchronous=False) or offsets
        except KafkaException as failure:
            return self._note(due, offsets, failure.args[0])
        return self._note(due, landed, _first_error(landed))

    def _take_due(self) -> dict[Assigned, int]:
        """Give what the next commit says; what is on its way is due until its result is known."""
        with self._assignments.lock:
            due = {held: offset for held in self._assignments if (offset := held.frontier.due()) is not None}
            for held, offset in due.items():
                held.frontier.sent = offset
            self.ready = False
        return due

    def _note(
        self, sent: dict[Assigned, int], landed: list[TopicPartition], error: KafkaError | None
    ) -> KafkaError | None:
        """Note the result of a commit; gives back the error."""
        refused = {(part.topic, part.partition) for part in landed if part.error is not None}
        with self._assignments.lock:
            for held, offset in sent.items():
                if error is None or (refused and held.key not in refused):
                    held.frontier.committed = offset
            self._sent = None
            self.ready = any(held.frontier.due() is not None for held in self._assignments)
        if error is None or error.code() not in TRANSIENT:
            self._report(landed, error)
        if error is not None and error.code() in GONE:
            self._refuse()
        return error

    def _refuse(self) -> None:
        """Do not send again what the broker refused, before somebody claims it again."""
        with self._assignments.lock:
            for held in self._assignments:
                held.frontier.refused = held.frontier.claimed
            self.ready = False

    def _report(self, offsets: list[TopicPartition], error: KafkaError | None) -> None:
        """Tell `on_commit`, and count."""
        if self._on_commit is not None:
            self._trouble.call(self._on_commit, error, offsets)
        if error is None:
            self.commits += 1
            return
        self.failures += 1
        log.warning("nothing was committed: %s: %s", error.name(), error.str())

    def _abandon(self, work: list[Work], error: BaseException) -> None:
        """End the consumer's work, and tell everybody who waits."""
        self._trouble.stop(error)
        for item in work:
            if isinstance(item, Ticket):
                item.finish(error)


def _first_error(offsets: list[TopicPartition]) -> KafkaError | None:
    return next((part.error for part in offsets if part.error is not None), None)


def _failed(error: KafkaError) -> ChioError:
    if error.code() in GONE:
        return ChioRevoked(f"the group has moved on, so nothing was committed: {error.name()}: {error.str()}")
    return ChioCommitError(
        f"offsets were not committed: {error.name()}: {error.str()}; they are tried again with the next commit"
    )

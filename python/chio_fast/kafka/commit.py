"""The group commit thread: evidence first, then the DLQ, then the offsets."""

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
    from chio_fast.kafka.assignment import Assigned, Assignments
    from chio_fast.kafka.dlq import ChioDeadLetterProducer
    from chio_fast.kafka.tripwire import Tripwire
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 30.0
"""Seconds for which a commit is tried again, and for which revoke and close wait."""
BACKOFF = 0.1
"""Seconds between two tries of a commit."""
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
    """What a caller waits on; it is done when everything before it in the queue is."""

    __slots__ = ("_done", "error", "offsets")

    def __init__(self) -> None:
        self._done = threading.Event()
        self.error: BaseException | None = None
        self.offsets: list[TopicPartition] = []

    def finish(self, error: BaseException | None = None) -> None:
        """Let the caller go on, with an error if there is one."""
        if error is not None and self.error is None:
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
    ticket: Ticket | None


Work = Denials | Claim | Ticket | None
"""What the queue holds; None ends the thread."""


class Commit:
    """Commits in the background, in the order in which denials and claims come in, as many at once as have come.

    One round: 1. receipts up to the last ordinal of the round are durable; 2. every denial's DLQ record is
    acknowledged; 3. the offsets go to the broker. A failure in 1 or 2 ends the consumer before 3: nothing is committed,
    and a restart delivers the events again.
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
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._raw = raw
        self._receipts = receipts
        self._dlq = dlq
        self._assignments = assignments
        self._trouble = trouble
        self._tripwire = tripwire
        self._on_commit = on_commit
        self.timeout = timeout
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._queued = 0  # written by the application's thread alone
        self._processed = 0  # written by the commit thread alone
        self._hurry = False  # set while revoke or close waits: tries end at once
        self.dead_letters = 0
        self.commits = 0
        self.failures = 0
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

    def deny(self, events: Sequence[Event]) -> None:
        """Queue denied events for the DLQ."""
        get = self._assignments.get
        self._queued += len(events)
        self._queue.put(Denials(events, [get((event.topic(), event.partition())) for event in events]))

    def claim(self, offsets: dict[Assigned, int], ordinal: int, ticket: Ticket | None = None) -> None:
        """Queue a commit of `offsets`, which waits for receipts up to `ordinal`."""
        self._queue.put(Claim(offsets, ordinal, ticket))

    def drain(self, timeout: float) -> None:
        """Wait until everything queued so far is done.

        Raises:
            ChioError: it failed, or was not done in `timeout` seconds.
        """
        ticket = Ticket()
        self._queue.put(ticket)
        if not ticket.wait(timeout):
            raise ChioCommitError(
                f"receipts, DLQ records and offsets were not all confirmed within {timeout:g} s; what is not committed "
                "is delivered again"
            )
        if ticket.error is not None:
            raise ticket.error

    def wake(self) -> None:
        """Let the thread look at the committed offsets, after an assignment."""
        self._queue.put(Ticket())

    def stop(self, timeout: float) -> None:
        """End the thread after what is queued."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        running = True
        while running:
            work = self._next_work()
            running = None not in work
            if self._trouble.failure is not None:
                self._tell(work, self._trouble.failure)
                continue
            try:
                self._round(work)
            except ChioError as error:
                self._abandon(work, error)
            except BaseException as error:
                log.exception("the commit thread failed")
                failure = ChioCommitError(f"the commit thread failed: {error!r}")
                self._trouble.stop(failure)
                self._abandon(work, failure)

    def _next_work(self) -> list[Work]:
        """Wait for work or, while the consumer works, for the tripwire's next look; take all that is there."""
        work: list[Work] = []
        try:
            work.append(self._queue.get(timeout=None if self._trouble.failure else self._tripwire.due_in()))
            while True:
                work.append(self._queue.get_nowait())
        except queue.Empty:
            return work

    def _round(self, work: list[Work]) -> None:
        denials = [item for item in work if isinstance(item, Denials)]
        claims = [item for item in work if isinstance(item, Claim)]
        self._await_receipts(denials, claims)
        self._send_dead_letters(denials)
        offsets, moved_on = self._commit_offsets(denials, claims)
        for claim in claims:
            if claim.ticket is not None:
                gone = [held for held in claim.offsets if moved_on or not held.current]
                claim.ticket.offsets = offsets
                claim.ticket.finish(_revoked(gone) if gone else None)
        for item in work:
            if isinstance(item, Ticket):
                item.finish()
        self._tripwire.look_if_due()

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
        self._dlq.send_all(
            Letter(event, event.chio_decision, attempt) for event, attempt in zip(events, attempts, strict=True)
        )
        self._processed += len(events)
        self.dead_letters += len(events)

    def _commit_offsets(self, denials: list[Denials], claims: list[Claim]) -> tuple[list[TopicPartition], bool]:
        """Step 3: again while the failure is transient and the time lasts.

        Returns:
            What was sent to the broker, and whether the group had moved on, so that nothing was committed.
        """
        with self._assignments.lock:
            for item in denials:
                for event, held in zip(item.events, item.held, strict=True):
                    if held is not None and event.is_current:
                        held.frontier.deny(event.floor, event.offset() + 1)
            for claim in claims:
                for held, offset in claim.offsets.items():
                    held.frontier.claim(offset)
        deadline = time.monotonic() + self.timeout
        while True:
            offsets, error = self._try_commit()
            if error is None or error.code() not in TRANSIENT or time.monotonic() > deadline:
                break
            log.info("commit failed for now, trying again: %s", error)
            time.sleep(BACKOFF)
        self._report(offsets, error)
        return offsets, error is not None

    def _try_commit(self) -> tuple[list[TopicPartition], KafkaError | None]:
        """Commit what is due, once, while no partition can be given up."""
        with self._assignments.lock:
            due = {held: offset for held in self._assignments if (offset := held.frontier.due()) is not None}
            if not due:
                return [], None
            try:
                offsets = self._raw.commit(
                    offsets=[held.at(offset) for held, offset in due.items()], asynchronous=False
                )
            except KafkaException as failure:
                return [held.at(offset) for held, offset in due.items()], failure.args[0]
            results = {(part.topic, part.partition): part for part in offsets or ()}
            for held, offset in due.items():
                if held.key in results and results[held.key].error is None:
                    held.frontier.committed = offset
        return list(results.values()), next((part.error for part in results.values() if part.error), None)

    def _report(self, offsets: list[TopicPartition], error: KafkaError | None) -> None:
        """Tell `on_commit`, and raise what is not simply a rebalance."""
        if not offsets:
            return
        if self._on_commit is not None:
            self._trouble.call(self._on_commit, error, offsets)
        if error is None:
            self.commits += 1
            return
        self.failures += 1
        if error.code() not in GONE:
            raise ChioCommitError(
                f"offsets were not committed: {error.name()}: {error.str()}; they are tried again with the next commit"
            )
        log.warning("the group has moved on, so nothing was committed: %s", error)

    def _abandon(self, work: list[Work], error: ChioError) -> None:
        """Tell everybody who waits; only a failed commit leaves the consumer able to go on."""
        told = self._tell(work, error)
        if type(error) is not ChioCommitError:
            self._trouble.stop(error)
        elif not told:
            self._trouble.raise_once(error)

    def _tell(self, work: list[Work], error: BaseException) -> bool:
        """Finish every ticket with `error`; False if there is none."""
        tickets = [
            item.ticket if isinstance(item, Claim) else item for item in work if isinstance(item, Claim | Ticket)
        ]
        waiting = [ticket for ticket in tickets if ticket is not None]
        for ticket in waiting:
            ticket.finish(error)
        return bool(waiting)


def _revoked(gone: list[Assigned]) -> ChioRevoked:
    names = ", ".join(f"{held.key[0]}[{held.key[1]}]" for held in gone)
    return ChioRevoked(f"{names} was given up before the commit, which committed nothing there; it is delivered again")

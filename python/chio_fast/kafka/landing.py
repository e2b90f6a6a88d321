"""The last step of the group commit: offsets that are safe are sent, and land."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from chio_fast.errors import ChioCommitError, ChioError, ChioRevoked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Consumer

    from chio_fast.kafka.assignment import Assigned, Assignments
    from chio_fast.kafka.tripwire import Tripwire
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 30.0
"""Seconds for which a commit is tried again, and for which revoke and close wait."""
BACKOFF = 0.1
"""Seconds between two tries of a commit."""
SHARE = 0.05
"""Part of the time that commits which nobody waits for may take; what comes meanwhile joins the next one."""
RETRY = 0.02
"""Seconds after which another thread looks again whether the application has left the client."""
UNHEARD = 0.1
"""Seconds after which another thread does not count on the application to hear what became of a commit."""

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


class Landing:
    """Sends the offsets that the frontiers say are due.

    Where the client reports (`reports`: it calls `landed` as its `on_commit`), commits that nobody waits for are sent
    and their results heard later, inside whatever call of the client comes next; one is on its way at a time.
    Otherwise each waits for its result. Commits that somebody waits for always do, and supersede what is on its way:
    the client sends both in order, so when the second has its result, the first one has too.

    Args:
        raw: the client.
        assignments: what is held, with its frontiers.
        trouble: keeps what has to be raised by the next call.
        tripwire: looks whether somebody else commits.
        reports: whether the client calls `landed`.
        on_commit: hears the outcome of every commit.

    Attributes:
        client: held by whoever is inside the client; the application's thread may take it again in a callback.
        ready: whether offsets are due that have not landed. A plain attribute, because every entry reads it; changed
            under the lock of the assignments.
        commits: how many commits landed.
        failures: how many did not, for good.
    """

    def __init__(
        self,
        *,
        raw: Consumer,
        assignments: Assignments,
        trouble: Trouble,
        tripwire: Tripwire,
        reports: bool,
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] | None,
    ) -> None:
        self.client = threading.RLock()
        self.ready = False
        self.commits = 0
        self.failures = 0
        self._raw = raw
        self._assignments = assignments
        self._trouble = trouble
        self._tripwire = tripwire
        self._reports = reports
        self._on_commit = on_commit
        self._land_at = 0.0  # guarded by `client`, as all below
        self._failing_since: float | None = None
        self._sent: dict[Assigned, int] | None = None  # on its way
        self._sent_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether there is something to do inside the client: offsets to send, or a look at the committed ones."""
        return self.ready or self._is_unheard or self._tripwire.is_due

    @property
    def _is_unheard(self) -> bool:
        """Whether the result of a commit should have been heard long ago: clients can lose requests to coordinators."""
        return self._sent is not None and time.monotonic() > self._sent_at + TIMEOUT

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way, so that the client should be left soon."""
        return self.ready or self._sent is not None

    def due_in(self) -> float | None:
        """Give the seconds after which another thread looks whether there is something to do; None: not at all."""
        if self.ready:
            return RETRY
        due = self._tripwire.due_in(RETRY)
        if self._sent is None:
            return due
        unheard = max(RETRY, self._sent_at + TIMEOUT - time.monotonic())
        return unheard if due is None else min(due, unheard)

    def rearm(self) -> None:
        """Have the committed offsets looked at, now and some times later."""
        self._tripwire.rearm()

    def look(self) -> None:
        """See anew whether something is due; called under the lock of the assignments."""
        self.ready = any(held.frontier.due() is not None for held in self._assignments)

    def land_by(self, deadline: float) -> None:
        """Send what is due and wait for the result, again while the failure is transient.

        Args:
            deadline: in the time of `time.monotonic`.

        Raises:
            ChioRevoked: the group has moved on, so nothing was committed.
            ChioCommitError: it failed for good, or until the deadline.
        """
        with self.client:
            while (error := self._land()) is not None and error.code() in TRANSIENT and time.monotonic() < deadline:
                time.sleep(BACKOFF)
        if error is not None:
            raise _failed(error)

    def land_in_passing(self) -> None:
        """Send what is due, if it is time; called on the application's thread, outside the client."""
        with self.client:
            self._pass(TIMEOUT)

    def land_meanwhile(self) -> None:
        """Likewise, on another thread; the application does it when it leaves the client, if it is inside now."""
        if self.client.acquire(blocking=False):
            try:
                self._pass(UNHEARD)
            finally:
                self.client.release()

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

    def lost(self, offsets: Iterable[tuple[Assigned, int]]) -> None:
        """Report offsets that are not sent, because their assignment has ended."""
        gone = [held.at(offset) for held, offset in offsets]
        if gone:
            self._report(gone, KafkaError(KafkaError._ASSIGNMENT_LOST))

    # What whoever holds the client does.

    def _pass(self, patience: float) -> None:
        """Land what nobody waits for: not too often, again while the failure is transient and the time lasts.

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
        if not (self.ready or self._is_unheard) or now < self._land_at:
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
        if error.code() in GONE or (error.code() in TRANSIENT and now < self._failing_since + TIMEOUT):
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
            self.look()
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


def _first_error(offsets: list[TopicPartition]) -> KafkaError | None:
    return next((part.error for part in offsets if part.error is not None), None)


def _failed(error: KafkaError) -> ChioError:
    if error.code() in GONE:
        return ChioRevoked(f"the group has moved on, so nothing was committed: {error.name()}: {error.str()}")
    return ChioCommitError(
        f"offsets were not committed: {error.name()}: {error.str()}; they are tried again with the next commit"
    )

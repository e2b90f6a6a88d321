"""The transaction thread: offsets, outputs and evidence land together, or none of them does.

The steps of one transaction; `docs/operations.md` says what a crash after each of them means, and the failpoints have
the same numbers.

1. pick the finished runs: per partition the longest run of finished events at the frontier
2. attest: their receipts go to the log as `prepared`, durable, with the attestation
3. begin
4. send the offsets in one call, with the group metadata that was taken when the stamps were checked
5. produce outputs, DLQ and error records, and last the checkpoint record
6. flush, no record is on its way any more
7. commit, which the client refuses if a record was not delivered
8. outcome `committed`

While the records of one transaction are on their way, the batch of the next one is attested, if it is full already.
Stamps are checked, and the group metadata is taken with them, once the events are picked. A revoke waits until their
transaction has ended; who lost a partition without a revoke has metadata that the broker refuses.
Offsets come before records because a broker that still writes the markers of the transaction before refuses both: the
client asks again for offsets after `retry.backoff.ms`, for records after 20 ms.
A batch enters at most one transaction. After a failure in 3 to 7 it is resolved by reading; unless that shows it
committed, the partitions are sought back to their frontiers and their events are taken again, with other ids.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

from chio_fast.errors import Aborted, ChioError, ChioRevoked, Relieved, Unclean
from chio_fast.kafka import failpoint, metadata
from chio_fast.kafka.checkpoints import checkpoint_record
from chio_fast.kafka.envelope import json_record
from chio_fast.kafka.failures import error_record
from chio_fast.kafka.frontier import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Consumer

    from chio_fast._native import Event, Gate, SignedCheckpoint
    from chio_fast.kafka.assignment import Assigned, Key
    from chio_fast.kafka.attesting import Attested, Attesting
    from chio_fast.kafka.calls import ToolCaller
    from chio_fast.kafka.checkpoints import Checkpoints
    from chio_fast.kafka.errands import Errands
    from chio_fast.kafka.failures import Failures
    from chio_fast.kafka.inheritance import Inheritance
    from chio_fast.kafka.partitions import Partitions
    from chio_fast.kafka.recovery import Recovery
    from chio_fast.kafka.retreat import Retreat
    from chio_fast.kafka.runs import Runs, Stretch
    from chio_fast.kafka.transaction import Transaction
    from chio_fast.kafka.trouble import Trouble
    from chio_fast.kafka.work import Run, Work

    MakeRun = Callable[[Assigned, int, bool], Run]
    """Makes the run of an assignment from an offset on; True unless it continues one after a seek."""

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 30.0
"""Seconds for which a revoke waits for the running transaction."""
WAIT = 0.05
"""Seconds that the thread which uses the client waits at a time while it waits for this one."""
MAX_KEPT = 5
"""Threads that may stay in calls of the client which do not return; each keeps a producer, too."""


class ExactlyOnce:
    """Commits what is finished, transaction by transaction; the committer of a processor's intake.

    Attributes:
        timeout: see `Committer`.
        client: likewise; no other thread enters the client.
        transactions: how many were committed.
        aborts: how many were not.
    """

    is_full = False

    def __init__(
        self,
        *,
        raw: Consumer,
        gate: Gate,
        runs: Runs,
        failures: Failures,
        errands: Errands,
        transaction: Transaction,
        checkpoints: Checkpoints,
        attesting: Attesting,
        recovery: Recovery,
        tools: ToolCaller,
        inheritance: Inheritance,
        retreat: Retreat,
        trouble: Trouble,
        make_run: MakeRun,
        dlq_topic: str,
    ) -> None:
        self.timeout = TIMEOUT
        self.client = threading.RLock()
        self.transactions = 0
        self.aborts = 0
        self.committed = 0
        self.partitions: Partitions  # set by the wiring: each needs the other
        self._raw = raw
        self._gate = gate
        self._receipts = gate.log
        self._runs = runs
        self._failures = failures
        self._errands = errands
        self._transaction = transaction
        self._checkpoints = checkpoints
        self._attesting = attesting
        self._recovery = recovery
        self._tools = tools
        self._inheritance = inheritance
        self._retreat = retreat
        self._trouble = trouble
        self._make_run = make_run
        self._dlq_topic = dlq_topic
        self._running: Attested | None = None  # what the transaction of now covers
        self._kept = 0
        # Used by the thread alone: the batch of the next transaction, and what the one before has committed.
        self._ahead: Attested | None = None
        self._committed: list[Stretch] = []
        self._thread = self._make_thread()

    # The committer of the intake: on the thread that uses the client.

    @property
    def is_busy(self) -> bool:
        """Whether a transaction is running, which needs the client in between."""
        return self._running is not None or self._errands.waiting

    def pump(self) -> None:
        """Do what the transaction thread asks for, and put another in its place if the client never lets it go on."""
        if self._errands.waiting:
            self._errands.serve()
        elif self._transaction.is_stuck and self._trouble.failure is None:
            self._relieve()

    def deny(self, events: Sequence[Event]) -> None:
        """Do nothing: denied events are works that are finished from the start."""

    def drain(self, timeout: float) -> None:
        """Wait until what is finished is committed, the running transaction with it; serve it meanwhile.

        Raises:
            ChioRevoked: that did not happen within `timeout` seconds, so it is handled again by whoever comes next.
        """
        deadline = time.monotonic() + timeout
        self._runs.hurry(awaited=True)
        try:
            while self._thread.is_alive() and self._trouble.failure is None:
                self.pump()
                if self._runs.is_settled and self._running is None:
                    return
                if time.monotonic() > deadline:
                    raise ChioRevoked(
                        f"the running transaction did not end within {timeout:g} s; what it covers is handled again, "
                        "unless it is committed after all"
                    )
                self._errands.wait(WAIT)
        finally:
            self._runs.hurry(awaited=False)

    def begun(self, assigned: Sequence[Assigned]) -> None:
        """Begin the runs of partitions that were assigned."""
        self.ended([held.key for held in assigned])
        for held in assigned:
            start = NOTHING if held.start is None else max(held.start, NOTHING)
            run = self._make_run(held, start, True)
            self._runs.begin(run)
            self._inheritance.assigned([run.key], run.generation)

    def ended(self, keys: Sequence[Key]) -> None:
        """End the runs of partitions that were given up; what their handlers have begun is on record as an attempt."""
        begun = self._runs.end(keys)
        try:
            if begun:
                self._gate.attempt([work.event for work in begun])
        except ChioError as error:
            # Rebalances are no place to raise: the client would throw away the messages of the running call.
            self._trouble.stop(error)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread after the running transaction."""
        self._runs.stop()
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            if self._transaction.is_stuck and self._trouble.failure is not None:
                break
            self.pump()
            self._thread.join(WAIT)
        if self._thread.is_alive():
            # It would go on with a producer of the same id, and end a transaction of whoever comes next.
            self._trouble.stop(ChioError(f"the running transaction did not end within {timeout:g} s"))
        self._errands.close()

    def _relieve(self) -> None:
        """Have another thread go on with the running transaction."""
        if not self._transaction.relieve():
            return
        self._kept += 1
        said = (
            f"the client of `{self._transaction.transactional_id}` does not return from `send_offsets_to_transaction`"
        )
        if self._kept > MAX_KEPT:
            self._trouble.stop(ChioError(f"{said}, for the {self._kept}th time; start the process again"))
            return
        log.warning("%s; another thread goes on with a new one", said)
        self._thread = self._make_thread()
        self._thread.start()

    def _make_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="chio-transactions", daemon=True)

    # The thread.

    def _run(self) -> None:
        try:
            if self._running is not None:
                lost = Unclean("the thread before this one was kept by the client")
                self._failed(self._running, self._attesting.finish(self._running), lost)
                self._rest()
            while self._trouble.failure is None:
                attested = self._ahead or self._attest(self._runs.pick(self._retreat.limit))
                self._ahead = None
                if attested is None:
                    return
                self._running = attested
                self._transact(attested)
                self._rest()
        except Relieved:
            log.info("a call of the client returned after another thread had gone on")
            return
        except ChioError as error:
            self._trouble.stop(error)
        except BaseException as error:
            log.exception("the transaction thread failed")
            self._trouble.stop(ChioError(f"the transaction thread failed: {error!r}"))
        self._rest()

    def _rest(self) -> None:
        self._running = None
        self._errands.poke()

    def _attest(self, stretches: list[Stretch] | None) -> Attested | None:
        """Steps 1 and 2, up to where the log has the receipts and they are not durable yet."""
        if stretches is None:
            return None
        failpoint.reach(1)
        return self._attesting.begin(stretches, self._errands.post(lambda: self._metadata(stretches)))

    def _transact(self, attested: Attested) -> None:
        """Do the other steps; see the module."""
        stretches, checkpoints = attested.stretches, self._attesting.finish(attested)
        failpoint.reach(2)
        try:
            self._transaction.begin()
            failpoint.reach(3)
            self._let_go()
            offsets = [TopicPartition(*stretch.run.key, stretch.next) for stretch in stretches]
            self._transaction.send_offsets(offsets, attested.metadata.wait())
            failpoint.reach(4)
            self._produce(attested)
            self._produce_checkpoint(checkpoints)
            failpoint.reach(5)
            self._ahead = self._attest(self._runs.pick_ahead(self._retreat.limit))
            self._transaction.flush()
            failpoint.reach(6)
            self._transaction.commit()
            failpoint.reach(7)
        except (Aborted, Unclean, failpoint.FailpointError) as error:
            self._let_go()
            self._failed(attested, checkpoints, error)
        else:
            self._recovery.committed(checkpoints, {})
            failpoint.reach(8)
            self._succeeded(stretches)
            if self._ahead is None:
                self._let_go()

    def _failed(self, attested: Attested, checkpoints: Sequence[SignedCheckpoint], error: Exception) -> None:
        """Resolve a failed transaction, and with it the batch that was to be next: it enters none."""
        abandoned, self._ahead = self._ahead, None
        if abandoned is not None:
            self._attesting.finish(abandoned)
        if self._retreat.after(error, checkpoints):
            self._succeeded(attested.stretches)
            self._let_go()
            sought = []
        else:
            self.aborts += 1
            sought = attested.stretches
        if abandoned is not None:
            sought = [*sought, *abandoned.stretches]
        if sought:
            self._errands.ask(lambda: self._rewind(sought))

    def _produce(self, attested: Attested) -> None:
        """Step 5, but for the checkpoint record."""
        works = attested.works
        self._transaction.hand(attested.outputs, lambda: [work for work in works for _ in work.outputs])
        for work in works:
            if work.denied or work.failure is not None:
                self._produce_letter(work)

    def _produce_letter(self, work: Work) -> None:
        """Produce the record of an event that was denied, or whose handler failed."""
        event = work.event
        if work.failure is None:
            [attempt] = self._receipts.attempts([event.ordinal or 0])
            topic, record = self._dlq_topic, json_record(event, None, attempt=attempt, form=work.form)
        else:
            topic, record = self._failures.error_topic or "", error_record(event, work.failure, form=work.form)
        self._transaction.produce(topic, key=record.key, value=record.value, headers=record.headers, charge=work)

    def _produce_checkpoint(self, checkpoints: list[SignedCheckpoint]) -> None:
        """Produce the record that makes the batches visible, in step 5."""
        self._transaction.produce(
            self._checkpoints.topic,
            key=self._transaction.transactional_id,
            value=checkpoint_record(checkpoints),
            partition=self._attesting.partition,
        )

    def _metadata(self, stretches: list[Stretch]) -> object:
        """Check the stamps and take the group metadata, on the thread that uses the client."""
        for stretch in stretches:
            if not stretch.run.alive:
                raise Aborted(f"{stretch.run.key[0]}[{stretch.run.key[1]}] was given up while it was committed")
        found = self._raw.consumer_group_metadata()
        # A client that was thrown out forgets generation and member before it says so, and from a transaction that
        # names neither a broker takes any offsets. It joins again only after it has said so, on this thread.
        if metadata.generation_of(self._raw) == metadata.UNKNOWN_GENERATION:
            raise Aborted(f"`{self._transaction.transactional_id}` is no member of its group any longer")
        return found

    def _let_go(self) -> None:
        """Make room for as many events as the transaction before has committed, unless that is done already.

        Where another one follows at once, this waits until that has begun: the threads that take and handle events
        compete with this one for Python's lock, and have it to themselves while the broker takes the offsets.
        """
        committed, self._committed = self._committed, []
        if committed:
            self._runs.committed(committed)
            self._errands.poke()

    def _succeeded(self, stretches: list[Stretch]) -> None:
        self._committed = stretches
        self._retreat.succeeded()
        self._tools.committed({stretch.works[0].event.partition_key or b"": stretch.next for stretch in stretches})
        self.transactions += 1
        self.committed += sum(len(stretch.works) for stretch in stretches)

    def _rewind(self, stretches: list[Stretch]) -> None:
        """Take the events of failed stretches, and what followed them, again; on the thread that uses the client."""
        for stretch in stretches:
            run = stretch.run
            if run.alive:
                # The seek comes first: after it no handler of the run can do anything that goes without an attempt.
                self.partitions.seek(TopicPartition(*run.key, stretch.first))
                self.ended([run.key])
                self._runs.begin(self._make_run(run.held, stretch.first, False))

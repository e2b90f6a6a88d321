"""A producer and its transaction thread: offsets, outputs and evidence land together, or none of them does.

A processor has one track or several, which share its partitions out and commit side by side. What one commits says
nothing of what another does: no output of an event, and no offset, depends on another partition.

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

While a transaction waits for the broker, the batch of the next one is attested by a thread of its own, if it is full
already.
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
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

from chio_fast.errors import Aborted, ChioError, Relieved, Unclean
from chio_fast.kafka import failpoint, metadata, roads
from chio_fast.kafka.aside import Aside
from chio_fast.kafka.checkpoints import checkpoint_record
from chio_fast.kafka.envelope import Form, json_record
from chio_fast.kafka.failures import error_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Consumer

    from chio_fast._native import Log, Runs, SignedCheckpoint, Stretch, Work
    from chio_fast.kafka.attesting import Attested, Attesting
    from chio_fast.kafka.calls import ToolCaller
    from chio_fast.kafka.checkpoints import Checkpoints
    from chio_fast.kafka.errands import Errand, Errands
    from chio_fast.kafka.failures import Failures
    from chio_fast.kafka.recovery import Recovery
    from chio_fast.kafka.retreat import Retreat
    from chio_fast.kafka.transaction import Transaction
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

MAX_KEPT = 5
"""Threads that may stay in calls of the client which do not return; each keeps a producer, too."""


class Track:
    """Commits what is finished of its partitions, transaction by transaction.

    Attributes:
        runs: its partitions, and the events of them that are being handled.
        rewind: takes the events of failed stretches again, on the thread that uses the client; set by the owner.
        transactions: how many were committed.
        aborts: how many were not.
        committed: events of those that were.

    Args:
        raw: the consumer, for its group metadata.
        runs: see above.
        failures: make the records of events whose handler failed.
        errands: what only the thread that uses the client may do.
        transaction: the producer.
        checkpoints: the topic that shows what was committed.
        attesting: seals receipts.
        recovery: knows what became of batches.
        retreat: ends and resolves transactions that failed.
        receipts: the log.
        tools: forget the calls of committed events.
        trouble: is told when this cannot go on.
        dlq_topic: for events that were denied.
    """

    def __init__(
        self,
        *,
        raw: Consumer,
        runs: Runs,
        failures: Failures,
        errands: Errands,
        transaction: Transaction,
        checkpoints: Checkpoints,
        attesting: Attesting,
        recovery: Recovery,
        retreat: Retreat,
        receipts: Log,
        tools: ToolCaller,
        trouble: Trouble,
        dlq_topic: str,
    ) -> None:
        self.runs = runs
        self.rewind: Callable[[Sequence[Stretch]], None]
        self.transactions = 0
        self.aborts = 0
        self.committed = 0
        self._raw = raw
        self._failures = failures
        self._errands = errands
        self._transaction = transaction
        self._checkpoints = checkpoints
        self._attesting = attesting
        self._recovery = recovery
        self._retreat = retreat
        self._receipts = receipts
        self._tools = tools
        self._trouble = trouble
        self._dlq_topic = dlq_topic
        self._running: Attested | None = None  # what the transaction of now covers
        self._kept = 0
        # Used by the thread alone: the batch of the next transaction, and what the one before has committed.
        self._aside = Aside("chio-attesting")
        self._ahead: Errand[Attested] | None = None
        self._committed: list[Stretch] = []
        self._thread = self._make_thread()

    # On the thread that uses the client.

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def is_busy(self) -> bool:
        """Whether a transaction is running."""
        return self._running is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing runs, and nothing can be committed."""
        return self.runs.is_settled and self._running is None

    @property
    def is_stuck(self) -> bool:
        """Whether the client does not return to the thread."""
        return self._transaction.is_stuck

    def fence(self) -> None:
        """End what an earlier producer of the id has left open."""
        self._transaction.start()

    def start(self) -> None:
        """Find out what became of the batches of the id, and start the thread; all tracks have been fenced before."""
        self._recovery.resolve_own()
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the thread to end, which it does once `runs.stop` was called."""
        self._thread.join(timeout)

    def end(self) -> None:
        """Let go of what it has beside its thread, which has ended."""
        self._aside.stop()

    def relieve(self) -> None:
        """Have another thread go on with the running transaction, if the client does not return to this one."""
        if not self._transaction.is_stuck or not self._transaction.relieve():
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
                attested = self._take_ahead()
                if attested is None:
                    stretches = self.runs.pick(self._retreat.limit)
                    if stretches is None:
                        return
                    attested = self._attest(stretches)
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

    def _attest(self, stretches: list[Stretch]) -> Attested:
        """Steps 1 and 2, up to where the log has the receipts and they are not durable yet."""
        failpoint.reach(1)
        return self._attesting.begin(stretches, self._errands.post(lambda: self._metadata(stretches)))

    def _look_ahead(self) -> None:
        """Have the batch of the next transaction attested meanwhile, if it is full and that was not begun already."""
        if self._ahead is None and (stretches := self.runs.pick_ahead(self._retreat.limit)):
            self._ahead = self._aside.begin(lambda: self._attest(stretches))

    def _take_ahead(self) -> Attested | None:
        """Give the batch that was attested meanwhile, if one was."""
        ahead, self._ahead = self._ahead, None
        return None if ahead is None else ahead.wait()

    def _transact(self, attested: Attested) -> None:
        """Do the other steps; see the module."""
        stretches, checkpoints = attested.stretches, self._attesting.finish(attested)
        failpoint.reach(2)
        try:
            self._transaction.begin()
            failpoint.reach(3)
            self._look_ahead()
            self._let_go()
            offsets = [TopicPartition(*stretch.run.key, stretch.next) for stretch in stretches]
            self._transaction.send_offsets(offsets, attested.metadata.wait())
            failpoint.reach(4)
            self._produce(attested)
            self._produce_checkpoint(checkpoints)
            failpoint.reach(5)
            self._look_ahead()
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
        abandoned = self._take_ahead()
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
            self._errands.ask(lambda: self.rewind(sought))

    def _produce(self, attested: Attested) -> None:
        """Step 5, but for the checkpoint record."""
        stretches = attested.stretches
        self._transaction.hand(stretches)
        for stretch in stretches:
            for work in stretch.letters:
                self._produce_letter(work)

    def _produce_letter(self, work: Work) -> None:
        """Produce the record of an event that was denied, or whose handler failed."""
        event, form = work.event, Form(work.form)
        if work.failure is None:
            [attempt] = self._receipts.attempts([event.ordinal or 0])
            topic, record = self._dlq_topic, json_record(event, None, attempt=attempt, form=form)
        else:
            topic, record = self._failures.error_topic or "", error_record(event, work.failure, form=form)
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
        found = roads.group_metadata(self._raw)
        # A client that was thrown out forgets generation and member before it says so, and from a transaction that
        # names neither a broker takes any offsets. It joins again only after it has said so, on this thread.
        if metadata.generation_in(found) == metadata.UNKNOWN_GENERATION:
            raise Aborted(f"`{self._transaction.transactional_id}` is no member of its group any longer")
        return found

    def _let_go(self) -> None:
        """Make room for as many events as the transaction before has committed, unless that is done already.

        Where another one follows at once, this waits until that has begun: the threads that take and handle events
        compete with this one for Python's lock, and have it to themselves while the broker takes the offsets.
        """
        committed, self._committed = self._committed, []
        if committed:
            self.runs.committed(committed)
            self._errands.poke()

    def _succeeded(self, stretches: list[Stretch]) -> None:
        self._committed = stretches
        self._retreat.succeeded()
        self._tools.committed({stretch.partition_key or b"": stretch.next for stretch in stretches})
        self.transactions += 1
        self.committed += sum(map(len, stretches))

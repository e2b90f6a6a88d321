"""What follows when a transaction fails: it is ended, resolved by reading, and charged to whom it was due to."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from chio_fast.errors import (
    CheckpointsError,
    ChioDeadLetterError,
    ChioDeliveryError,
    ChioError,
    ChioHandlerError,
    DeliveryFailed,
    Fenced,
    Unclean,
)
from chio_fast.kafka.client_errors import backoff
from chio_fast.kafka.dlq import REFUSED_FOR_ITS_SIZE
from chio_fast.kafka.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import KafkaError

    from chio_fast._native import SignedCheckpoint, Work
    from chio_fast.kafka.failures import Failures
    from chio_fast.kafka.recovery import Recovery
    from chio_fast.kafka.transaction import Transaction
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

MAX_FENCED = 3
"""Transactions in a row that another instance may end."""
ABORTS_BEFORE_HALVING = 2
"""Aborts in a row that are nobody's fault, after which the next transaction is made smaller."""


class Retreat:
    """Ends and resolves failed transactions, on the transaction thread.

    Attributes:
        limit: how many events the next transaction may cover.

    Args:
        transaction: what failed.
        recovery: reads what became of batches.
        failures: remembers refusals.
        trouble: says whether the processor still runs.
        batch_size: how many events a transaction may cover while all goes well.
    """

    def __init__(
        self, transaction: Transaction, recovery: Recovery, failures: Failures, trouble: Trouble, batch_size: int
    ) -> None:
        self.limit = batch_size
        self._batch_size = batch_size
        self._transaction = transaction
        self._recovery = recovery
        self._failures = failures
        self._trouble = trouble
        self._aborts = 0  # in a row, and nobody's fault
        self._fenced = 0  # in a row, without a timeout of its own

    def succeeded(self) -> None:
        """Note that a transaction was committed."""
        self._aborts = self._fenced = 0
        self.limit = min(self._batch_size, self.limit * 2)

    def after(self, error: Exception, checkpoints: Sequence[SignedCheckpoint]) -> bool:
        """End the failed transaction and read what became of its batches; True if it was committed after all.

        Raises:
            ChioError: the processor cannot go on.
        """
        log.warning("a transaction failed: %s", error)
        self._count_fenced(error)
        if isinstance(error, Unclean) or not self._abort():
            self._patiently(self._transaction.renew)
        committed = self._patiently(lambda: self._resolve(checkpoints))
        if committed:
            return True
        if isinstance(error, DeliveryFailed) and not self._is_doubtful(error):
            for charge, refusal in error.charges:
                self._charge(charge, refusal)
            return False
        self._aborts += 1
        if self._aborts > ABORTS_BEFORE_HALVING or isinstance(error, DeliveryFailed):
            self.limit = max(1, self.limit // 2)
        time.sleep(backoff(self._aborts))
        return False

    def _abort(self) -> bool:
        """Abort the failed transaction; False if the producer has to be renewed instead."""
        try:
            self._transaction.abort()
        except Unclean as unclean:
            self._count_fenced(unclean)
            return False
        return True

    def _count_fenced(self, error: Exception) -> None:
        if not isinstance(error, Fenced) or error.timed_out:
            return
        self._fenced += 1
        if self._fenced >= MAX_FENCED:
            raise ChioError(
                f"another instance uses the transactional id `{self._transaction.transactional_id}`: it ended "
                f"{self._fenced} transactions in a row; give every instance a `member=` of its own"
            ) from error

    def _resolve(self, checkpoints: Sequence[SignedCheckpoint]) -> bool:
        self._recovery.resolve_own()
        # As the log has it: who took over one of the partitions may have been faster.
        states = {self._recovery.state(each.batch) for each in checkpoints}
        if "prepared" in states:
            raise ChioError(
                "what became of a transaction cannot be told any more, because checkpoint records were deleted; start "
                "again: the committed offsets say where to go on"
            )
        return "committed" in states

    def _is_doubtful(self, error: DeliveryFailed) -> bool:
        """Whether a refusal may be due to the company: brokers measure and refuse whole batches of records."""
        sizes = [refusal.code() in REFUSED_FOR_ITS_SIZE for _, refusal in error.charges]
        return all(sizes) and len({id(charge) for charge, _ in error.charges}) > 1 and self.limit > 1

    def _patiently(self, step: Callable[[], bool | None]) -> bool:
        """Do a step, again while the cluster does not let it happen and the processor runs."""
        attempt = 0
        while True:
            try:
                return bool(step())
            except (Unclean, CheckpointsError) as error:
                if self._trouble.failure is not None:
                    raise
                self._count_fenced(error)
                log.warning("a failed transaction is not resolved yet: %s", error)
            time.sleep(backoff(attempt))
            attempt += 1

    def _charge(self, work: Work | None, refusal: KafkaError) -> None:
        """Lay a refusal on the event that it is due to; records of the processor's own stop it.

        Args:
            work: whose record was refused; None for the checkpoint record.
            refusal: what the client or the broker says.
        """
        said = f"{refusal.name()}: {refusal.str()}"
        if work is None:
            raise ChioDeliveryError(f"the checkpoint topic did not take a record: {said}; grant write access to it")
        if work.denied or work.failure is not None:
            if refusal.code() in REFUSED_FOR_ITS_SIZE and self._failures.shrink(work):
                return
            topic = "DLQ" if work.denied else "error topic"
            raise ChioDeadLetterError(
                f"the {topic} did not take the record of {work.event.request}: {said}; create the topic or grant write "
                "access, then start again: the event is redelivered"
            )
        if self._failures.error_topic is None:
            raise ChioHandlerError(f"an output of {work.event.request} was refused: {said}")
        self._failures.charge(work, Failure(refusal.name(), refusal.str(), work.attempts + 1))

"""The client's rules for transactions, for one transactional id: what each error means, and when to begin anew.

Sources: the transactional API of librdkafka (rdkafka.h, rdkafka_txnmgr.c), KIP-98, KIP-360; KIP-890 for what the
client lacks.
"""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from chio_fast.errors import Aborted, ChioConfigError, ChioError, DeliveryFailed, Fenced, Unclean
from chio_fast.kafka import config, roads
from chio_fast.kafka.absence import Absence
from chio_fast.kafka.client_errors import FENCED, NOT_ITS_FAULT, PATIENCE, REFUSED, backoff
from chio_fast.kafka.ear import Ear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confluent_kafka import TopicPartition

    from chio_fast._native import Check, Sender, Stretch, Work
    from chio_fast.kafka.ear import Produce, Report

log = logging.getLogger("chio_fast.kafka")

SLOW_COMMIT = 1.0
"""Seconds after which a commit that returned is not trusted: its request may have been sent twice, and the client does
not tell a late first one from the next transaction's (KIP-890)."""

INIT_SLICE = 5.0
"""Seconds that one call of `init_transactions` waits; the next one resumes it."""

FIRST_DELIVERY = 5.0
"""Seconds to wait for a first delivery before an abort."""

FLUSH_SLICE = 1.0
"""Seconds that one call of `flush` waits; a producer that is given up gets one, to hand back what it purged."""

SEND_SLICE = 5.0
"""Seconds that one call of `send_offsets_to_transaction` takes at most, says the client; the next one resumes it."""

LATE = 5.0
"""Seconds after which a call that takes longer than it may is taken for one that never returns. librdkafka 2.16.0 can
lose a request to a group coordinator whose broker dies, and waits for its answer without end."""

HEARD = 0.1
"""Seconds for which a client need not be asked again, before a transaction begins, what it has to say: an error that
comes between is heard later, and makes the commit unclean."""

POLL = 0.05
"""Seconds that one wait for a delivery report takes at most."""


class Transaction:
    """The producer of one transactional id, and its transactions one after the other; for one thread.

    What a call raises says what may follow: `Aborted` → `abort()`, then `begin()`; `Unclean` and `Fenced` → `renew()`,
    then read what became of the transaction, then `begin()`. `Relieved` → nothing: another thread has called `relieve`.

    Args:
        conf: one confluent configuration.
        transactional_id: names the instance, and stays the same over restarts.
        on_error: hears every client-level error; must not raise.

    Raises:
        ChioConfigError: a setting is unsafe or means nothing.
    """

    def __init__(
        self, conf: Mapping[str, Any], transactional_id: str, *, on_error: Callable[[KafkaError], None]
    ) -> None:
        self.transactional_id = transactional_id
        self._conf = dict(conf)
        self._on_error = on_error
        self._open = False
        self._began = 0.0
        self._produced = 0
        self._flushed = 0  # how many were handed over before the last `flush`
        self._delivered = False
        self._is_settled = True  # the transaction before was committed, or there was none
        self._is_watched = False  # each record of this one is to be heard of
        self._timeout = 0.0
        self._heard_at = -HEARD  # when the client was last asked what it has to say
        self._is_late = False
        self._sending = Absence()
        self._ear = Ear(on_error)
        self._producer: Producer | None = None
        self._sender: Sender | None = None
        self._build()

    @property
    def producer(self) -> Producer:
        """The client of now; `renew` and `begin` may replace it.

        Raises:
            ChioError: it was closed.
        """
        if self._producer is None:
            raise ChioError(f"the producer of `{self.transactional_id}` was closed")
        return self._producer

    @property
    def is_stuck(self) -> bool:
        """Whether the client does not return from a call; for other threads than the one that waits for it."""
        return self._sending.is_overdue

    def relieve(self) -> bool:
        """Take the place of the thread that the client does not return to, if there is one; `renew()` comes next."""
        return self._sending.relieve()

    def start(self) -> None:
        """Fence every earlier producer of this id, and finish what it left: committed if that had begun, else aborted.

        Raises:
            Unclean: it did not happen in time; `renew()` tries again.
            Fenced: a later producer of this id was faster.
            ChioConfigError: the cluster does not let this client have transactions.
        """
        self._call("start", lambda: self.producer.init_transactions(INIT_SLICE))
        self._call("start", lambda: self.producer.poll(0))
        self._ear.heard.clear()

    def begin(self) -> None:
        """Begin a transaction.

        A client that has had an error since it started is replaced first: for half a minute librdkafka keeps the same
        error to itself when it comes again, and `commit` relies on hearing it. So is one whose last commit was slow.

        Raises:
            Unclean, Fenced: `renew()` first; nothing was begun.
        """
        if time.monotonic() > self._heard_at + HEARD:
            self._call("begin", lambda: self.producer.poll(0))
        if self._ear.heard or self._is_late:
            self.renew()
        self._ear.begin()
        self._produced, self._flushed, self._delivered = 0, 0, False
        self._is_watched, self._is_settled = not self._is_settled, False
        self._began = time.monotonic()
        # The client's own method keeps Python's lock while it waits, and says what is wrong if something is.
        if self._sender is None or not self._sender.begin():
            self._call("begin", self.producer.begin_transaction)
        self._open = True

    def produce(
        self,
        topic: str,
        *,
        key: bytes | str | None = None,
        value: bytes | str | None = None,
        headers: Sequence[tuple[str, bytes | str | None]] | None = None,
        partition: int = -1,
        timestamp: int = 0,
        charge: Any = None,
    ) -> None:
        """Hand one record to the client; waits while its queue is full. What the broker says of it, `flush` raises.

        Args:
            topic: where to.
            key: key of the record.
            value: its value.
            headers: its headers.
            partition: -1 for the partitioner's choice.
            timestamp: Unix ms; 0 for now.
            charge: comes back in `DeliveryFailed.charges` if the record is refused, by client or broker.

        Raises:
            Unclean, Fenced: the producer cannot go on.
        """
        listed = None if headers is None else list(headers)

        def hand(produce: Produce, report: Report) -> None:
            produce(topic, value, key, partition, report, None, timestamp, listed)

        self.send(hand, charge)

    def send(self, hand: Callable[[Produce, Report], None], charge: Any) -> None:
        """Do what `produce` does with a record that `hand` knows.

        Args:
            hand: gives the record to the client's `produce`, with the delivery callback; `Check.send` is one.
            charge: as for `produce`.

        Raises:
            Unclean, Fenced: the producer cannot go on.
        """
        report = self._ear.charged(charge)
        while True:
            try:
                hand(self.producer.produce, report)
            except BufferError:
                self._call("produce", lambda: self.producer.poll(POLL))
            except KafkaException as failure:
                self._not_taken(charge, failure.args[0])
                return
            else:
                self._produced += 1
                return

    def hand(self, stretches: Sequence[Stretch]) -> None:
        """Do what `send` does with what handlers produced, which has its receipts, faster where the client allows it.

        On the fast road nobody hears of single records: `flush` knows that none is on its way any more, and `commit`
        that each was delivered. After a failure the ordinary road is taken until a transaction was committed, so that
        `flush` says whose record was refused.

        Args:
            stretches: their outputs go in this order; each is charged to its work.

        Raises:
            Unclean, Fenced: the producer cannot go on.
        """
        if self._sender is None or self._is_watched:
            for output, work in _outputs(stretches):
                self.send(output.send, work)
            return
        for taken, place, code in roads.hand(self._sender, stretches):
            self._produced += taken
            if code == KafkaError._QUEUE_FULL:
                self._call("produce", lambda: self.producer.poll(POLL))
            elif code:
                _, work = next(itertools.islice(_outputs(stretches), place, None))
                self._not_taken(work, KafkaError(code))

    def flush(self) -> None:
        """Wait until no record of the transaction is on its way.

        Raises:
            DeliveryFailed: records were refused; `charges` says which, of those that did not take the fast road. That
                some of the others were is said here if something still waits beside them, else by `commit`.
            Aborted: records were not acknowledged in time, which is nobody's fault.
            Unclean, Fenced: the producer cannot go on.
        """
        # The client is done with every record within `delivery.timeout.ms`, which is no longer than a transaction's.
        deadline = time.monotonic() + self._timeout + PATIENCE
        while self._flushed < self._produced and self._call("flush", lambda: self.producer.flush(FLUSH_SLICE)):
            self._raise_if_given_up()
            if time.monotonic() > deadline:
                raise Unclean(f"`{self.transactional_id}`: {len(self.producer)} records are still on their way")
        self._flushed = self._produced
        self._delivered = self._produced > 0 and not self._ear.refused
        if self._ear.refused:
            raise self._refusal(self._ear.refused)

    def send_offsets(self, offsets: Sequence[TopicPartition], metadata: object) -> None:
        """Make the group's offsets part of the transaction.

        Args:
            offsets: per partition the offset of the next event.
            metadata: the consumer's `consumer_group_metadata()` of just now.

        Raises:
            ChioError: an offset is no offset; the client would leave it out in silence.
            Aborted: the group has moved on, or the broker refuses.
            Unclean, Fenced: the producer cannot go on.
            Relieved: the client has kept this thread for too long.
        """
        for offset in offsets:
            if offset.offset < 0:
                raise ChioError(
                    f"offset {offset.offset} of {offset.topic}[{offset.partition}] cannot be committed; give the "
                    "offset of the next event"
                )
        same = list(offsets)
        self._call("send_offsets", lambda: self._send(same, metadata))

    def commit(self) -> None:
        """Commit; to return means that it is committed.

        Raises:
            DeliveryFailed, Aborted: records were refused, so nothing was committed. Without `charges`, it is not known
                which: the next transaction knows.
            Unclean: the commit raised, took longer than `SLOW_COMMIT`, or the client has had an error since `begin`: an
                earlier one may have kept the same one during the commit from being heard.
            Fenced: the commit raised that.
        """
        self.flush()
        began = time.monotonic()
        try:
            self.producer.commit_transaction(-1)
            took = time.monotonic() - began
            # What the client had to say meanwhile is in its queue until it is asked for.
            self.producer.poll(0)
            self._heard_at = time.monotonic()
        except (KafkaException, SystemError) as failure:
            error = self._error_of(failure)
            if error.code() == KafkaError._INCONSISTENT and error.txn_requires_abort():
                # The client counts records that were not delivered, and looks at the count before it asks the broker.
                what = f"`{self.transactional_id}`: commit: {error.name()}: {error.str()}"
                raise DeliveryFailed(what, []) from failure
            # Any other error, be it one that asks for an abort, does not prove that the broker did not commit.
            raise self._ended("commit", error) from failure
        self._open, self._is_settled = False, True
        if took > SLOW_COMMIT:
            self._is_late = True
            raise Unclean(f"`{self.transactional_id}`: the commit took {took:.1f} s, which is not trusted")
        if self._ear.heard:
            error = self._ear.heard[0]
            raise Unclean(f"`{self.transactional_id}`: the client had an error: {error.name()}: {error.str()}")

    def abort(self) -> None:
        """Abort the transaction, if one is open; `begin` may follow.

        Raises:
            Unclean, Fenced: `renew()` first.
        """
        if not self._open:
            return
        self._await_first_delivery()
        self._call("abort", lambda: self.producer.abort_transaction(-1), repeat_abortable=True)
        self._open = False

    def renew(self) -> None:
        """Replace the producer by a new one of the same id and `start` it; the old one is given up, not waited for.

        Raises:
            Unclean, Fenced, ChioConfigError: as `start` does; it may be called again.
        """
        self.close()
        self._build()
        self.start()

    def close(self) -> None:
        """Give the producer up; a transaction that is open is aborted by the next producer of the id, or times out."""
        old, self._producer, self._sender = self._producer, None, None
        self._open = False
        if old is None:
            return
        try:
            old.purge()
            old.flush(FLUSH_SLICE)
        except (KafkaException, SystemError) as failure:
            log.debug("producer of `%s` was given up: %r", self.transactional_id, failure)

    def _build(self) -> None:
        self._is_late = False
        self._ear = Ear(self._on_error)
        settings = config.transactional_config(self._conf, self.transactional_id, self._ear.on_error)
        self._timeout = int(settings["transaction.timeout.ms"]) / 1000
        try:
            self._producer = Producer(settings)
        except KafkaException as failure:
            raise ChioConfigError(f"the configuration is refused by the client: {failure.args[0].str()}") from failure
        self._sender = roads.fast(self._producer)

    def _call(self, step: str, call: Callable[[], Any], *, repeat_abortable: bool = False) -> Any:
        """Call, and again while the client says to; see the class for what is raised."""
        deadline = time.monotonic() + PATIENCE
        for attempt in itertools.count():
            try:
                return call()
            except (KafkaException, SystemError) as failure:
                error = self._error_of(failure)
                if error.txn_requires_abort() and not repeat_abortable:
                    raise Aborted(f"`{self.transactional_id}`: {step}: {error.name()}: {error.str()}") from failure
                again = error.retriable() or error.txn_requires_abort()
                if not again or time.monotonic() > deadline:
                    raise self._ended(step, error) from failure
                log.debug("`%s`: %s is called again: %s", self.transactional_id, step, error)
            time.sleep(backoff(attempt))
        raise AssertionError  # the loop has no end of its own

    def _send(self, offsets: list[TopicPartition], metadata: object) -> None:
        with self._sending.limited(SEND_SLICE + LATE):
            self.producer.send_offsets_to_transaction(offsets, metadata, SEND_SLICE)

    def _not_taken(self, charge: Any, error: KafkaError) -> None:
        """Note a record that the client refused; raise if its producer cannot go on."""
        if error.code() in (KafkaError._FATAL, *FENCED):
            raise self._ended("produce", self._why() or error)
        self._ear.refused.append((charge, error))

    def _error_of(self, failure: KafkaException | SystemError) -> KafkaError:
        """Give the client's error.

        A fatal one is raised by the call that serves callbacks, and spoilt if another callback runs in the same call:
        what arrives then is a SystemError, with or without it as a cause.
        """
        error = failure.args[0] if isinstance(failure, KafkaException) else self._why()
        if not isinstance(error, KafkaError):
            raise failure
        return error

    def _why(self) -> KafkaError | None:
        """Ask the client why it cannot go on, after a failure or within a transaction: `begin_transaction` says so."""
        try:
            self.producer.begin_transaction()
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
        return None

    def _ended(self, step: str, error: KafkaError) -> ChioError:
        """Say what an error means after which this producer cannot go on."""
        what = f"`{self.transactional_id}`: {step}: {error.name()}: {error.str()}"
        if error.code() in FENCED:
            timed_out = self._open and time.monotonic() - self._began >= self._timeout
            return Fenced(what, timed_out=timed_out)
        if error.code() in REFUSED:
            return ChioConfigError(f"{what}; grant Write on the transactional id, or lower `transaction.timeout.ms`")
        return Unclean(what)

    def _raise_if_given_up(self) -> None:
        """Raise if the client has given the transaction up because of a record.

        Others, whose partition is no part of the transaction yet, would wait until they time out.
        """
        error = self._why()
        if error is None or not error.txn_requires_abort():
            return
        if self._ear.refused:
            raise self._refusal(self._ear.refused)
        what = f"`{self.transactional_id}`: flush: {error.name()}: {error.str()}"
        raise Aborted(what) if error.code() in NOT_ITS_FAULT else DeliveryFailed(what, [])

    def _refusal(self, refused: Sequence[tuple[Any, KafkaError]]) -> ChioError:
        """Say whose fault it is that records were not delivered."""
        for _, error in refused:
            if error.code() in FENCED:
                return self._ended("flush", error)
        charges = [(charge, error) for charge, error in refused if error.code() not in NOT_ITS_FAULT]
        error = (charges or refused)[0][1]
        what = f"`{self.transactional_id}`: {len(refused)} records were not delivered: {error.name()}: {error.str()}"
        return DeliveryFailed(what, charges) if charges else Aborted(what)

    def _await_first_delivery(self) -> None:
        """Let one record arrive.

        Until then the coordinator may not know the transaction, and the client takes its refusal to abort it for fatal
        (librdkafka#4849).
        """
        deadline = time.monotonic() + FIRST_DELIVERY
        while self._produced and not self._delivered and time.monotonic() < deadline:
            self._call("abort", lambda: self.producer.poll(POLL), repeat_abortable=True)
            self._delivered = len(self.producer) < self._produced


def _outputs(stretches: Sequence[Stretch]) -> Iterator[tuple[Check, Work]]:
    """Give what handlers produced, each output with the work that it is of."""
    return ((output, work) for stretch in stretches for work in stretch.works for output in work.outputs)

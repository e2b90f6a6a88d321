"""Puts the parts of a processor together, and runs them: the thread of `run` is the one that uses the client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from chio_fast import steps
from chio_fast._native import Run, Runs
from chio_fast.kafka import anchors, config, metadata
from chio_fast.kafka.assignment import Assigned, Assignments, partition_maker
from chio_fast.kafka.attesting import Attesting
from chio_fast.kafka.buffer import Buffer
from chio_fast.kafka.calls import ToolCaller
from chio_fast.kafka.checkpoints import Checkpoints
from chio_fast.kafka.dispatcher import Dispatcher
from chio_fast.kafka.ear import ErrorEar
from chio_fast.kafka.errands import Errands
from chio_fast.kafka.exactly_once import ExactlyOnce
from chio_fast.kafka.failures import Failures
from chio_fast.kafka.fairness import Fairness
from chio_fast.kafka.guarding import OwnLoop
from chio_fast.kafka.handler_context import Boundaries
from chio_fast.kafka.in_flight import InFlight
from chio_fast.kafka.inflow import Inflow
from chio_fast.kafka.inheritance import Inheritance
from chio_fast.kafka.intake import ENTER_EVERY, SLICE, Intake
from chio_fast.kafka.limits import Limits
from chio_fast.kafka.member import Member
from chio_fast.kafka.partitions import Partitions
from chio_fast.kafka.placement import Placement
from chio_fast.kafka.proving import Proving
from chio_fast.kafka.recognition import Recognition
from chio_fast.kafka.recovery import Recovery
from chio_fast.kafka.retreat import Retreat
from chio_fast.kafka.starts import Starts
from chio_fast.kafka.stats import PartitionStats, ProcessorStats
from chio_fast.kafka.throttle import Throttle
from chio_fast.kafka.track import Track
from chio_fast.kafka.transaction import Transaction

if TYPE_CHECKING:
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.options import Options

log = logging.getLogger("chio_fast.kafka")

Handler = Callable[[Any, Any], Any]

STALLED_WAIT = 0.01
"""Seconds of one wait inside the client while works wait for a worker, so that a held up one is noticed soon."""
FULL_WAIT = 0.05
"""Seconds of one wait for room."""


class Processing:
    """The parts of one processor while it runs.

    Args:
        options: what the processor is told.
        enforcer: decides and issues.
        handlers: by topic.

    Raises:
        ChioError: a part cannot be built; those that were built before have ended.
        KafkaException: the cluster cannot be reached.
    """

    def __init__(self, options: Options, enforcer: Enforcer, handlers: Mapping[str, Handler]) -> None:
        self._options = options
        self._enforcer = enforcer
        self._handlers = handlers
        self._stopping = threading.Event()
        self._entered_at = 0.0
        self._ending = ExitStack()
        ear = ErrorEar()
        self.trouble = ear.trouble
        with ExitStack() as failing:
            failing.callback(self._ending.close)
            self._build(options, enforcer, ear)
            failing.pop_all()

    def _build(self, options: Options, enforcer: Enforcer, ear: ErrorEar) -> None:
        """Make the parts, and see to it that they end, the last one first."""
        self._reach_cluster(options, enforcer, ear)
        self._build_handling(options, enforcer)
        self._build_tracks(options, enforcer, ear)
        self._build_intake(options, enforcer, ear)

    def _reach_cluster(self, options: Options, enforcer: Enforcer, ear: ErrorEar) -> None:
        """Make what talks to the cluster."""
        self._raw = Consumer(config.processor_consumer_config(options.conf, ear))
        self._member = Member(
            options.group,
            options.member,
            options.conf.get("group.instance.id"),
            transactional_id=options.transactional_id,
        )
        self._at_end(self._member.release)
        self._checkpoints = Checkpoints(options.conf, options.checkpoint_topic)
        self._checkpoints.ensure(create=True)
        admin = AdminClient(config.admin_config(options.conf))
        self._limits = Limits(options.conf, admin, options.written)
        topics = self._raw.list_topics(timeout=metadata.TIMEOUT)
        self._warn_of_missing(topics.topics)
        self._cluster = metadata.Cluster(topics, admin)
        self._anchors = anchors.begin(
            enforcer.log,
            enforcer.receipt_log,
            producer=lambda: anchors.own_producer(options.conf),
            conf=options.conf,
            metadata=topics,
            topic=options.anchor_topic,
        )
        if self._anchors is not None:
            self._at_end(self._anchors.close)

    def _build_handling(self, options: Options, enforcer: Enforcer) -> None:
        """Make what knows the events in flight, and runs their handlers."""
        self._runs_by_track = [Runs(options.batch_size, options.max_batch_ms / 1000) for _ in range(options.tracks)]
        self.runs = InFlight(self._runs_by_track, options.in_flight)
        self.failures = Failures(options.on_handler_error, options.error_topic, options.max_attempts)
        journal = options.open_journal(enforcer.receipt_log)
        if journal is not None:
            self._at_end(journal.close)
        self._tools = ToolCaller(
            enforcer,
            options.identity,
            journal,
            on_divergence=options.on_divergence,
            stop=self.trouble.stop,
        )
        self.dispatcher = Dispatcher(
            runs=self.runs,
            failures=self.failures,
            proving=Proving(enforcer.gate, enforcer.receipt_log, self.failures, self.runs),
            boundaries=self._boundaries(),
            trouble=self.trouble,
            concurrency=options.concurrency,
            order=options.order,
        )

    def _build_tracks(self, options: Options, enforcer: Enforcer, ear: ErrorEar) -> None:
        """Make what commits."""
        self._errands = Errands()
        ids = self._member.transactional_ids(options.tracks)
        recoveries = [
            Recovery(
                enforcer.receipt_log,
                enforcer.gate,
                self._checkpoints,
                group=options.group,
                transactional_id=own,
                siblings=ids,
            )
            for own in ids
        ]
        self._inheritance = Inheritance(options.conf, recoveries[0], self.runs, self.trouble)
        self._at_end(self._inheritance.stop)
        self.exactly_once = ExactlyOnce(
            [
                self._build_track(options, enforcer, ear, own, recovery, runs)
                for own, recovery, runs in zip(ids, recoveries, self._runs_by_track, strict=True)
            ],
            self.runs,
            gate=enforcer.gate,
            errands=self._errands,
            inheritance=self._inheritance,
            trouble=self.trouble,
            make_run=self._make_run,
        )

    def _build_track(  # noqa: PLR0917 - what differs from track to track comes last
        self,
        options: Options,
        enforcer: Enforcer,
        ear: ErrorEar,
        transactional_id: str,
        recovery: Recovery,
        runs: Runs,
    ) -> Track:
        """Make one of them."""
        transaction = Transaction(self._limits.producer_settings(), transactional_id, on_error=ear)
        self._at_end(transaction.close)
        attesting = Attesting(
            enforcer.gate,
            self._checkpoints,
            cluster=self._cluster.id or "",
            group=options.group,
            member=self._member.name,
            transactional_id=transactional_id,
        )
        return Track(
            raw=self._raw,
            runs=runs,
            failures=self.failures,
            errands=self._errands,
            transaction=transaction,
            checkpoints=self._checkpoints,
            attesting=attesting,
            recovery=recovery,
            retreat=Retreat(transaction, recovery, self.failures, self.trouble, options.batch_size),
            receipts=enforcer.log,
            tools=self._tools,
            trouble=self.trouble,
            dlq_topic=options.dlq_topic,
        )

    def _build_intake(self, options: Options, enforcer: Enforcer, ear: ErrorEar) -> None:
        """Make what takes events in."""
        self._recognition = Recognition(
            enforcer.receipt_log, options.on_replay, options.duplicates, is_keyed=enforcer.has_digest_key
        )
        make_partition = partition_maker(
            enforcer.gate, self._cluster, self._recognition, identity=options.identity, group=options.group
        )
        self.assignments = Assignments(options.consume_scopes, make_partition, track_returned=False)
        self.buffer = Buffer()
        self.throttle = Throttle(self._raw, self.assignments, options.batch_size, lambda: self.buffer.paused)
        inflow = Inflow(self._raw)
        self._errands.wake = inflow.wake
        starts = Starts(self._raw, self.assignments, self._cluster, config.reset_of(options.conf))
        self.partitions = Partitions(
            raw=self._raw,
            gate=enforcer.gate,
            cluster=self._cluster,
            assignments=self.assignments,
            starts=starts,
            placement=Placement(
                raw=self._raw,
                inflow=inflow,
                assignments=self.assignments,
                starts=starts,
                throttle=self.throttle,
                is_cooperative=config.is_cooperative(options.conf),
            ),
            buffer=self.buffer,
            throttle=self.throttle,
            commit=self.exactly_once,
            trouble=self.trouble,
        )
        self.exactly_once.partitions = self.partitions
        self._fairness = Fairness(self.runs, self.partitions)
        self.intake = Intake(
            inflow=inflow,
            gate=enforcer.gate,
            run_guards=OwnLoop(enforcer.guards),
            assignments=self.assignments,
            buffer=self.buffer,
            throttle=self.throttle,
            partitions=self.partitions,
            commit=self.exactly_once,
            issue=self.dispatcher.take,
            trouble=self.trouble,
            before_action=False,
            on_error=options.on_error,
            recognition=self._recognition,
        )
        ear.intake = self.intake
        self._at_end(self._seal)
        self._at_end(lambda: self.exactly_once.stop(self.exactly_once.timeout))
        self._at_end(self.dispatcher.stop)
        self._at_end(self._raw.close)
        self._at_end(self.intake.close)

    def _at_end(self, step: Callable[[], Any]) -> None:
        """Have `step` done when it is over, whatever becomes of the other steps."""

        def end() -> None:
            try:
                step()
            except Exception as error:
                log.exception("the processor did not end cleanly")
                self.trouble.raise_once(error)

        self._ending.callback(end)

    def run(self) -> None:
        """Process until `stop`, then finish what is in flight and leave the group.

        Raises:
            ChioError: the processor cannot go on.
            KafkaException: the client cannot.
        """
        try:
            self.exactly_once.start()
            self.partitions.subscribe(self, list(self._options.consume_scopes), {})
            while not self._stopping.is_set():
                self._turn()
            self._finish()
        finally:
            self._ending.close()
        self.trouble.deliver()

    def stop(self) -> None:
        """Have `run` finish what is in flight, and return; may be called from signal handlers and other threads."""
        self._stopping.set()
        self._errands.poke()

    def stats(self) -> ProcessorStats:
        """Count what was done so far."""
        return ProcessorStats(
            taken=self.intake.handed_out + self.intake.denied,
            denied=self.intake.denied,
            in_flight=self.runs.taken,
            unfinished=self.runs.unfinished,
            committed=self.exactly_once.committed,
            transactions=self.exactly_once.transactions,
            aborts=self.exactly_once.aborts,
            retried=self.failures.retried,
            failed=self.failures.failed,
            calls_replayed=self._tools.replayed,
            calls_unknown=self._tools.unknown,
            calls_diverged=self._tools.diverged,
            dropped=self.partitions.dropped,
            buffered=len(self.buffer.ready),
            throttled=self.throttle.active,
            client_errors=self.intake.client_errors,
            replays=self._recognition.replays,
            duplicates=self._recognition.duplicates,
            anchors=self._anchors.published if self._anchors else 0,
            anchor_failures=self._anchors.failures if self._anchors else 0,
            receipts_issued=self._enforcer.log.issued,
            receipts_durable=self._enforcer.log.durable,
            policy_version=self._enforcer.policy.version,
            transactional_id=self._member.transactional_id,
            partitions=[PartitionStats.of(held) for held in self.assignments],
        )

    def _turn(self) -> None:
        """Take what there is room for, or wait for room; the client is entered often enough either way."""
        self.dispatcher.turn()
        self._fairness.look()
        room = self.runs.room
        if room > 0:
            self.intake.consume(min(room, self._options.batch_size), STALLED_WAIT if self.runs.unfinished else SLICE)
            return
        if self.trouble.waiting:
            self.trouble.deliver()
        self._stay_alive()

    def _stay_alive(self) -> None:
        """Serve the other threads for a moment, and enter the client if it is time."""
        self._errands.wait(FULL_WAIT)
        self.exactly_once.pump()
        if time.monotonic() >= self._entered_at + ENTER_EVERY:
            self._entered_at = time.monotonic()
            self.intake.keep_alive()

    def _finish(self) -> None:
        """Take nothing any more; wait for what is in flight, and for its commit."""
        self.throttle.stop_fetching()
        deadline = time.monotonic() + self._options.drain_timeout
        while self.runs.unfinished and time.monotonic() < deadline:
            self.trouble.deliver()
            self.dispatcher.turn()
            self._stay_alive()
        if self.runs.unfinished:
            log.warning("%d events were not finished within %g s", self.runs.unfinished, self._options.drain_timeout)
        self.exactly_once.drain(self.exactly_once.timeout)

    def _seal(self) -> None:
        """Have what was issued last durable: no batch follows that the last transaction's outcome could ride with."""
        receipts = self._enforcer.log
        receipts.wait_durable(receipts.seal())

    def _make_run(self, held: Assigned, next_offset: int, fresh: bool) -> Run:
        handler = self._handlers[held.key[0]]
        unproven = self._options.in_flight if fresh else 0
        return Run(
            held,
            handler,
            next_offset,
            is_async=steps.is_async(handler),
            unproven=unproven,
            generation=metadata.generation_of(self._raw),
        )

    def _boundaries(self) -> Boundaries:
        identity, scopes = self._options.identity, self._options.produce_scopes
        self._cluster.refresh(scopes)
        outlets = {
            topic: self._enforcer.gate.outlet(
                topic,
                scope=scope,
                identity=identity,
                cluster=self._cluster.id,
                topic_id=self._cluster.topic_id(topic),
                carries_trace=True,
            )
            for topic, scope in scopes.items()
        }
        return Boundaries(self._enforcer, self._tools, outlets, self._limits.by_topic)

    def _warn_of_missing(self, known: Mapping[str, Any]) -> None:
        for topic in self._options.written:
            if topic not in known:
                log.warning("topic `%s` does not exist: the first record for it will fail", topic)

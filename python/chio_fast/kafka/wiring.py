"""Puts the parts of a governed consumer together."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from chio_fast.errors import ChioConfigError
from chio_fast.kafka import anchors, metadata
from chio_fast.kafka.assignment import Assignments, partition_maker
from chio_fast.kafka.buffer import Buffer
from chio_fast.kafka.claims import Claims
from chio_fast.kafka.commit import Commit
from chio_fast.kafka.guarding import OwnLoop
from chio_fast.kafka.inflow import Inflow
from chio_fast.kafka.intake import Intake
from chio_fast.kafka.landing import Landing
from chio_fast.kafka.partitions import Partitions
from chio_fast.kafka.placement import Placement
from chio_fast.kafka.recognition import Recognition
from chio_fast.kafka.starts import Starts
from chio_fast.kafka.stats import ConsumerStats, PartitionStats
from chio_fast.kafka.throttle import Throttle
from chio_fast.kafka.tripwire import Tripwire

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, TopicPartition

    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.clients import Clients
    from chio_fast.kafka.dlq import ChioDeadLetterProducer
    from chio_fast.repeats import Duplicates, OnReplay

log = logging.getLogger("chio_fast.kafka")

Evidence = Literal["before_commit", "before_action"]


class Pipeline:
    """The parts of one governed consumer, wired; what `ChioConsumerMiddleware` calls.

    Args:
        clients: the consumer, and what is needed beside it.
        enforcer: decides and issues.
        identity: who consumes.
        scope_map: the scope that each topic needs.
        dlq: writes denied events.
        batch_size: how many events are fetched and decided together at most.
        evidence: when receipts have to be durable, see `ChioConsumerMiddleware`.
        on_error: hears errors that the client deals with by itself.
        on_commit: hears the outcome of every commit.
        anchor_topic: where heads of the receipt log are published; None for nowhere.
        on_replay: what to do with events that the log holds already.
        duplicates: how duplicates are recognised; None if they are not.

    Raises:
        ChioConfigError: a value makes no sense.
        LogBehindError: the log does not hold the checkpoint that was anchored last.
        KafkaException: the cluster cannot be reached.
    """

    def __init__(
        self,
        clients: Clients,
        enforcer: Enforcer,
        *,
        identity: str,
        scope_map: dict[str, str],
        dlq: ChioDeadLetterProducer,
        batch_size: int,
        evidence: Evidence,
        on_error: Callable[[KafkaError], None] | None,
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] | None,
        anchor_topic: str | None,
        on_replay: OnReplay,
        duplicates: Duplicates | None,
    ) -> None:
        if evidence not in ("before_commit", "before_action"):
            raise ChioConfigError(f"`evidence` is `{evidence}`; write `before_commit` or `before_action`")
        if not 1 <= batch_size <= 100_000:
            raise ChioConfigError(f"`batch_size` is `{batch_size}`; write a number from 1 to 100000")
        raw, gate = clients.consumer, enforcer.gate
        cluster_metadata = raw.list_topics(timeout=metadata.TIMEOUT)
        if dlq.dlq_topic not in cluster_metadata.topics:
            log.warning("the DLQ topic `%s` does not exist: the first denial will stop this consumer", dlq.dlq_topic)
        cluster = metadata.Cluster(cluster_metadata, clients.admin)
        self.anchors = anchors.begin(
            enforcer.log,
            enforcer.receipt_log,
            producer=lambda: clients.producer,
            conf=clients.conf,
            metadata=cluster_metadata,
            topic=anchor_topic,
        )

        recognition = Recognition(enforcer.receipt_log, on_replay, duplicates, is_keyed=enforcer.has_digest_key)
        make_partition = partition_maker(gate, cluster, recognition, identity=identity, group=clients.group)
        self.raw = raw
        self.enforcer = enforcer
        self.trouble = clients.ear.trouble
        self.assignments = Assignments(scope_map, make_partition, track_returned=evidence == "before_action")
        self.buffer = Buffer()
        self.landing = Landing(
            raw=raw,
            assignments=self.assignments,
            trouble=self.trouble,
            tripwire=Tripwire(raw, self.assignments),
            reports=clients.reports,
            on_commit=on_commit,
        )
        self.commit = Commit(
            receipts=enforcer.log,
            dlq=dlq,
            landing=self.landing,
            assignments=self.assignments,
            trouble=self.trouble,
        )
        self.claims = Claims(self.assignments, self.commit, enforcer.log, self.trouble)
        self.throttle = Throttle(raw, self.assignments, batch_size, lambda: self.buffer.paused)
        inflow = Inflow(raw)
        starts = Starts(raw, self.assignments, cluster, clients.reset)
        self.partitions = Partitions(
            raw=raw,
            gate=gate,
            cluster=cluster,
            assignments=self.assignments,
            starts=starts,
            placement=Placement(
                raw=raw,
                inflow=inflow,
                assignments=self.assignments,
                starts=starts,
                throttle=self.throttle,
                is_cooperative=clients.is_cooperative,
            ),
            buffer=self.buffer,
            throttle=self.throttle,
            commit=self.commit,
            trouble=self.trouble,
        )
        self.intake = Intake(
            inflow=inflow,
            gate=gate,
            run_guards=OwnLoop(enforcer.guards),
            assignments=self.assignments,
            buffer=self.buffer,
            throttle=self.throttle,
            partitions=self.partitions,
            commit=self.commit,
            issue=partial(gate.issue, before_action=True) if evidence == "before_action" else gate.issue,
            trouble=self.trouble,
            before_action=evidence == "before_action",
            on_error=on_error,
            recognition=recognition,
        )
        self.recognition = recognition
        clients.ear.intake, clients.ear.landing = self.intake, self.landing

    def close(self) -> None:
        """Finish what was asked for, leave the group, end the thread; raise the first thing that went wrong."""
        errors: list[BaseException] = []
        steps: list[Callable[[], Any]] = [
            self.intake.close,
            lambda: self.commit.drain(self.commit.timeout),
            self._leave_group,
            lambda: self.commit.stop(self.commit.timeout),
            self.anchors.close if self.anchors else lambda: None,
            self.trouble.deliver,
        ]
        for step in steps:
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - every step has its turn, then the first error is raised
                errors.append(error)
        if errors:
            raise errors[0]

    def _leave_group(self) -> None:
        with self.commit.client:
            self.raw.close()
            self.assignments.give_up([held.key for held in self.assignments])

    def stats(self) -> ConsumerStats:
        """Count what was done so far."""
        return ConsumerStats(
            handed_out=self.intake.handed_out,
            denied=self.intake.denied,
            dead_letters=self.commit.dead_letters,
            dropped=self.partitions.dropped,
            recreated=self.partitions.recreated,
            buffered=len(self.buffer.ready),
            set_aside=self.buffer.set_aside,
            backlog=self.commit.backlog,
            throttled=self.throttle.active,
            client_errors=self.intake.client_errors,
            commits=self.landing.commits,
            commit_failures=self.landing.failures,
            replays=self.recognition.replays,
            duplicates=self.recognition.duplicates,
            anchors=self.anchors.published if self.anchors else 0,
            anchor_failures=self.anchors.failures if self.anchors else 0,
            receipts_issued=self.enforcer.log.issued,
            receipts_durable=self.enforcer.log.durable,
            policy_version=self.enforcer.policy.version,
            partitions=[PartitionStats.of(held) for held in self.assignments],
        )

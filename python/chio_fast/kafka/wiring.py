"""Puts the parts of a governed consumer together."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from chio_fast import settings
from chio_fast.enforcer import Enforcer
from chio_fast.errors import ChioConfigError
from chio_fast.kafka import anchors, config, metadata
from chio_fast.kafka.assignment import Assignments
from chio_fast.kafka.buffer import Buffer
from chio_fast.kafka.claims import Claims
from chio_fast.kafka.commit import Commit
from chio_fast.kafka.guarding import OwnLoop
from chio_fast.kafka.intake import Intake
from chio_fast.kafka.landing import Landing
from chio_fast.kafka.partitions import Partitions
from chio_fast.kafka.recognition import Recognition
from chio_fast.kafka.stats import ConsumerStats, PartitionStats
from chio_fast.kafka.throttle import Throttle
from chio_fast.kafka.tripwire import Tripwire
from chio_fast.kafka.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import TopicPartition

    from chio_fast._native import Partition, Policy, Signer, StrPath
    from chio_fast.guards import Guards
    from chio_fast.kafka.dlq import ChioDeadLetterProducer
    from chio_fast.log import ReceiptLog
    from chio_fast.policy import PolicyWatcher
    from chio_fast.repeats import Duplicates, OnReplay

log = logging.getLogger("chio_fast.kafka")

Evidence = Literal["before_commit", "before_action"]
_sidecar_warned = False


class ErrorEar:
    """Takes client-level errors from any thread, and results of commits; there before the parts that deal with them."""

    def __init__(self) -> None:
        self.intake: Intake | None = None
        self.landing: Landing | None = None
        self.trouble = Trouble()

    def __call__(self, error: KafkaError) -> None:
        """Stop for a fatal error, note any other."""
        if error.fatal():
            self.trouble.stop(KafkaException(error))
        elif self.intake is not None:
            self.intake.hear_transient(error)

    def on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Pass on what became of a commit; for clients that were built with this as their `on_commit`."""
        if self.landing is not None:
            self.landing.landed(error, offsets)


@dataclass(frozen=True)
class Clients:
    """The confluent clients of a governed consumer.

    Attributes:
        consumer: what is governed.
        producer: writes the DLQ.
        admin: asks for topic ids; None where it cannot be built.
        conf: settings by which further clients can be built; None where they are not known.
        reports: whether the consumer tells `ear` what became of its commits.
        ear: hears client-level errors.
        group: the consumer group, where it is known.
    """

    consumer: Consumer
    producer: Producer
    admin: AdminClient | None
    ear: ErrorEar
    group: str | None
    conf: Mapping[str, Any] | None
    reports: bool = False


def enforcer_for(
    *,
    enforcer: Enforcer | None,
    identity: str | None,
    policy: Policy | PolicyWatcher | StrPath | None,
    receipt_log: ReceiptLog | StrPath | None,
    signer: Signer | StrPath | None,
    guards: Guards | None,
) -> Enforcer:
    """Give the enforcer, the one passed or a new one.

    Raises:
        ChioConfigError: an enforcer and parts of one are both given, or there is no policy.
    """
    if enforcer is None:
        return Enforcer(policy, receipt_log=receipt_log, signer=signer, guards=guards, identity=identity)
    parts = {"policy": policy, "receipt_log": receipt_log, "signer": signer, "guards": guards}
    for name, value in parts.items():
        if value is not None:
            raise ChioConfigError(f"`enforcer` and `{name}` are both given; the enforcer has its own, leave one out")
    return enforcer


def identity_for(identity: str | None, enforcer: Enforcer | None) -> str:
    """Give who acts: the argument, else the enforcer's, else the environment's.

    Raises:
        ChioConfigError: nobody says.
    """
    found = identity or (enforcer.identity if enforcer else None) or settings.identity()
    if not found:
        raise ChioConfigError(f"nobody consumes: give `identity=`, or set the environment's `{settings.IDENTITY}`")
    return found


def check_topics(scope_map: Mapping[str, str] | None, dlq_topic: str | None) -> tuple[dict[str, str], str]:
    """Give scope map and DLQ topic, if they make sense.

    Raises:
        ChioConfigError: and what to write instead.
    """
    if not scope_map:
        raise ChioConfigError('there is no topic: write `scope_map={"orders": "events:consume:orders"}`')
    for topic in scope_map:
        if topic.startswith("^"):
            raise ChioConfigError(
                f"`{topic}` is a pattern: a topic that nobody gave a scope would be consumed; write out the topics"
            )
    if not dlq_topic:
        raise ChioConfigError("denied events have nowhere to go: write `dlq_topic=`, the name of a topic for them")
    if dlq_topic in scope_map:
        raise ChioConfigError(
            f"`{dlq_topic}` is both consumed and the DLQ topic: each denial would be consumed and denied again; write "
            "the name of another topic"
        )
    return dict(scope_map), dlq_topic


def warn_of_sidecar(sidecar_url: str | None) -> None:
    """Say once per process that no sidecar is asked."""
    global _sidecar_warned  # noqa: PLW0603 - once per process is what it is for
    if sidecar_url is not None and not _sidecar_warned:
        _sidecar_warned = True
        warnings.warn(
            f"`sidecar_url={sidecar_url!r}` is not asked: decisions are made in this process, by the policy given as "
            f"`policy=` or in `{settings.POLICY}`",
            stacklevel=3,
        )


def clients_from(conf: Mapping[str, Any]) -> Clients:
    """Build all clients from one confluent configuration.

    Raises:
        ChioConfigError: a setting is unsafe; the message says what to write instead.
    """
    ear = ErrorEar()
    consumer_conf, producer_conf = config.consumer_config(conf, ear), config.producer_config(conf, ear)
    admin = AdminClient(config.admin_config(conf))
    consumer_conf["on_commit"] = ear.on_commit
    return Clients(Consumer(consumer_conf), Producer(producer_conf), admin, ear, conf["group.id"], conf, reports=True)


def clients_around(consumer: Consumer, producer: Producer | None, group_id: str | None, identity: str) -> Clients:
    """Complete a consumer that the application built; what is missing talks to the same brokers in plain text.

    Raises:
        ChioConfigError: the brokers do not answer in plain text, so that a producer cannot be built from here.
    """
    ear = ErrorEar()
    group = group_id or metadata.group_of(consumer) or identity
    try:
        brokers = metadata.bootstrap_servers(consumer.list_topics(timeout=metadata.TIMEOUT))
    except KafkaException as error:
        raise ChioConfigError(
            f"the consumer's brokers do not answer: {error.args[0]}; check its configuration"
        ) from error
    plain = {"bootstrap.servers": brokers}
    admin = AdminClient(config.admin_config(plain))
    try:
        admin.list_topics(timeout=metadata.TIMEOUT)
    except KafkaException as error:
        if producer is None:
            raise ChioConfigError(
                f"the brokers {brokers} do not answer in plain text ({error.args[0]}), and a Consumer does not show "
                "its security settings; give `producer=` for the DLQ, or use `from_config(conf, ...)`"
            ) from error
        log.info("no topic ids: the brokers do not answer in plain text")
        return Clients(consumer, producer, None, ear, group, None)
    dlq_producer = producer or Producer(config.producer_config(plain, ear))
    return Clients(consumer, dlq_producer, admin, ear, group, {**plain, "group.id": group})


class Pipeline:
    """The parts of one governed consumer, wired; what `ChioConsumerMiddleware` calls."""

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

        def make_partition(topic: str, number: int, scope: str, stamp: int) -> Partition:
            partition = gate.partition(
                topic,
                number,
                scope=scope,
                identity=identity,
                cluster=cluster.id,
                topic_id=cluster.topic_id(topic),
                group=clients.group,
                stamp=stamp,
            )
            recognition.begin(partition)
            return partition

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
        self.partitions = Partitions(
            raw=raw,
            gate=gate,
            cluster=cluster,
            assignments=self.assignments,
            buffer=self.buffer,
            throttle=self.throttle,
            commit=self.commit,
            trouble=self.trouble,
        )
        self.intake = Intake(
            raw=raw,
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
            partitions=[
                PartitionStats(*held.key, position=held.position, committed=held.frontier.committed)
                for held in self.assignments
            ],
        )

"""Examining a cluster for `chio-fast doctor`: is it reachable, has it the topics, would anything be lost there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from chio_fast import diagnosis
from chio_fast.errors import ChioConfigError
from chio_fast.kafka.config import admin_config, consumer_config, producer_config
from chio_fast.kafka.metadata import TIMEOUT, patiently
from chio_fast.topics import RECORD_KEEPING, RECORD_KEEPING_PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from confluent_kafka.admin._metadata import ClusterMetadata

    from chio_fast.diagnosis import Diagnosis

REFUSED = 2.0
"""Seconds in which every address of every broker is tried: when all of them refuse, none is waited for."""
TESTED_CLIENT = "2.16"
SAFE_REPLICAS = 3
# An envelope is longer than the event in it: base64 for bytes, escapes, and the denial itself.
ENVELOPE_GROWTH = 2.0


def client() -> Iterator[Diagnosis]:
    """Examine the client library."""
    package, library = confluent_kafka.version(), confluent_kafka.libversion()[0]
    text = f"confluent-kafka {package if isinstance(package, str) else package[0]}, librdkafka {library}"
    if str(library).startswith(TESTED_CLIENT):
        yield diagnosis.ok("client", text)
    else:
        yield diagnosis.warning("client", text, f"chio_fast is tested with librdkafka {TESTED_CLIENT}; install that")


def settings(conf: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Examine the client's settings."""
    safe = {
        "consumer settings": (consumer_config, "no automatic commit"),
        "producer settings": (producer_config, "denials acknowledged by all in-sync replicas"),
    }
    for what, (build, promise) in safe.items():
        try:
            build(conf, lambda error: None)
        except ChioConfigError as refused:
            yield diagnosis.error(what, str(refused), "correct the setting")
        else:
            yield diagnosis.ok(what, f"safe: {promise}")
    isolation = conf.get("isolation.level", "read_committed")
    if isolation == "read_committed":
        yield diagnosis.ok("isolation", "read_committed")
    else:
        yield diagnosis.warning(
            "isolation", f"`isolation.level` is `{isolation}`: events of aborted transactions are handed out",
            "remove it or write `isolation.level=read_committed`",
        )  # fmt: skip


def reach(conf: Mapping[str, Any]) -> Cluster | Diagnosis:
    """Give the cluster to examine, or what is wrong if it cannot be reached."""
    try:
        return Cluster(conf)
    except KafkaException as error:
        found = f"`{conf.get('bootstrap.servers')}`: {error.args[0].str()}"
        return diagnosis.error("brokers", found, "check address, network and credentials")


class Cluster:
    """A cluster under examination.

    Args:
        conf: settings of the client.

    Raises:
        KafkaException: it cannot be reached, or a setting is wrong.
    """

    def __init__(self, conf: Mapping[str, Any]) -> None:
        heard: list[KafkaError] = []
        settings: dict[str, Any] = admin_config(conf) | {"error_cb": heard.append}
        try:
            self._admin = AdminClient(settings)
            self._metadata = self._first_answer(heard)
        except KafkaException as error:
            reasons = [reason for reason in heard if reason.code() != KafkaError._ALL_BROKERS_DOWN]
            reason = reasons[-1] if reasons else error.args[0]
            raise KafkaException(reason) from None

    def _first_answer(self, heard: list[KafkaError]) -> ClusterMetadata:
        try:
            return patiently(self._admin, timeout=REFUSED)
        except KafkaException:
            self._admin.poll(0)
            if any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in heard):
                raise
        return patiently(self._admin, timeout=TIMEOUT - REFUSED)

    def itself(self) -> Iterator[Diagnosis]:
        """Examine the brokers."""
        brokers, cluster = len(self._metadata.brokers), self._metadata.cluster_id
        yield diagnosis.ok("brokers", f"{brokers} reachable, cluster `{cluster}`")
        if self._metadata.controller_id not in self._metadata.brokers:
            yield diagnosis.warning(
                "features", "the cluster names no controller: topics cannot be described or created through it",
                "expected of librdkafka's mock cluster; on a real one look at the controller",
            )  # fmt: skip
            return
        try:
            self._admin.describe_cluster(request_timeout=TIMEOUT).result()
        except KafkaException as error:
            yield diagnosis.warning(
                "features", f"the cluster cannot be described: {error.args[0].str()}", "grant DESCRIBE on the cluster"
            )
        else:
            yield diagnosis.ok("features", "topic ids, transactions and descriptions are there")

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Give those of `topics` that the cluster does not have."""
        return [name for name in topics if name not in self._metadata.topics]

    def create(
        self,
        topics: Iterable[str],
        *,
        like: str | None = None,
        partitions: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Diagnosis]:
        """Create topics.

        Args:
            topics: names.
            like: an existing topic whose number of partitions they get.
            partitions: their number of partitions if there is no such topic.
            settings: of the topics.
        """
        model = self._metadata.topics.get(like) if like else None
        partitions = len(model.partitions) if model else partitions
        replicas = min(SAFE_REPLICAS, len(self._metadata.brokers))
        new = [
            NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=dict(settings or {}))
            for name in topics
        ]
        for name, future in self._admin.create_topics(new, operation_timeout=TIMEOUT).items():
            try:
                future.result()
            except KafkaException as error:
                yield diagnosis.error(f"topic {name}", f"not created: {error.args[0].str()}", "create it yourself")
            else:
                yield diagnosis.ok(f"topic {name}", f"created with {partitions} partitions and {replicas} replicas")

    def topic(self, name: str, role: str) -> Iterator[Diagnosis]:
        """Examine one topic that is there."""
        what, found = f"{role} {name}", self._metadata.topics[name]
        replicas = min((len(partition.replicas) for partition in found.partitions.values()), default=0)
        text = f"{len(found.partitions)} partitions, {replicas} replicas"
        leaderless = [number for number, partition in found.partitions.items() if partition.leader < 0]
        if leaderless:
            yield diagnosis.error(what, f"{text}; partitions {leaderless} have no leader", "look at the brokers")
        elif replicas < SAFE_REPLICAS:
            yield diagnosis.warning(
                what, text, f"a topic that must survive a broker has {SAFE_REPLICAS} replicas, min.insync.replicas=2"
            )
        else:
            yield diagnosis.ok(what, text)

    def dlq(self, name: str, sources: Iterable[str]) -> Iterator[Diagnosis]:
        """Examine whether the DLQ topic keeps every denial, and takes what the sources take."""
        if self._metadata.controller_id not in self._metadata.brokers:
            return
        try:
            own, *others = (self._settings(topic) for topic in (name, *sources))
        except KafkaException as error:
            text = f"its settings cannot be read: {error.args[0].str()}"
            yield diagnosis.warning(f"DLQ {name}", text, "grant DESCRIBE_CONFIGS on the topic")
            return
        if "compact" in own["cleanup.policy"]:
            yield diagnosis.error(
                f"DLQ {name}", "it is compacted: of several denials with one key only the last stays",
                "set cleanup.policy=delete on it",
            )  # fmt: skip
        largest = max((int(other["max.message.bytes"]) for other in others), default=0)
        if int(own["max.message.bytes"]) < largest * ENVELOPE_GROWTH:
            yield diagnosis.warning(
                f"DLQ {name}", f"max.message.bytes is {own['max.message.bytes']}: the largest events of the sources do "
                "not fit with their envelope; they are sent without their value",
                f"set max.message.bytes={int(largest * ENVELOPE_GROWTH)} on it",
            )  # fmt: skip

    def record_keeping(self, name: str, purpose: str, *, fix: bool) -> Iterator[Diagnosis]:
        """Examine a topic of which nothing may ever be deleted.

        Args:
            name: of the topic.
            purpose: what is missing without it.
            fix: whether to create it if it is missing.
        """
        if self.missing([name]):
            if fix:
                yield from self.create([name], partitions=RECORD_KEEPING_PARTITIONS, settings=RECORD_KEEPING)
            else:
                remedy = "run `chio-fast doctor --fix`"
                yield diagnosis.warning(f"topic {name}", f"there is no such topic: {purpose}", remedy)
            return
        yield from self.topic(name, "topic")
        if self._metadata.controller_id not in self._metadata.brokers:
            return
        try:
            own = self._settings(name)
        except KafkaException as error:
            text = f"its settings cannot be read: {error.args[0].str()}"
            yield diagnosis.warning(f"topic {name}", text, "grant DESCRIBE_CONFIGS on the topic")
            return
        if wrong := [f"{setting}={own[setting]}" for setting, value in RECORD_KEEPING.items() if own[setting] != value]:
            yield diagnosis.error(
                f"topic {name}", f"{', '.join(wrong)}: records that must stay are deleted",
                "set " + " ".join(f"{setting}={value}" for setting, value in RECORD_KEEPING.items()),
            )  # fmt: skip

    def _settings(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        future = self._admin.describe_configs([resource], request_timeout=TIMEOUT)[resource]
        return {name: entry.value for name, entry in future.result().items()}

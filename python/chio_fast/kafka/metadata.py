"""What names a topic for good: the cluster's id and the topic's id.

A topic that was deleted and created again under the same name starts at offset 0 again; only its id tells the two
apart. Brokers before Kafka 2.8, and librdkafka's mock cluster, have no topic ids; then the name alone counts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicCollection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient, ClusterMetadata

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 10.0
"""Seconds that one question to the cluster may take."""

ZERO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def cluster_metadata(consumer: Consumer, timeout: float = TIMEOUT) -> ClusterMetadata:
    """Ask the consumer's cluster for its brokers and topics."""
    return consumer.list_topics(timeout=timeout)


def bootstrap_servers(metadata: ClusterMetadata) -> str:
    """Give the brokers of `metadata` in the form of `bootstrap.servers`."""
    return ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())


def topic_ids(
    admin: AdminClient | None, metadata: ClusterMetadata, topics: Iterable[str], timeout: float = TIMEOUT
) -> dict[str, str]:
    """Give the ids of those of `topics` that exist and whose broker gives ids.

    Args:
        admin: asks the cluster; without one there are no ids.
        metadata: of the same cluster; one whose controller is none of its brokers cannot describe topics.
        topics: names.
        timeout: seconds.
    """
    if admin is None or metadata.controller_id not in metadata.brokers:
        return {}
    names = [name for name in topics if name in metadata.topics]
    if not names:
        return {}
    found = {}
    for name, future in admin.describe_topics(TopicCollection(names), request_timeout=timeout).items():
        try:
            topic_id = str(future.result().topic_id)
        except KafkaException as error:
            log.info("the cluster gives no id for topic `%s`: %s", name, error.args[0])
            continue
        if topic_id != ZERO_ID:
            found[name] = topic_id
    return found


def group_of(consumer: Consumer) -> str | None:
    """Read the group id out of the consumer's serialised group metadata, or give None where its form is unknown.

    A Consumer does not show its configuration. Form of librdkafka (rdkafka_cgrp.c): `CGMDv2:`, four bytes of
    generation, group id, NUL, member id, NUL.
    """
    blob = consumer.consumer_group_metadata()
    magic = b"CGMDv2:"
    if not isinstance(blob, bytes) or not blob.startswith(magic):
        return None
    group, end, _ = blob[len(magic) + 4 :].partition(b"\0")
    return group.decode("utf-8", "replace") if end and group else None

"""What names a topic for good: the cluster's id and the topic's id; and what else a consumer does not tell of itself.

A topic that was deleted and created again under the same name starts at offset 0 again; only its id tells the two
apart. Brokers before Kafka 2.8, and librdkafka's mock cluster, have no topic ids; then the name alone counts.
"""

from __future__ import annotations

import logging
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicCollection

from chio_fast import _native
from chio_fast.kafka.client_errors import TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._metadata import ClusterMetadata

log = logging.getLogger("chio_fast.kafka")

TIMEOUT = 10.0
"""Seconds that one question to the cluster may take."""

PIECE = 0.5
"""Seconds for which a question is out of reach for an interruption."""

ZERO_ID = "AAAAAAAAAAAAAAAAAAAAAA"

UNKNOWN_GENERATION = 2**31 - 1
"""Not older than any generation, so that nothing is concluded from it."""


class Cluster:
    """The cluster that a consumer reads from.

    Args:
        metadata: of the cluster, from `list_topics`.
        admin: asks for topic ids; without one there are none.
    """

    def __init__(self, metadata: ClusterMetadata, admin: AdminClient | None) -> None:
        self.id: str | None = metadata.cluster_id
        self._admin = admin if metadata.controller_id in metadata.brokers else None
        self._ids: dict[str, str] = {}

    def topic_id(self, topic: str) -> str | None:
        """Give the topic's id as `refresh` last saw it."""
        return self._ids.get(topic)

    def refresh(self, topics: Iterable[str], timeout: float = TIMEOUT) -> None:
        """Ask for the ids of `topics`; what cannot be answered in `timeout` seconds stays as it was."""
        names = sorted(set(topics))
        if self._admin is None or not names:
            return
        for name, future in self._admin.describe_topics(TopicCollection(names), request_timeout=timeout).items():
            try:
                topic_id = str(future.result().topic_id)
            except KafkaException as error:
                log.info("the cluster gives no id for topic `%s`: %s", name, error.args[0])
                continue
            if topic_id != ZERO_ID:
                self._ids[name] = topic_id


def patiently(client: Consumer | AdminClient, topic: str | None = None, timeout: float = TIMEOUT) -> ClusterMetadata:
    """Ask for the metadata of a cluster, in pieces between which an interruption from the keyboard is heard.

    Args:
        client: that asks.
        topic: the one topic to ask for; None for all.
        timeout: seconds after which it gives up.

    Raises:
        KafkaException: the cluster cannot be reached, or refuses.
    """
    ask = client.list_topics if topic is None else partial(client.list_topics, topic)
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return ask(timeout=min(PIECE, max(left, 0.001)))
        except KafkaException as error:
            if left <= PIECE or error.args[0].code() not in TRANSIENT:
                raise


def bootstrap_servers(metadata: ClusterMetadata) -> str:
    """Give the brokers of `metadata` in the form of `bootstrap.servers`."""
    return ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())


def group_of(consumer: Consumer) -> str | None:
    """Read the group id out of the consumer's group metadata, or give None where its form is unknown."""
    found = _read(consumer.consumer_group_metadata())
    return found[1] or None if found else None


def is_cooperative(consumer: Consumer) -> bool | None:
    """Say whether the group changes assignments step by step (KIP-429, KIP-848); None if that does not show."""
    try:
        return _native.is_cooperative(consumer)
    except (RuntimeError, TypeError):  # a client whose memory is not known
        return None


def generation_of(consumer: Consumer) -> int:
    """Give the group's generation (its epoch, under KIP-848) as the consumer knows it, see `generation_in`."""
    return generation_in(consumer.consumer_group_metadata())


def generation_in(group_metadata: object) -> int:
    """Give the group's generation that a consumer's group metadata names.

    It never falls while the group lives. `UNKNOWN_GENERATION` before the consumer has joined, and where the form of the
    metadata is unknown.
    """
    found = _read(group_metadata)
    return found[0] if found and found[0] >= 0 else UNKNOWN_GENERATION


def _read(group_metadata: object) -> tuple[int, str] | None:
    """Read generation and group id out of the serialised group metadata.

    A Consumer shows neither. Form of librdkafka (rdkafka_cgrp.c): `CGMDv2:`, generation in four bytes of the machine's
    order, group id, NUL, member id, NUL.
    """
    magic = b"CGMDv2:"
    if not isinstance(group_metadata, bytes) or not group_metadata.startswith(magic):
        return None
    generation, rest = group_metadata[len(magic) : len(magic) + 4], group_metadata[len(magic) + 4 :]
    group, end, _ = rest.partition(b"\0")
    return (int.from_bytes(generation, sys.byteorder, signed=True), group.decode("utf-8", "replace")) if end else None

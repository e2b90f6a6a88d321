"""The confluent clients of a governed consumer, built from one configuration or around a given consumer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from chio_fast.errors import ChioConfigError
from chio_fast.kafka import config, metadata
from chio_fast.kafka.ear import ErrorEar

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("chio_fast.kafka")


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
        reset: where partitions begin of which nothing is committed, see `config.reset_of`; None where a consumer of the
            application's knows.
        is_cooperative: see `Placement`.
    """

    consumer: Consumer
    producer: Producer
    admin: AdminClient | None
    ear: ErrorEar
    group: str | None
    conf: Mapping[str, Any] | None
    reports: bool = False
    reset: int | None = None
    is_cooperative: bool | None = None


def clients_from(conf: Mapping[str, Any]) -> Clients:
    """Build all clients from one confluent configuration.

    Raises:
        ChioConfigError: a setting is unsafe; the message says what to write instead.
    """
    ear = ErrorEar()
    reset = config.reset_of(conf)
    consumer_conf, producer_conf = config.consumer_config(conf, ear), config.producer_config(conf, ear)
    admin = AdminClient(config.admin_config(conf))
    consumer_conf["on_commit"] = ear.on_commit
    return Clients(
        consumer=Consumer(consumer_conf),
        producer=Producer(producer_conf),
        admin=admin,
        ear=ear,
        group=conf["group.id"],
        conf=conf,
        reports=True,
        reset=reset,
        is_cooperative=config.is_cooperative(conf),
    )


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

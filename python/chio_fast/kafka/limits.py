"""How large records may be, so that one that is too large is refused to the handler that produces it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from chio_fast.kafka import metadata
from chio_fast.kafka.config import CLIENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger("chio_fast.kafka")


class Limits:
    """The largest records that client and topics take.

    Args:
        conf: one confluent configuration.
        admin: asks for the topics' settings.
        topics: those that are written to; one that cannot be asked about has the client's limit.
    """

    def __init__(self, conf: Mapping[str, Any], admin: AdminClient, topics: Iterable[str]) -> None:
        self._conf = conf
        largest = int(conf.get("message.max.bytes", CLIENT_BYTES))
        self.by_topic = dict.fromkeys(topics, largest)
        """Bytes of the largest record of each topic, with key, headers and framing."""
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in self.by_topic]
        for resource, future in admin.describe_configs(resources, request_timeout=metadata.TIMEOUT).items():
            try:
                limit = int(future.result()["max.message.bytes"].value)
            except (KafkaException, KeyError) as error:
                log.info("topic `%s` does not tell how large its records may be: %s", resource.name, error)
            else:
                self.by_topic[resource.name] = min(largest, limit)

    def producer_settings(self) -> dict[str, Any]:
        """Give the configuration with a `batch.size` that every topic takes: brokers measure whole batches."""
        smallest = min(self.by_topic.values())
        if "batch.size" in self._conf or smallest >= CLIENT_BYTES:
            return dict(self._conf)
        return {**self._conf, "batch.size": smallest}

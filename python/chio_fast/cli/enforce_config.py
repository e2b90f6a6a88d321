"""The configuration of `chio-fast enforce`: a YAML file, and flags that win over it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from chio_fast.errors import ChioConfigError
from chio_fast.location import LogLocation

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE = """\
identity: order-gateway            # who acts; rules of the policy name it
policy: policy.yaml                # relative to this file
receipt_log: receipts.db
dlq_topic: orders-denied
kafka:                             # any setting of the client
  bootstrap.servers: localhost:9092
  group.id: order-gateway
topics:
  orders:                          # consumed with scope events:consume:orders
    forward: orders-authorised     # produced with scope events:produce:orders-authorised
  payments:
    scope: events:consume:payments:eu
    forward: payments-authorised
    forward_scope: events:produce:payments:eu
"""


class SourceTopic(msgspec.Struct, forbid_unknown_fields=True):
    """One topic to consume.

    Attributes:
        scope: what consuming needs; None is `events:consume:{topic}`.
        forward: topic for what is allowed; None forwards nothing, so the run only decides, records and denies.
        forward_scope: what producing needs; None is `events:produce:{forward}`.
    """

    scope: str | None = None
    forward: str | None = None
    forward_scope: str | None = None


class EnforceConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything that `enforce` needs; see `EXAMPLE`."""

    identity: str = ""
    policy: str | None = None
    receipt_log: str | None = None
    signing_key: str | None = None
    dlq_topic: str = ""
    batch_size: int = 500
    evidence: Literal["before_commit", "before_action"] = "before_commit"
    kafka: dict[str, Any] = {}
    topics: dict[str, SourceTopic] = {}

    def scope_map(self) -> dict[str, str]:
        """Source topic → the scope that consuming it needs."""
        return {name: topic.scope or f"events:consume:{name}" for name, topic in self.topics.items()}

    def routes(self) -> dict[str, tuple[str, str]]:
        """Source topic → the topic to forward to, and the scope that producing there needs."""
        return {
            name: (topic.forward, topic.forward_scope or f"events:produce:{topic.forward}")
            for name, topic in self.topics.items()
            if topic.forward
        }

    def check(self) -> None:
        """Refuse what cannot run.

        Raises:
            ChioConfigError: something is missing or contradicts itself.
        """
        missing = {
            "the identity": (self.identity, "--identity or `identity:`"),
            "the DLQ topic": (self.dlq_topic, "--dlq-topic or `dlq_topic:`"),
            "a topic to consume": (self.topics, "--topic or `topics:`"),
            "the brokers": (
                self.kafka.get("bootstrap.servers"),
                "-b or `kafka: {bootstrap.servers: …}`",
            ),
            "the consumer group": (self.kafka.get("group.id"), "--group or `kafka: {group.id: …}`"),
        }
        for what, (value, how) in missing.items():
            if not value:
                raise ChioConfigError(f"{what} is not given; write {how}, or see `chio-fast enforce --example`")
        if self.batch_size < 1:
            raise ChioConfigError(f"`batch_size` is {self.batch_size}; write a number from 1 on")
        if self.dlq_topic in self.topics:
            raise ChioConfigError(f"`{self.dlq_topic}` is both consumed and the DLQ topic; use another topic")
        for name, topic in self.topics.items():
            if topic.forward in self.topics or topic.forward == self.dlq_topic:
                raise ChioConfigError(
                    f"`{name}` is forwarded to `{topic.forward}`, which is consumed here or is the DLQ topic"
                )


def load(file: Path | None) -> EnforceConfig:
    """Read the file; its relative paths are relative to it.

    Raises:
        ChioConfigError: it is malformed.
        OSError: it cannot be read.
    """
    if file is None:
        return EnforceConfig()
    try:
        config = msgspec.yaml.decode(file.read_bytes(), type=EnforceConfig)
    except msgspec.DecodeError as error:
        raise ChioConfigError(f"`{file}`: {error}; see `chio-fast enforce --example` for the form") from None
    for name in ("policy", "receipt_log", "signing_key"):
        given = getattr(config, name)
        if given and LogLocation(given).path is not None:
            setattr(config, name, str(file.parent / Path(given).expanduser()))
    return config


def client_properties(pairs: Iterable[str]) -> dict[str, str]:
    """Client settings from `name=value` pairs.

    Raises:
        ChioConfigError: a pair has no `=`.
    """
    properties = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ChioConfigError(f"`{pair}` is no client setting; write `name=value`, as `security.protocol=SSL`")
        properties[name.strip()] = value.strip()
    return properties


def source_topics(pairs: Iterable[str]) -> dict[str, SourceTopic]:
    """Topics from `SOURCE` or `SOURCE=TARGET`.

    Raises:
        ChioConfigError: a name is empty.
    """
    topics = {}
    for pair in pairs:
        source, equals, target = pair.partition("=")
        if not source or (equals and not target):
            raise ChioConfigError(f"`{pair}` names no topic; write `SOURCE` or `SOURCE=TARGET`")
        topics[source] = SourceTopic(forward=target or None)
    return topics

"""What commands that run on a cluster are told: a YAML file, and flags that win over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from chio_fast import topics
from chio_fast.errors import ChioConfigError
from chio_fast.repeats import Duplicates, OnReplay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sized


QUIET = {"log_level": 2}
"""For clients that ask something once: why nobody answers stands in the error, and need not be logged by attempt."""


class RunConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What all of them are told.

    Attributes:
        COMMAND: name of the command.
        identity: who acts.
        policy: the policy file.
        receipt_log: path or URL of the receipt log.
        signing_key: key file; None is the log's own key.
        dlq_topic: topic for events that were not authorised.
        error_topic: topic for events whose handler failed.
        on_replay: `re-evaluate` decides an event that the log holds already anew, `honor` as before.
        duplicates: how events with the same id of the producer's are recognised; None if they are not.
        anchor_topic: where heads of the receipt log are published; None for nowhere.
        kafka: settings of the client.
    """

    COMMAND: ClassVar[str]

    identity: str = ""
    policy: str | None = None
    receipt_log: str | None = None
    signing_key: str | None = None
    dlq_topic: str = ""
    error_topic: str | None = None
    on_replay: OnReplay = "re-evaluate"
    duplicates: Duplicates | None = None
    anchor_topic: Annotated[str, msgspec.Meta(min_length=1)] | None = topics.ANCHORS
    kafka: dict[str, Any] = msgspec.field(default_factory=dict)

    def take_flags(
        self, bootstrap: str | None, properties: Iterable[str] | None, group: str | None, **flags: Any
    ) -> None:
        """Let flags win; those that are None were not given.

        Raises:
            ChioConfigError: a client setting is malformed.
        """
        for name, value in flags.items():
            if value is not None:
                setattr(self, name, value)
        self.kafka |= client_properties(properties or [])
        self.kafka |= {"bootstrap.servers": bootstrap} if bootstrap else {}
        self.kafka |= {"group.id": group} if group else {}

    def require(self, topics: Sized) -> None:
        """Refuse a run without what every run needs.

        Raises:
            ChioConfigError: something is missing.
        """
        missing: dict[str, tuple[object, str]] = {
            "the identity": (self.identity, "--identity or `identity:`"),
            "the DLQ topic": (self.dlq_topic, "--dlq-topic or `dlq_topic:`"),
            "a topic to consume": (topics, "--topic or `topics:`"),
            "the brokers": (self.kafka.get("bootstrap.servers"), "-b or `kafka: {bootstrap.servers: …}`"),
            "the consumer group": (self.kafka.get("group.id"), "--group or `kafka: {group.id: …}`"),
        }
        for what, (value, how) in missing.items():
            if not value:
                raise ChioConfigError(f"{what} is not given; write {how}, or see `chio-fast {self.COMMAND} --example`")


def client_settings(
    given: Mapping[str, Any], bootstrap: str | None, properties: Iterable[str] | None
) -> dict[str, Any]:
    """Settings of the client of a command that asks a cluster something and ends.

    Args:
        given: those of a configuration file.
        bootstrap: brokers; they win over the file.
        properties: `name=value` pairs, which do so too.

    Raises:
        ChioConfigError: no broker is named.
    """
    settings = {**QUIET, **given, **client_properties(properties or [])}
    settings |= {"bootstrap.servers": bootstrap} if bootstrap else {}
    if not settings.get("bootstrap.servers"):
        raise ChioConfigError("the brokers are not given; write `-b host:port`, or `-c` with the file of `enforce`")
    return settings


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

"""Policies and requests as plain data: what the generator makes and the reference evaluates.

`document` renders a policy as the engine's input. The reference never sees that rendering.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.policy import expressions

if TYPE_CHECKING:
    from tests.policy.expressions import Node


@dataclass(frozen=True, slots=True)
class Identity:
    """What a policy says of one identity: its attributes and the scope patterns that it holds."""

    name: str
    capabilities: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; times in Unix milliseconds."""

    id: str
    effect: str
    identities: tuple[str, ...]
    scopes: tuple[str, ...]
    when: Node | None = None
    not_before: int | None = None
    expires_at: int | None = None
    guards: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyModel:
    """A whole policy."""

    identities: tuple[Identity, ...] = ()
    rules: tuple[Rule, ...] = ()

    def document(self) -> dict[str, Any]:
        """The policy as a `chio: policy/v1` document."""
        document: dict[str, Any] = {"chio": "policy/v1"}
        if self.identities:
            document["identities"] = {identity.name: _identity(identity) for identity in self.identities}
        if self.rules:
            document["rules"] = [_rule(rule) for rule in self.rules]
        return document


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as a condition sees it: the inbound event, or the output at the produce boundary."""

    topic: str
    partition: int | None = None
    offset: int | None = None
    key: bytes | None = None
    timestamp: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    value: bytes | None = None

    def mapping(self) -> dict[str, Any]:
        """The record as the dictionary that `Policy.decide` takes."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "key": self.key,
            "timestamp": self.timestamp,
            "headers": list(self.headers),
            "value": self.value,
        }


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a policy; `now` in Unix milliseconds, `arguments` as JSON text."""

    identity: str
    scope: str
    kind: str
    now: int
    event: Record | None = None
    tool: str | None = None
    arguments: bytes | None = None
    output: Record | None = None


def timestamp(milliseconds: int) -> str:
    """RFC 3339 text of a Unix time."""
    moment = datetime.datetime.fromtimestamp(milliseconds // 1000, datetime.UTC)
    fraction = f".{milliseconds % 1000:03d}" if milliseconds % 1000 else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _identity(identity: Identity) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if identity.capabilities:
        entry["capabilities"] = list(identity.capabilities)
    if identity.attributes:
        entry["attributes"] = identity.attributes
    return entry


def _rule(rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": rule.id,
        "effect": rule.effect,
        "identities": list(rule.identities),
        "scopes": list(rule.scopes),
    }
    if rule.when is not None:
        entry["when"] = expressions.text(rule.when)
    if rule.not_before is not None:
        entry["not_before"] = timestamp(rule.not_before)
    if rule.expires_at is not None:
        entry["expires_at"] = timestamp(rule.expires_at)
    if rule.guards:
        entry["guards"] = list(rule.guards)
    if rule.reason is not None:
        entry["reason"] = rule.reason
    return entry

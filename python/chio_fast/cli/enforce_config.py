"""The configuration of `chio-fast enforce`: a YAML file, and flags that win over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from chio_fast.cli.run_config import RunConfig
from chio_fast.errors import ChioConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

Delivery = Literal["at-least-once", "exactly-once"]

EXAMPLE = """\
identity: order-gateway            # who acts; rules of the policy name it
policy: policy.yaml                # relative to this file
receipt_log: receipts.db
dlq_topic: orders-denied
delivery: exactly-once             # or at-least-once, the default, which needs no error topic
error_topic: orders-not-forwarded  # with exactly-once: what may be consumed and not forwarded
on_replay: re-evaluate             # what the log holds already is decided anew, or with honor as before
duplicates:                        # without it, nobody asks whether a producer sends the same thing twice
  header: X-Message-Id
  window: 100000                   # events, or a time such as PT15M
  action: record                   # or deny
anchor_topic: chio-anchors         # where heads of the receipt log go; null for nowhere
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


class EnforceConfig(RunConfig, forbid_unknown_fields=True, kw_only=True):
    """Everything that `enforce` needs; see `EXAMPLE`."""

    COMMAND: ClassVar[str] = "enforce"

    delivery: Delivery = "at-least-once"
    batch_size: int = 500
    evidence: Literal["before_commit", "before_action"] = "before_commit"
    topics: dict[str, SourceTopic] = msgspec.field(default_factory=dict)

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

    def targets(self) -> dict[str, str]:
        """Topic that is produced to → the scope that this needs."""
        return dict(self.routes().values())

    def check(self) -> None:
        """Refuse what cannot run.

        Raises:
            ChioConfigError: something is missing or contradicts itself.
        """
        self.require(self.topics)
        if self.batch_size < 1:
            raise ChioConfigError(f"`batch_size` is {self.batch_size}; write a number from 1 on")
        if self.delivery == "exactly-once" and self.evidence == "before_action":
            raise ChioConfigError(
                "with `delivery: exactly-once` receipts commit together with what was done; leave `evidence` out"
            )
        if self.delivery == "exactly-once" and self.targets() and not self.error_topic:
            raise ChioConfigError(
                "with `delivery: exactly-once` events that may be consumed and not forwarded need a topic of their "
                "own; write --error-topic or `error_topic:`"
            )
        if self.dlq_topic in self.topics:
            raise ChioConfigError(f"`{self.dlq_topic}` is both consumed and the DLQ topic; use another topic")
        for name, topic in self.topics.items():
            if topic.forward in self.topics or topic.forward == self.dlq_topic:
                raise ChioConfigError(
                    f"`{name}` is forwarded to `{topic.forward}`, which is consumed here or is the DLQ topic"
                )


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

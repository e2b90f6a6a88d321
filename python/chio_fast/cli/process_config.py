"""The configuration of `chio-fast process`: a YAML file, and flags that win over it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from chio_fast.cli.run_config import RunConfig
from chio_fast.errors import ChioConfigError
from chio_fast.loading import load
from chio_fast.tools import Keep, OnUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EXAMPLE = """\
identity: payment-service            # who acts; rules of the policy name it
policy: policy.yaml                  # relative to this file
receipt_log: receipts.db
dlq_topic: payments-denied           # events that were not authorised
error_topic: payments-failed         # events whose handler failed; without one the processor stops instead
on_replay: re-evaluate               # what the log holds already is decided anew, or with honor as before
duplicates:                          # without it, nobody asks whether a producer sends the same thing twice
  header: X-Message-Id
  window: 100000                     # events, or a time such as PT15M
  action: record                     # or deny
anchor_topic: chio-anchors           # where heads of the receipt log go; null for nowhere
kafka:                               # any setting of the client
  bootstrap.servers: localhost:9092
  group.id: payment-service
topics:
  orders: payments.handlers:on_order # consumed with scope events:consume:orders, handled by on_order(event, ctx)
  refunds:
    handler: payments.handlers:on_refund
    scope: events:consume:refunds:eu
produces:
  payments:                          # produced with scope events:produce:payments
  receipts: events:produce:receipts:eu
tools:
  lookup: payments.tools:lookup
  charge:
    function: payments.tools:charge  # gets `idempotency_key` if it has such a parameter
    on_unknown: escalate             # call again | escalate | stop: when nobody knows what became of a call
    result: full                     # full | digest | off: what the journal keeps of results
concurrency: 16                      # handlers that run at the same time
tracks: 1                            # producers that share the partitions out and commit side by side
"""


class HandledTopic(msgspec.Struct, forbid_unknown_fields=True):
    """One topic to consume.

    Attributes:
        handler: `module:function` of what handles its events.
        scope: what consuming needs; None is `events:consume:{topic}`.
    """

    handler: str
    scope: str | None = None


class ConfiguredTool(msgspec.Struct, forbid_unknown_fields=True):
    """One tool.

    Attributes:
        function: `module:function` behind it.
        on_unknown: see `chio_fast.tools.Keeping`.
        result: likewise.
    """

    function: str
    on_unknown: OnUnknown | None = None
    result: Keep = "full"


class ProcessConfig(RunConfig, forbid_unknown_fields=True, kw_only=True):
    """Everything that `process` needs; see `EXAMPLE`, and `ChioTransactionalProcessor` for the rest."""

    COMMAND: ClassVar[str] = "process"

    member: str | None = None
    concurrency: int = 16
    tracks: int = 1
    order: Literal["key", "partition"] = "key"
    batch_size: int = 500
    max_batch_ms: int = 100
    on_handler_error: Literal["retry", "error_topic", "stop"] = "retry"
    max_attempts: int = 5
    on_divergence: Literal["stop", "call"] = "stop"
    journal: str | None = None
    topics: dict[str, HandledTopic | str] = msgspec.field(default_factory=dict)
    produces: dict[str, str | None] = msgspec.field(default_factory=dict)
    tools: dict[str, ConfiguredTool | str] = msgspec.field(default_factory=dict)
    guards: dict[str, str] = msgspec.field(default_factory=dict)

    def scope_map(self) -> dict[str, str]:
        """Source topic → the scope that consuming it needs."""
        return {
            name: (None if isinstance(topic, str) else topic.scope) or f"events:consume:{name}"
            for name, topic in self.topics.items()
        }

    def targets(self) -> dict[str, str]:
        """Topic that is produced to → the scope that this needs."""
        return {name: scope or f"events:produce:{name}" for name, scope in self.produces.items()}

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """Import what handles the events of each topic.

        Raises:
            ChioConfigError: there is no such function.
        """
        return {
            name: _function(topic if isinstance(topic, str) else topic.handler, f"handler of topic `{name}`")
            for name, topic in self.topics.items()
        }

    def configured_tools(self) -> dict[str, tuple[Callable[..., Any], ConfiguredTool]]:
        """Import the functions behind tools.

        Raises:
            ChioConfigError: there is no such function.
        """
        given = {name: ConfiguredTool(tool) if isinstance(tool, str) else tool for name, tool in self.tools.items()}
        return {name: (_function(tool.function, f"tool `{name}`"), tool) for name, tool in given.items()}

    def made_guards(self) -> dict[str, Any]:
        """Import guards by the names that the policy gives them; a class is called without arguments.

        Raises:
            ChioConfigError: there is no such thing.
        """
        found = {name: load(spelled, f"guard `{name}`") for name, spelled in self.guards.items()}
        return {name: guard() if inspect.isclass(guard) else guard for name, guard in found.items()}


def handled_topics(pairs: Iterable[str]) -> dict[str, HandledTopic | str]:
    """Topics from `TOPIC=MODULE:FUNCTION`.

    Raises:
        ChioConfigError: a pair is of another form.
    """
    return dict(_pair(pair, "TOPIC=MODULE:FUNCTION") for pair in pairs)


def tools(pairs: Iterable[str]) -> dict[str, ConfiguredTool | str]:
    """Tools from `NAME=MODULE:FUNCTION`.

    Raises:
        ChioConfigError: a pair is of another form.
    """
    return dict(_pair(pair, "NAME=MODULE:FUNCTION") for pair in pairs)


def produced_topics(pairs: Iterable[str]) -> dict[str, str | None]:
    """Topics from `TOPIC` or `TOPIC=SCOPE`.

    Raises:
        ChioConfigError: a name is empty.
    """
    return dict(_pair(pair, "TOPIC or TOPIC=SCOPE", needs=False) for pair in pairs)


def _pair(pair: str, form: str, *, needs: bool = True) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    if not name or (equals and not value) or (needs and not equals):
        raise ChioConfigError(f"`{pair}` is not of the form {form}")
    return name, value or None


def _function(spelled: str, setting: str) -> Callable[..., Any]:
    found = load(spelled, setting)
    if not callable(found):
        raise ChioConfigError(f"{setting}: `{spelled}` cannot be called; write a function")
    return found  # type: ignore[no-any-return]

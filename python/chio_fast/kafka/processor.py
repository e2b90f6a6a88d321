"""The exactly-once processor: offsets, produced events and receipts commit together or not at all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self, Unpack

from chio_fast.errors import ChioConfigError, ChioError
from chio_fast.kafka import running
from chio_fast.kafka.constructor_arguments import enforcer_for, warn_of_sidecar
from chio_fast.kafka.options import Options, consume_scopes
from chio_fast.kafka.processing import Processing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chio_fast._native import Policy, Signer, StrPath
    from chio_fast.enforcer import Enforcer
    from chio_fast.guards import Guards
    from chio_fast.kafka.options import ProcessorSettings
    from chio_fast.kafka.processing import Handler
    from chio_fast.kafka.running import Running
    from chio_fast.kafka.stats import ProcessorStats
    from chio_fast.log import ReceiptLog
    from chio_fast.policy import PolicyWatcher
    from chio_fast.tools import Keeping


class ChioTransactionalProcessor:
    """Consumes, has handlers called, and commits in one transaction what they produced, the offsets and the evidence.

    Handlers run outside of transactions, several at a time; a transaction covers many events. On a crash the events
    that were not committed are delivered again, and the receipts of the attempt are flagged rolled back.

    Args:
        bootstrap_servers: addresses of brokers.
        group_id: the consumer group.
        consume_topics: what is consumed; each needs a handler, see `register`.
        sidecar_url: accepted and not asked; decisions are made in this process.
        consume_scope: the scope that consuming needs, or one per topic; by default `events:consume:{topic}`.
        produce_scope_map: the scope that producing to each topic needs; nothing else can be produced to.
        identity: who acts; by default the enforcer's, else the group.
        policy: a `Policy`, the path of one, or a `PolicyWatcher`; by default the path in `CHIO_POLICY`.
        receipt_log: a `ReceiptLog`, its path or its URL; by default `CHIO_RECEIPT_LOG`.
        signer: signs the receipts; by default the log's own key.
        guards: a list, each of which always runs, or a dictionary, each of which runs where a rule names it.
        enforcer: instead of the four before; it is not closed with the processor.
        invoker: calls tools that are not registered, as `invoker(tool, arguments, idempotency_key)`.
        config: further settings of the confluent clients, such as security.
        settings: the rest, see `ProcessorSettings`.

    Raises:
        ChioConfigError: arguments are missing, contradictory or unsafe.
        PolicyError: the policy is malformed.
        LogError: the receipt log cannot be used.
    """

    def __init__(  # noqa: PLR0917 - the documented order
        self,
        bootstrap_servers: str,
        group_id: str,
        consume_topics: Sequence[str],
        sidecar_url: str | None = None,
        consume_scope: str | Mapping[str, str] | None = None,
        produce_scope_map: Mapping[str, str] | None = None,
        *,
        identity: str | None = None,
        policy: Policy | PolicyWatcher | StrPath | None = None,
        receipt_log: ReceiptLog | StrPath | None = None,
        signer: Signer | StrPath | None = None,
        guards: Guards | None = None,
        enforcer: Enforcer | None = None,
        invoker: Callable[..., Any] | None = None,
        config: Mapping[str, Any] | None = None,
        **settings: Unpack[ProcessorSettings],
    ) -> None:
        warn_of_sidecar(sidecar_url)
        self.identity = identity or (enforcer.identity if enforcer else None) or group_id
        self._options = Options(
            conf={**(config or {}), "bootstrap.servers": bootstrap_servers, "group.id": group_id},
            identity=self.identity,
            consume_scopes=consume_scopes(list(consume_topics), consume_scope),
            produce_scopes=dict(produce_scope_map or {}),
            **settings,
        )
        self._handlers: dict[str, Handler] = {}
        self._processing: Processing | None = None
        self._stopped = threading.Event()
        self.enforcer = enforcer_for(
            enforcer=enforcer,
            identity=self.identity,
            policy=policy,
            receipt_log=receipt_log,
            signer=signer,
            guards=guards,
        )
        self._owns_enforcer = enforcer is None
        if self.enforcer.durability != "full":
            raise ChioConfigError(
                "the enforcer's receipts survive no crash of the machine, while what was committed does; write "
                "`durability='full'`"
            )
        if invoker is not None:
            self.enforcer.tools.register_rest(invoker)

    def register(self, topic: str, handler: Handler) -> None:
        """Have the events of `topic` handled by `handler(event, ctx)`, a function that is sync or async.

        Raises:
            ChioConfigError: the topic is not consumed, or has a handler.
        """
        if topic not in self._options.consume_scopes:
            raise ChioConfigError(f"topic `{topic}` is not consumed; add it to `consume_topics`")
        if self._handlers.setdefault(topic, handler) is not handler:
            raise ChioConfigError(f"topic `{topic}` has a handler already")

    def tool(self, name: str, function: Callable[..., Any] | None = None, **kept: Unpack[Keeping]) -> Any:
        """Register the function behind a tool, see `Enforcer.tool`."""
        return self.enforcer.tool(name, **kept) if function is None else self.enforcer.tool(name, function, **kept)

    def run(self) -> Running:
        """Process until `stop` or SIGTERM, then finish what is in flight, commit it, and leave the group.

        Blocks the calling thread; what it gives may be awaited and need not be. On a thread whose event loop runs, it
        blocks nothing and has to be awaited.

        Raises:
            ChioConfigError: a consumed topic has no handler.
            ChioError: the processor cannot go on; the message says why.
            KafkaException: the client cannot.
        """
        missing = [topic for topic in self._options.consume_scopes if topic not in self._handlers]
        if missing:
            raise ChioConfigError(f"topic `{missing[0]}` has no handler; write `register({missing[0]!r}, handler)`")
        return running.run(self._run, self.stop)

    def stop(self) -> None:
        """Have `run` finish what is in flight, and return; for signal handlers, handlers and other threads."""
        self._stopped.set()
        if self._processing is not None:
            self._processing.stop()

    def stats(self) -> ProcessorStats:
        """Count what was done so far.

        Raises:
            ChioError: the processor has not started.
        """
        if self._processing is None:
            raise ChioError("there is nothing to count before `run`")
        return self._processing.stats()

    def close(self) -> None:
        """Give the receipt log back, unless the enforcer came from outside; `run` has returned before."""
        if self._owns_enforcer:
            self.enforcer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        self._processing = Processing(self._options, self.enforcer, self._handlers)
        if self._stopped.is_set():
            self._processing.stop()
        self._processing.run()

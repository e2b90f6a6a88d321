"""`Enforcer`: policy, guards, signer and receipt log in one object, whatever the broker."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from chio_fast import settings
from chio_fast._native import Event, Gate, Signer
from chio_fast.arguments import encode_arguments
from chio_fast.checks import CheckRequest, EnforcerStats
from chio_fast.context import current_event, handling_of, note_calls
from chio_fast.errors import ChioConfigError
from chio_fast.guards import DEFAULT_CONCURRENCY, DEFAULT_THREADS, DEFAULT_TIMEOUT, GuardRunner, Guards
from chio_fast.log import ReceiptLog
from chio_fast.policy import policy_from
from chio_fast.reloading import Reloading
from chio_fast.tools import Keeping, ToolCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from confluent_kafka import Message

    from chio_fast._native import Check, Log, Partition, Policy, StrPath
    from chio_fast.decision import Decision, Kind
    from chio_fast.message import EventLike
    from chio_fast.policy import PolicyWatcher

__all__ = ["CheckRequest", "Enforcer", "EnforcerStats"]

F = TypeVar("F", bound="Callable[..., Any]")


class Enforcer:
    """Decides requests and leaves a receipt of each decision.

    It knows no broker: the Kafka classes are users of it, and so are adapters for others, HTTP handlers and scripts.
    All methods may be called from any thread. In a forked child every call raises; build another one there.

    Args:
        policy: a `Policy`, the path of one, or a `PolicyWatcher`; by default the path in `CHIO_POLICY`.
        receipt_log: a `ReceiptLog`, its path or its URL; by default `CHIO_RECEIPT_LOG`, else `chio-receipts.db`.
        signer: a `Signer` or the path of a key file; by default `CHIO_SIGNING_KEY`, else the log's own key, which is
            created together with the log.
        guards: a list, each of which always runs, or a dictionary, each of which runs where a rule names it.
        identity: who acts where a call does not say; by default `CHIO_IDENTITY`.
        issuer: name under which receipts are issued; by default `{identity}@{host}#{lowest free slot}`.
        durability: `full`, or `relaxed`, which survives a crash of the process and not one of the machine.
        digest_key: 32 bytes that key the content digests, so that small values cannot be guessed from them.
        correlation_headers: headers of consumed events that carry the correlation text of their receipts, the preferred
            one first; by default `traceparent` and `X-Correlation-Id`.
        watch: look at the policy file for changes, every second or every so many seconds.
        guard_timeout: seconds that a guard has for one request.
        guard_concurrency: how many async guards run at the same time.
        guard_threads: how many sync guards run at the same time.

    Raises:
        ChioConfigError: there is no policy, it names a guard that is not given, or arguments contradict each other.
        PolicyError: the policy is malformed.
        LogError: the receipt log cannot be opened for issuing.
        SigningKeyError: the key cannot be used.
    """

    def __init__(
        self,
        policy: Policy | PolicyWatcher | StrPath | None = None,
        *,
        receipt_log: ReceiptLog | StrPath | None = None,
        signer: Signer | StrPath | None = None,
        guards: Guards | None = None,
        identity: str | None = None,
        issuer: str | None = None,
        durability: Literal["full", "relaxed"] = "full",
        digest_key: bytes | None = None,
        correlation_headers: Sequence[str] | None = None,
        watch: bool | float = False,
        guard_timeout: float = DEFAULT_TIMEOUT,
        guard_concurrency: int = DEFAULT_CONCURRENCY,
        guard_threads: int = DEFAULT_THREADS,
    ) -> None:
        self.identity = identity or settings.identity()
        self.durability = durability
        self.guards = GuardRunner(
            guards or (), timeout=guard_timeout, concurrency=guard_concurrency, threads=guard_threads
        )
        first, watcher = policy_from(policy, watch)
        self.guards.require(first)
        self.tools = ToolCalls(self)
        self._lock = threading.Lock()
        self._closed = False
        self.receipt_log = (
            receipt_log
            if isinstance(receipt_log, ReceiptLog)
            else ReceiptLog.open(receipt_log or settings.receipt_log_location())
        )
        self.log: Log = self.receipt_log.issuing(
            identity=self.identity, issuer=issuer, signer=_signer(signer), durability=durability, digest_key=digest_key
        )
        self.has_digest_key = digest_key is not None
        self.gate = Gate(self.log, first, guards=self.guards.always, correlation_headers=correlation_headers)
        self._reloading = Reloading(self.gate, self.guards, watcher)

    @property
    def policy(self) -> Policy:
        """The policy by which it decides now."""
        return self.gate.policy

    def check(
        self,
        scope: str,
        *,
        identity: str | None = None,
        kind: Kind | None = None,
        event: EventLike | None = None,
        tool: str | None = None,
        arguments: Any = None,
        output: EventLike | None = None,
        parents: Sequence[str] = (),
        correlation: str | None = None,
        durable: bool = False,
    ) -> Decision:
        """Decide one request, run the guards that are due, and issue the receipt.

        Args:
            scope: the permission asked for.
            identity: who asks; by default the enforcer's.
            kind: the boundary; by default `produce` with an `output`, `invoke` with a `tool` or `arguments`, else
                `consume`.
            event: the inbound event; at `invoke` and `produce` by default that of the `with event:` block around.
            tool: name of the tool, at `invoke`.
            arguments: arguments of the tool call, anything that msgspec writes as JSON.
            output: the event to be produced.
            parents: ids of the receipts that led to this; that of the inbound event is added, and at `produce` those
                of the tool calls that were made while it is handled.
            correlation: text that joins what belongs together, such as a `traceparent`; by default that of the headers
                of `output`, else of the event.
            durable: wait until the receipt is on the disk.

        Raises:
            ChioConfigError: there is no identity.
            GuardError: guards cannot run any longer.
            LogError: the receipt cannot be issued.
        """
        request = CheckRequest(
            scope=scope,
            identity=identity,
            kind=kind,
            event=event,
            tool=tool,
            arguments=arguments,
            output=output,
            parents=tuple(parents),
            correlation=correlation,
        )
        return self.check_batch([request], durable=durable)[0]

    def check_batch(self, requests: Iterable[CheckRequest], *, durable: bool = False) -> list[Decision]:
        """Do what `check` does for many requests: their guards run concurrently, their receipts are issued together."""
        checks = [self.request(request) for request in requests]
        while due := self.gate.issue_checks(checks):
            self.guards.run(due)
        note_calls(checks)
        if durable:
            self.wait_durable(checks)
        return [check.decision for check in checks]

    @overload
    def tool(self, name: str, function: F, **kept: Unpack[Keeping]) -> F: ...
    @overload
    def tool(self, name: str, **kept: Unpack[Keeping]) -> Callable[[F], F]: ...
    def tool(self, name: str, function: F | None = None, **kept: Unpack[Keeping]) -> F | Callable[[F], F]:
        """Register the function, sync or async, behind a tool; without `function` it is a decorator.

        Args:
            name: name of the tool.
            function: gets the arguments of calls as keywords; in a processor also the idempotency key of the call, if
                it has a parameter `idempotency_key`.
            kept: how a processor's journal keeps its calls, see `chio_fast.tools.Keeping`.

        Raises:
            ChioConfigError: another function has that name, or `kept` makes no sense.
        """
        if function is None:
            return functools.partial(self.tool, name, **kept)
        self.tools.register(name, function, **kept)
        return function

    def invoke(
        self,
        tool: str,
        scope: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        identity: str | None = None,
        event: EventLike | None = None,
        parents: Sequence[str] = (),
        correlation: str | None = None,
    ) -> Any:
        """Check a tool call, then run the tool with `arguments` as keywords and give what it returns.

        The receipt of the decision is durable before the tool starts; a second one, of kind `effect`, records what
        became of the call.

        Raises:
            ChioDenied: the call is not allowed; the tool did not run.
            ChioRevoked: the partition of the event being handled is not assigned any longer; the tool did not run.
            ChioConfigError: no such tool, or it is async.
            Exception: whatever the tool raises.
        """
        request = CheckRequest.of_call(
            tool, scope, arguments, identity=identity, event=event, parents=parents, correlation=correlation
        )
        return self.tools.run(request)

    async def ainvoke(
        self,
        tool: str,
        scope: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        identity: str | None = None,
        event: EventLike | None = None,
        parents: Sequence[str] = (),
        correlation: str | None = None,
    ) -> Any:
        """Do what `invoke` does without blocking the loop; a sync tool runs in a thread."""
        request = CheckRequest.of_call(
            tool, scope, arguments, identity=identity, event=event, parents=parents, correlation=correlation
        )
        return await self.tools.arun(request)

    def admit(
        self, messages: Sequence[Message], partitions: Mapping[tuple[str, int], Partition]
    ) -> tuple[list[Event], list[Message], list[Message]]:
        """Decide consumed messages, see `Gate.admit`; guards have not run yet, see `guards.submit`."""
        return self.gate.admit(messages, partitions)

    def issue(self, events: Sequence[Event], *, before_action: bool = False) -> tuple[list[Event], list[Event]]:
        """Give receipts to events that are handed out now: allowed ones and denied ones, see `Gate.issue`.

        Guards that are due and have not run are run first.
        """
        while True:
            allowed, denied, due = self.gate.issue(events, before_action=before_action)
            if not due:
                return allowed, denied
            self.guards.run(due)

    def seal(self) -> None:
        """Wait until every receipt issued so far is durable.

        Raises:
            LogError: they cannot be made durable.
        """
        self.log.wait_durable(self.log.seal())

    def reload(self, policy: Policy | StrPath | None = None) -> str:
        """Decide by another policy from now on, by default by what stands in the policy's file now.

        Returns:
            The version by which it decides now.

        Raises:
            PolicyError: it is malformed; the former one stays.
            ChioConfigError: it names a guard that is not registered, or there is no file; the former one stays.
        """
        return self._reloading.reload(policy)

    def stats(self) -> EnforcerStats:
        """Count what was done so far."""
        counts = self.gate.counts()
        return EnforcerStats(
            policy_version=self.policy.version,
            **counts,
            guards_evaluated=self.guards.evaluated,
            guards_hung=self.guards.hung,
            reloads=self._reloading.reloads,
            reload_failures=self._reloading.failures,
            receipts_issued=self.log.issued,
            receipts_durable=self.log.durable,
        )

    def close(self) -> None:
        """Make everything durable, stop watching and give the log back; closing twice does nothing.

        Raises:
            LogError: receipts cannot be made durable.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._reloading.stop()
        self.guards.close()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def request(self, request: CheckRequest) -> Check:
        """Decide one request by the rules, without guards and receipt yet; `Gate.issue_checks` gives it its receipt.

        Raises:
            ChioConfigError: there is no identity.
        """
        identity = request.identity or self.identity
        if not identity:
            raise ChioConfigError(
                f"nobody asks for `{request.scope}`: give `identity=`, here or to the enforcer, or set the environment "
                f"variable `{settings.IDENTITY}`"
            )
        kind = request.boundary
        event, parents = request.event, request.parents
        if event is None and kind != "consume":
            event = current_event()
        if isinstance(event, Event) and event.chio_receipt_id and event.chio_receipt_id not in parents:
            parents = (event.chio_receipt_id, *parents)
        if kind == "produce" and (handling := handling_of(event)) is not None:
            parents = (*parents, *handling.calls)
        return self.gate.request(
            identity,
            request.scope,
            kind=kind,
            event=event,
            tool=request.tool,
            arguments=None if request.arguments is None else encode_arguments(request.arguments),
            output=request.output,
            parents=parents,
            correlation=request.correlation,
        )

    def wait_durable(self, checks: Sequence[Check]) -> None:
        """Wait until the receipts of `checks` are durable."""
        ordinals = [check.ordinal for check in checks if check.ordinal is not None]
        if ordinals:
            self.log.wait_durable(max(ordinals))


def _signer(given: Signer | StrPath | None) -> Signer | None:
    if isinstance(given, Signer):
        return given
    if given is not None:
        return Signer.from_file(given)
    return settings.signer()

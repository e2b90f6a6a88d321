"""Tool calls: checked first, run after the receipt is durable, their outcome recorded by a second receipt."""

from __future__ import annotations

import functools
import inspect
import time
import typing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypedDict, Unpack, get_args

import msgspec

from chio_fast import settings, steps
from chio_fast._native import Event
from chio_fast.arguments import encode_arguments, encode_result
from chio_fast.context import note_calls
from chio_fast.errors import ChioCallUnknown, ChioConfigError, ChioDenied, ChioError, ChioRevoked
from chio_fast.steps import Steps, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chio_fast._native import Check
    from chio_fast.checks import CheckRequest
    from chio_fast.enforcer import Enforcer

KEY = "idempotency_key"
"""Parameter by which a tool gets the idempotency key of its call, if it has one."""

MAX_REST = 1024
"""Tools without a registration that are kept ready at most: whoever names them may make names up."""

OnUnknown = Literal["call again", "escalate", "stop"]
Keep = Literal["full", "digest", "off"]


class Keeping(TypedDict, total=False):
    """How a journal keeps the calls of a tool.

    Attributes:
        on_unknown: what to do when an event comes again and it is not known what became of a call of it, because the
            process ended meanwhile or the result was not kept. `call again`: with the same idempotency key; `escalate`:
            the handler fails, with `ChioCallUnknown`, and is not tried again; `stop`: the processor stops. By default
            `call again` if the function takes the key, else `escalate`.
        result: how much of results is kept: `full`, `digest` or `off`. Only what is kept in full can be given again;
            the rest counts as unknown.
    """

    on_unknown: OnUnknown | None
    result: Keep


class Tool(NamedTuple):
    """A function behind a name.

    Attributes:
        name: the name.
        function: the function, sync or async.
        takes_key: whether it has a parameter `idempotency_key`.
        on_unknown: what to do when it is not known what became of a call of an event that comes again.
        result: how much of results the journal keeps.
        decoder: reads a result that was kept.
    """

    name: str
    function: Callable[..., Any]
    takes_key: bool
    on_unknown: OnUnknown
    result: Keep
    decoder: msgspec.json.Decoder[Any]

    @property
    def is_async(self) -> bool:
        """Whether calls of it are awaited."""
        return steps.is_async(self.function)

    def call(self, arguments: Mapping[str, Any], decided: bytes | None, key: str | None) -> Wait:
        """Give the call, to be made with `arguments` if they are still those that were decided about."""
        given = {KEY: key} if self.takes_key and key is not None else {}

        def now() -> Any:
            if encode_arguments(arguments) != decided:
                raise ChioError(
                    f"the arguments of tool `{self.name}` were changed after it was decided about them, so it was not "
                    "called: give it lists and dictionaries that nobody else changes"
                )
            # An argument of the key's name is refused by Python: the policy has seen it, so it is not replaced.
            return self.function(**arguments, **given)

        return Wait(now, now if self.is_async else steps.blocking(now).later)


class Note(NamedTuple):
    """What the receipt of a call's outcome says beside the outcome.

    Attributes:
        reason: a sentence, or nothing.
        stands_for: ids of the receipts of earlier calls that it speaks of.
    """

    reason: str = ""
    stands_for: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a call gives that is not made.

    Attributes:
        value: what the caller gets.
        result: the JSON of it.
    """

    value: Any
    result: bytes


class Keeper(Protocol):
    """Keeps one call, so that it is not made twice.

    Attributes:
        key: idempotency key, once the call has begun.
        note: for the receipt of its outcome.
    """

    key: str | None
    note: Note

    def begin(self, check: Check, tool: Tool) -> Steps[Answer | None]:
        """Keep that an allowed call begins, or give what it gave before; raise if it must not be made."""

    def complete(self, result: Any, encoded: bytes | None) -> Steps[Any]:
        """Keep what it gave, and give what the caller gets; `encoded` is its JSON, or None if it has none."""

    def fail(self, error: Exception) -> Steps[None]:
        """Keep that the tool raised."""


class ToolCalls:
    """The registered tools of an enforcer, those of `CHIO_TOOLS` among them, and how they are called.

    Args:
        enforcer: decides about the calls.

    Raises:
        ChioConfigError: `CHIO_TOOLS` is no dictionary of functions.
    """

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer
        self._tools: dict[str, Tool] = {}
        self._rest: Callable[[str], Tool] | None = None
        for name, function in settings.tools().items():
            self.register(name, function)

    def register(self, name: str, function: Callable[..., Any], **kept: Unpack[Keeping]) -> None:
        """Put a function, sync or async, behind a name; the rest counts where a journal is kept.

        Args:
            name: the name.
            function: gets the arguments of calls as keywords, and the call's idempotency key as `idempotency_key` if
                it has such a parameter.
            kept: `on_unknown` and `result`, see `Keeping`.

        Raises:
            ChioConfigError: another function has that name, or a word is none of those.
        """
        known = self._tools.get(name)
        if known is not None and known.function is not function:
            raise ChioConfigError(f"tool `{name}` is registered already; give the other one another name")
        self._tools[name] = _tool(name, function, **kept)

    def register_rest(self, invoker: Callable[..., Any]) -> None:
        """Have calls of all names that are not registered made by `invoker(tool, arguments, idempotency_key)`."""
        self._rest = functools.lru_cache(MAX_REST)(lambda name: _tool(name, _named(name, invoker)))

    def run(self, request: CheckRequest, keeper: Keeper | None = None) -> Any:
        """Check a call, then run the tool and give what it returns."""
        tool = self._tool(request)
        if tool.is_async:
            raise ChioConfigError(
                f"tool `{request.tool}` is async; use `await enforcer.ainvoke(...)`, or in a processor an async handler"
            )
        return steps.run(self._steps(request, tool, keeper))

    async def arun(self, request: CheckRequest, keeper: Keeper | None = None) -> Any:
        """Do the same without blocking the loop; a sync tool runs in a thread."""
        return await steps.arun(self._steps(request, self._tool(request), keeper))

    def remark(self, check: Check, note: Note) -> None:
        """Issue the receipt of an outcome for a call that was not asked for this time."""
        self._effect(check, None, note)

    def _steps(self, request: CheckRequest, tool: Tool, keeper: Keeper | None) -> Steps[Any]:
        """Check, have the receipt durable, run, record; a keeper is asked before the tool runs, and told after."""
        check = self._enforcer.request(request)
        while due := self._enforcer.gate.issue_checks([check]):
            yield Wait(
                functools.partial(self._enforcer.guards.run, due), functools.partial(self._enforcer.guards.arun, due)
            )
        if not check.decision.allowed:
            raise ChioDenied(check.decision)
        yield steps.blocking(self._enforcer.wait_durable, [check])
        _require_current(request)
        note_calls([check])
        if keeper is not None:
            try:
                answer = yield from keeper.begin(check, tool)
            except BaseException as error:
                self._effect(check, None, keeper.note, error=error)
                raise
            if answer is not None:
                self._effect(check, None, keeper.note, result=answer.result)
                return answer.value
        return (yield from self._run(check, tool, request, keeper))

    def _run(self, check: Check, tool: Tool, request: CheckRequest, keeper: Keeper | None) -> Steps[Any]:
        started = time.monotonic()
        try:
            # Whoever holds the event by now has seen that this call begins, or begins it instead.
            _require_current(request)
            result = yield tool.call(request.arguments, check.arguments, None if keeper is None else keeper.key)
        except BaseException as error:
            try:
                # A call that was cancelled, or cannot tell, stays begun: nobody knows whether it did its work.
                if keeper is not None and isinstance(error, Exception) and not isinstance(error, ChioCallUnknown):
                    yield from keeper.fail(error)
            finally:
                self._effect(check, started, Note() if keeper is None else keeper.note, error=error)
            raise
        encoded = encode_result(result)
        try:
            return result if keeper is None else (yield from keeper.complete(result, encoded))
        finally:
            self._effect(check, started, Note() if keeper is None else keeper.note, result=encoded)

    def _tool(self, request: CheckRequest) -> Tool:
        """Give the tool of a request that may be made at all."""
        name = request.tool or ""
        tool = self._tools.get(name)
        if tool is None and self._rest is not None:
            tool = self._rest(name)
        if tool is None:
            known = ", ".join(f"`{name}`" for name in self._tools) or "none yet"
            raise ChioConfigError(
                f"no tool is called `{request.tool}`: register it with `enforcer.tool(name, fn)`; known: {known}"
            )
        _require_current(request)
        return tool

    def _effect(
        self,
        check: Check,
        started: float | None,
        note: Note,
        *,
        result: bytes | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Issue the receipt of what became of a call; one that was not made took no time."""
        self._enforcer.gate.effect(
            check,
            result=result,
            error=None if error is None else type(error).__name__,
            duration_ms=0 if started is None else round((time.monotonic() - started) * 1000),
            reason=note.reason,
            stands_for=note.stands_for,
        )


def _tool(name: str, function: Callable[..., Any], on_unknown: OnUnknown | None = None, result: Keep = "full") -> Tool:
    if on_unknown not in {None, *get_args(OnUnknown)}:
        raise ChioConfigError(
            f"`on_unknown` of tool `{name}` is `{on_unknown}`; write `call again`, `escalate` or `stop`"
        )
    if result not in get_args(Keep):
        raise ChioConfigError(f"`result` of tool `{name}` is `{result}`; write `full`, `digest` or `off`")
    takes_key = KEY in _parameters(function)
    default: OnUnknown = "call again" if takes_key else "escalate"
    return Tool(name, function, takes_key, on_unknown or default, result, _decoder(function))


def _named(name: str, invoker: Callable[..., Any]) -> Callable[..., Any]:
    """Give the tool that an invoker makes the calls of."""
    if inspect.iscoroutinefunction(invoker):

        async def acall(*, idempotency_key: str | None = None, **arguments: Any) -> Any:
            return await invoker(name, arguments, idempotency_key)

        return acall

    def call(*, idempotency_key: str | None = None, **arguments: Any) -> Any:
        return invoker(name, arguments, idempotency_key)

    return call


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # functions of extensions may have none
        return {}


def _decoder(function: Callable[..., Any]) -> msgspec.json.Decoder[Any]:
    """Give what reads a kept result as the type that the function says it returns, or as plain JSON."""
    try:
        return msgspec.json.Decoder(typing.get_type_hints(function).get("return", Any))
    except Exception:  # noqa: BLE001 - annotations may be anything, and name what does not exist
        return msgspec.json.Decoder()


def _require_current(request: CheckRequest) -> None:
    event = request.event
    if isinstance(event, Event) and not event.is_current:
        raise ChioRevoked.of(event.request, f"tool `{request.tool}` was not called")

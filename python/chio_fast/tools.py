"""Tool calls: checked first, run after the receipt is durable, their outcome recorded by a second receipt."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any

from chio_fast._native import Event
from chio_fast.arguments import encode_result
from chio_fast.errors import ChioConfigError, ChioDenied, ChioRevoked

if TYPE_CHECKING:
    from collections.abc import Callable

    from chio_fast._native import Check
    from chio_fast.checks import CheckRequest
    from chio_fast.enforcer import Enforcer


class ToolCalls:
    """The registered tools of an enforcer, and how they are called.

    Args:
        enforcer: decides about the calls.
    """

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer
        self._tools: dict[str, Callable[..., Any]] = {}

    def register(self, name: str, function: Callable[..., Any]) -> None:
        """Put a function, sync or async, behind a name.

        Raises:
            ChioConfigError: another function has that name.
        """
        if self._tools.setdefault(name, function) is not function:
            raise ChioConfigError(f"tool `{name}` is registered already; give the other one another name")

    def run(self, request: CheckRequest) -> Any:
        """Check a call, then run the tool and give what it returns."""
        function = self._function(request)
        if inspect.iscoroutinefunction(function):
            raise ChioConfigError(f"tool `{request.tool}` is async; use `await enforcer.ainvoke(...)`")
        check = self._enforcer.request(request)
        while due := self._enforcer.gate.issue_checks([check]):
            self._enforcer.guards.run(due)
        self._authorise(check)
        started = time.monotonic()
        try:
            result = function(**request.arguments)
        except BaseException as error:
            self._record(check, started, error=error)
            raise
        self._record(check, started, result=result)
        return result

    async def arun(self, request: CheckRequest) -> Any:
        """Do the same without blocking the loop; a sync tool runs in a thread."""
        function = self._function(request)
        check = self._enforcer.request(request)
        while due := self._enforcer.gate.issue_checks([check]):
            await self._enforcer.guards.arun(due)
        await asyncio.to_thread(self._authorise, check)
        started = time.monotonic()
        try:
            if inspect.iscoroutinefunction(function):
                result = await function(**request.arguments)
            else:
                result = await asyncio.to_thread(function, **request.arguments)
        except BaseException as error:
            self._record(check, started, error=error)
            raise
        self._record(check, started, result=result)
        return result

    def _function(self, request: CheckRequest) -> Callable[..., Any]:
        """Give the tool of a request that may be made at all."""
        function = self._tools.get(request.tool or "")
        if function is None:
            known = ", ".join(f"`{name}`" for name in self._tools) or "none yet"
            raise ChioConfigError(
                f"no tool is called `{request.tool}`: register it with `enforcer.tool(name, fn)`; known: {known}"
            )
        event = request.event
        if isinstance(event, Event) and not event.is_current:
            raise ChioRevoked(
                f"`{event.request}` is not this consumer's any longer: its partition was revoked, lost or sought, so "
                f"tool `{request.tool}` was not called"
            )
        return function

    def _authorise(self, check: Check) -> None:
        """Raise unless the call is allowed and the receipt that says so is durable."""
        decision = check.decision
        if not decision.allowed:
            raise ChioDenied(decision)
        self._enforcer.wait_durable([check])

    def _record(self, check: Check, started: float, *, result: Any = None, error: BaseException | None = None) -> None:
        """Issue the receipt of what became of the call."""
        self._enforcer.gate.effect(
            check,
            result=None if error is not None else encode_result(result),
            error=None if error is None else type(error).__name__,
            duration_ms=round((time.monotonic() - started) * 1000),
        )

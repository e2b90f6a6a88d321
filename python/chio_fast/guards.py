"""Guards: code that sees the content of a request and can deny it.

A guard is any object with `evaluate(context)`, sync or async, that returns `Allow()` or `Deny(reason)`. Anything else
that it does denies: another answer, an exception, no answer in time.

Guards given as a list run for every request that is not already denied; guards given as a dictionary run where a rule
of the policy names them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from chio_fast._native import Check
from chio_fast.decision import Allow, Deny, GuardRun
from chio_fast.errors import ChioConfigError, GuardError
from chio_fast.guard_pool import TIMED_OUT, GuardPool, Raised

if TYPE_CHECKING:
    from chio_fast._native import Event, Policy
    from chio_fast.decision import Kind
    from chio_fast.message import EventLike

log = logging.getLogger("chio_fast.guards")

DEFAULT_TIMEOUT = 5.0
"""Seconds that one guard has for one request."""
DEFAULT_CONCURRENCY = 64
"""How many async guards run at the same time."""
DEFAULT_THREADS = 8
"""How many sync guards run at the same time."""
LOOP_GRACE = 1.0
"""Seconds beyond the timeout after which a loop that does not turn counts as blocked."""


class GuardContext:
    """What a guard sees.

    Attributes:
        identity: who asks.
        scope: the permission asked for.
        kind: the boundary: `consume`, `invoke` or `produce`.
        event: the inbound event; None outside a handler.
        output: the event to be produced, at the produce boundary.
        tool: name of the tool, at the invoke boundary.
    """

    __slots__ = ("_arguments", "_subject", "event", "identity", "kind", "output", "scope", "tool")

    def __init__(self, subject: Event | Check) -> None:
        self._subject = subject
        self.identity: str = subject.identity
        self.scope: str = subject.scope
        self.kind: Kind = subject.kind
        check = subject if isinstance(subject, Check) else None
        self.event: Any = check.event if check else subject
        self.output: EventLike | None = check.output if check else None
        self.tool: str | None = check.tool if check else None
        self._arguments: bytes | None = check.arguments if check else None

    @property
    def topic(self) -> str | None:
        """Name of the topic: of the event to be produced if there is one, else of the inbound one."""
        message = self.output if self.output is not None else self.event
        if message is None:
            return None
        if isinstance(message, Mapping):
            return message.get("topic")
        topic: str | None = message.topic()
        return topic

    @property
    def arguments(self) -> Any:
        """The tool call's arguments, decoded from the JSON that the policy and the receipt see."""
        return None if self._arguments is None else msgspec.json.decode(self._arguments)

    def has_scope(self, scope: str) -> bool:
        """Say whether the policy's rules alone allow this identity `scope` for this request."""
        return self._subject.has_scope(scope)


@runtime_checkable
class Guard(Protocol):
    """Code that sees the content of a request and can deny it; its name is `name`, else that of its class."""

    def evaluate(self, context: GuardContext) -> Allow | Deny | Awaitable[Allow | Deny]:
        """Answer `Allow()` or `Deny(reason)`."""


Guards = Sequence[Guard] | Mapping[str, Guard]


class GuardRunner:
    """Runs guards: async ones on one long-lived loop, sync ones in a bounded pool, each with a timeout.

    Args:
        guards: a list, each of which always runs, or a dictionary, each of which runs where a rule names it.
        timeout: seconds for one guard and one request.
        concurrency: how many async guards run at the same time.
        threads: how many sync guards run at the same time.

    Raises:
        ChioConfigError: one of them has no `evaluate`, or a bound is not positive.
    """

    def __init__(
        self,
        guards: Guards = (),
        *,
        timeout: float = DEFAULT_TIMEOUT,
        concurrency: int = DEFAULT_CONCURRENCY,
        threads: int = DEFAULT_THREADS,
    ) -> None:
        if timeout <= 0 or concurrency < 1 or threads < 1:
            raise ChioConfigError("`guard_timeout`, `guard_concurrency` and `guard_threads` must be above 0")
        self._guards = _by_name(guards)
        self.always: tuple[str, ...] = () if isinstance(guards, Mapping) else tuple(self._guards)
        self.timeout = timeout
        self._concurrency = concurrency
        self._pool = GuardPool(threads)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = 0.0
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.evaluated = 0

    @property
    def hung(self) -> int:
        """How many guards ran out of time and have not returned yet."""
        return self._pool.hung + len(self._abandoned)

    def require(self, policy: Policy) -> None:
        """Refuse a policy that names a guard which is not registered.

        Raises:
            ChioConfigError: and which one.
        """
        missing = [name for name in policy.guards if name not in self._guards]
        if missing:
            raise ChioConfigError(
                f"policy `{policy.source}` names guard `{missing[0]}`, which is not registered: give "
                f'`guards={{"{missing[0]}": ...}}`, or remove it from the policy'
            )

    def submit(self, subjects: Sequence[Event | Check]) -> Future[None]:
        """Run what is due for `subjects` in the background; wait with `wait`."""
        return asyncio.run_coroutine_threadsafe(self._run(subjects), self._own_loop())

    def wait(self, future: Future[None], timeout: float | None = None) -> bool:
        """Wait for what `submit` gave.

        Args:
            future: from `submit`.
            timeout: seconds; None waits to the end.

        Returns:
            False if the time ran out first.

        Raises:
            GuardError: guards cannot run any longer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = self.timeout if deadline is None else min(self.timeout, max(0.0, deadline - time.monotonic()))
            if wait([future], left).done:
                future.result()
                return True
            if self._is_blocked() and not wait([future], LOOP_GRACE).done and self._is_blocked():
                raise GuardError(
                    f"an async guard has blocked the loop of the guards for over {self.timeout:g} s: "
                    "make it await what it waits for, or make `evaluate` a plain function"
                )
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def run(self, subjects: Sequence[Event | Check]) -> None:
        """Run what is due for `subjects` and wait for it.

        Raises:
            GuardError: guards cannot run any longer.
        """
        self.wait(self.submit(subjects))

    async def arun(self, subjects: Sequence[Event | Check]) -> None:
        """Run what is due for `subjects` on the caller's own loop."""
        self._refuse_fork()
        await self._run(subjects)

    def close(self) -> None:
        """Stop the loop and let the threads end; guards that hang are left behind."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        self._pool.close()

    async def _run(self, subjects: Sequence[Event | Check]) -> None:
        slots = asyncio.Semaphore(self._concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                for subject in subjects:
                    group.create_task(self._run_one(subject, slots))
        except* GuardError as failures:
            raise failures.exceptions[0] from None

    async def _run_one(self, subject: Event | Check, slots: asyncio.Semaphore) -> None:
        due = subject.guards_due
        if not due:
            return
        context = GuardContext(subject)
        runs = await asyncio.gather(*(self._evaluate(name, context, slots) for name in due))
        subject.guards_ran(runs)

    async def _evaluate(self, name: str, context: GuardContext, slots: asyncio.Semaphore) -> GuardRun:
        guard = self._guards.get(name)
        if guard is None:
            return GuardRun(name, "error", f"guard `{name}` is not registered")
        self.evaluated += 1
        if inspect.iscoroutinefunction(guard.evaluate):
            async with slots:
                return await self._await(name, guard.evaluate(context))
        answer = await self._pool.call(guard.evaluate, context, self.timeout)
        if isinstance(answer, Awaitable):
            async with slots:
                return await self._await(name, answer)
        return _judge(name, answer)

    async def _await(self, name: str, answer: Awaitable[Any]) -> GuardRun:
        task = asyncio.ensure_future(_settled(answer))
        done, _ = await asyncio.wait({task}, timeout=self.timeout)
        if done:
            return _judge(name, task.result())
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.cancel()
        # One turn of the loop is enough for a guard that ends when it is cancelled.
        await asyncio.sleep(0)
        if len(self._abandoned) >= self._concurrency:
            raise GuardError(
                f"{len(self._abandoned)} async guards have not returned within {self.timeout:g} s, guard `{name}` "
                "among them, and do not end when cancelled: nothing more can be decided"
            )
        return _judge(name, TIMED_OUT)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        self._refuse_fork()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._beat = time.monotonic()
                threading.Thread(target=self._turn, args=(self._loop,), name="chio-guards", daemon=True).start()
            return self._loop

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        def beat() -> None:
            self._beat = time.monotonic()
            loop.call_later(self.timeout / 4, beat)

        asyncio.set_event_loop(loop)
        loop.call_soon(beat)
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=LOOP_GRACE))
        loop.close()

    def _is_blocked(self) -> bool:
        """Say whether the loop has not turned for too long, which it has not either while the process was suspended."""
        return time.monotonic() - self._beat > self.timeout + LOOP_GRACE

    def _refuse_fork(self) -> None:
        if os.getpid() != self._pid:
            raise GuardError("these guards were set up before a fork: build the enforcer again in the child process")


def _by_name(guards: Guards) -> dict[str, Guard]:
    named: dict[str, Guard] = {}
    pairs = guards.items() if isinstance(guards, Mapping) else ((_name(guard), guard) for guard in guards)
    for name, guard in pairs:
        if not callable(getattr(guard, "evaluate", None)):
            raise ChioConfigError(
                f"guard `{name}` has no method `evaluate(context)`; write one that returns Allow() or Deny(reason)"
            )
        if not name or name in named:
            raise ChioConfigError(f"two guards are called `{name}`; give each its own attribute `name`")
        named[name] = guard
    return named


def _name(guard: Guard) -> str:
    return str(getattr(guard, "name", None) or type(guard).__name__)


async def _settled(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except BaseException as error:  # noqa: BLE001 - whatever a guard raises denies
        return Raised(error)


def _judge(name: str, answer: Any) -> GuardRun:
    """Turn an answer into a run: everything that is not `Allow` denies."""
    if isinstance(answer, Allow):
        return GuardRun(name, "allow")
    if isinstance(answer, Deny):
        return GuardRun(name, "deny", answer.reason)
    if answer is TIMED_OUT:
        return GuardRun(name, "timeout", f"guard `{name}` did not answer in time")
    if isinstance(answer, Raised):
        log.error("guard `%s` raised; the request is denied", name, exc_info=answer.error)
        return GuardRun(name, "error", f"guard `{name}` raised `{type(answer.error).__name__}`")
    log.error("guard `%s` answered %r, not Allow() or Deny(reason); the request is denied", name, answer)
    return GuardRun(name, "error", f"guard `{name}` answered neither `Allow()` nor `Deny(reason)`")

"""Work with waits in it, written once for callers that block and for callers that await."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Wait(NamedTuple):
    """Something to wait for, in two forms that give and raise the same.

    Attributes:
        now: blocks.
        later: is awaited.
    """

    now: Callable[[], Any]
    later: Callable[[], Awaitable[Any]]


Steps = Generator[Wait, Any, T]
"""Work that yields what it has to wait for, is sent what that gave, and returns its result."""


def run(steps: Steps[T]) -> T:
    """Do the work, blocking where it waits."""
    proceed: Callable[[], Wait] = functools.partial(next, steps)
    while True:
        try:
            wait = proceed()
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        try:
            outcome = wait.now()
        except BaseException as error:  # noqa: BLE001 - the work is told, and decides
            proceed = functools.partial(steps.throw, error)
        else:
            proceed = functools.partial(steps.send, outcome)


async def arun(steps: Steps[T]) -> T:
    """Do the work without blocking the loop."""
    proceed: Callable[[], Wait] = functools.partial(next, steps)
    while True:
        try:
            wait = proceed()
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        try:
            outcome = await wait.later()
        except BaseException as error:  # noqa: BLE001 - as above; a cancellation too
            proceed = functools.partial(steps.throw, error)
        else:
            proceed = functools.partial(steps.send, outcome)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calls of a function, or of an object that is called like one, are awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def future(awaited: Future[T]) -> Wait:
    """Wait for a future of another thread."""
    return Wait(awaited.result, lambda: asyncio.wrap_future(awaited))


def blocking(function: Callable[..., Any], *arguments: Any) -> Wait:
    """Wait for a function that blocks; off the loop it runs in a thread."""
    return Wait(functools.partial(function, *arguments), functools.partial(asyncio.to_thread, function, *arguments))

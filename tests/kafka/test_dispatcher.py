"""What a handler sees as the event that is handled, and what is left of it when the handler has returned."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chio_fast import ChioError, ChioRevoked, Enforcer, Event, Policy
from chio_fast._native import Run, Runs, Work
from chio_fast.context import current, current_event
from chio_fast.kafka.assignment import Assigned
from chio_fast.kafka.calls import EventCalls, ToolCaller
from chio_fast.kafka.dispatcher import Dispatcher
from chio_fast.kafka.failures import Failures
from chio_fast.kafka.frontier import NOTHING
from chio_fast.kafka.handler_context import Boundaries
from chio_fast.kafka.in_flight import InFlight
from chio_fast.kafka.proving import Proving
from chio_fast.kafka.sample import sample_message
from chio_fast.kafka.trouble import Trouble
from chio_fast.steps import is_async
from tests.kafka.patience import patiently

PATIENCE = 30
POLICY = """
chio: policy/v1
identities:
  workers:
    capabilities: [events:consume:orders, events:produce:results]
"""


class Table:
    """A dispatcher with real workers, for the events of one partition that nobody commits."""

    def __init__(self, enforcer: Enforcer) -> None:
        self.gate = enforcer.gate
        self.trouble = Trouble()
        self.runs = InFlight([Runs(1000, 3600.0)], 1000)
        tools = ToolCaller(enforcer, "workers", None, stop=self.trouble.stop)
        outlet = self.gate.outlet("results", scope="events:produce:results", identity="workers")
        failures = Failures("retry", None, 2)
        self.dispatcher = Dispatcher(
            runs=self.runs,
            failures=failures,
            proving=Proving(self.gate, enforcer.receipt_log, failures, self.runs),
            boundaries=Boundaries(enforcer, tools, {"results": outlet}, {"results": 10_000}),
            trouble=self.trouble,
            concurrency=1,
            order="partition",
        )
        self.native = self.gate.partition("orders", 0, scope="events:consume:orders", identity="workers", stamp=1)

    def handle(self, handler: Callable[..., Any], count: int) -> list[Work]:
        """Have so many events handled."""
        held = Assigned(("orders", 0), self.native, None)
        run = Run(held, handler, NOTHING, is_async=is_async(handler), unproven=0, generation=1)
        self.runs.begin(run)
        messages = [sample_message(b"{}", topic="orders", offset=offset) for offset in range(count)]
        events, _, _ = self.gate.admit(messages, {held.key: self.native})
        self.dispatcher.take(events)
        for _ in patiently("handlers that return"):
            self.dispatcher.turn()
            if not self.runs.unfinished or self.trouble.failure is not None:
                break
        return run.works


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with Enforcer(Policy.from_yaml(POLICY), receipt_log=tmp_path / "receipts.db", identity="workers") as enforcer:
        made = Table(enforcer)
        yield made
        made.dispatcher.stop()


def test_what_a_sync_handler_starts_keeps_to_its_event(table: Table) -> None:
    seen: list[tuple[Event, Any, contextvars.Context]] = []

    def handle(event: Event, ctx: Any) -> None:
        assert current() is ctx
        seen.append((event, current_event(), contextvars.copy_context()))

    works = table.handle(handle, 5)
    assert [event for event, _, _ in seen] == [work.event for work in works]
    assert all(event is handled is started.run(current_event) for event, handled, started in seen)


def test_what_an_async_handler_starts_keeps_to_its_event(table: Table) -> None:
    seen: list[tuple[Event, asyncio.Task[Event | None]]] = []
    over = threading.Event()

    async def later() -> Event | None:
        await asyncio.to_thread(over.wait, PATIENCE)
        return current_event()

    async def handle(event: Event, ctx: Any) -> None:
        await asyncio.sleep(0)
        assert current() is ctx
        seen.append((event, asyncio.create_task(later())))

    async def results() -> list[Event | None]:
        return await asyncio.gather(*(task for _, task in seen))

    table.handle(handle, 5)
    over.set()
    loop = table.dispatcher.loop._loop
    assert loop is not None
    assert asyncio.run_coroutine_threadsafe(results(), loop).result(PATIENCE) == [event for event, _ in seen]


@pytest.mark.parametrize("road", ["returned", "failed"])
def test_a_worker_that_rests_handles_nothing(table: Table, monkeypatch: pytest.MonkeyPatch, road: str) -> None:
    """Nor does it hold on to the last event."""
    resting: list[Event | None] = []
    wait = table.dispatcher.threads._wake.wait
    monkeypatch.setattr(table.dispatcher.threads._wake, "wait", lambda: (resting.append(current_event()), wait()))

    def handle(_event: Event, _ctx: Any) -> None:
        if road == "failed":
            raise ChioRevoked

    table.handle(handle, 2)
    for _ in patiently("a worker that sleeps"):
        if resting:
            break
    assert set(resting) == {None}


def test_what_an_attempt_left_behind_adds_nothing_once_the_handler_has_returned(table: Table) -> None:
    contexts: list[Any] = []

    def handle(event: Event, ctx: Any) -> None:
        ctx.produce("results", event.value())
        contexts.append(ctx)

    [work] = table.handle(handle, 1)
    assert len(work.outputs) == 1
    for value in (b"{}", "text", {"n": 1}):
        with pytest.raises(ChioError, match="has returned"):
            contexts[0].produce("results", value)
    assert len(work.outputs) == 1


def test_an_attempt_that_failed_adds_nothing_to_the_next_one(table: Table) -> None:
    contexts: list[Any] = []

    def handle(_event: Event, ctx: Any) -> None:
        contexts.append(ctx)
        ctx.produce("results", b"first" if len(contexts) == 1 else b"second")
        if len(contexts) == 1:
            raise LookupError
        with pytest.raises(ChioError, match="has returned"):
            contexts[0].produce("results", b"late")

    [work] = table.handle(handle, 1)
    assert [output.output["value"] for output in work.outputs] == [b"second"]


def test_nothing_is_left_of_an_attempt_that_has_called_tools(table: Table) -> None:
    """Python's garbage collector does not look at contexts, so nothing that they hold may hold them."""

    def handle(event: Event, ctx: Any) -> None:
        ctx.chio.invoke  # noqa: B018 - what calls tools is made
        ctx.produce("results", event.value())

    gc.collect()
    before = sum(isinstance(found, EventCalls) for found in gc.get_objects())
    table.handle(handle, 5)
    for _ in patiently("workers that let go of what they had"):
        if sum(isinstance(found, EventCalls) for found in gc.get_objects()) == before:
            break

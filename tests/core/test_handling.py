"""What happens while an event is handled says so: its receipt, its tool calls and its correlation text go along."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Message

from chio_fast import ChioDenied, Enforcer, Event, Policy
from chio_fast.context import MAX_CALLS, HandledEvents, current_event, enter, leave
from tests.core.conftest import IDENTITY

POLICY = """
chio: policy/v1
identities:
  research-agents:
    capabilities: [events:consume:tasks, "tools:search:*", events:produce:results]
"""
OUTPUT = {"topic": "results", "value": b"{}"}


@pytest.fixture
def enforcer(enforcers: Callable[..., Enforcer]) -> Enforcer:
    """An enforcer with a tool."""
    made = enforcers(Policy.from_yaml(POLICY))
    made.tool("search", lambda: "found")
    return made


def handed_out(enforcer: Enforcer, *, offset: int = 0, **members: Any) -> Event:
    partition = enforcer.gate.partition("tasks", 0, scope="events:consume:tasks", identity=IDENTITY, stamp=1)
    given = [Message(topic="tasks", partition=0, offset=offset, timestamp=(1, 1000), **members)]
    events, _, _ = enforcer.gate.admit(given, {("tasks", 0): partition})
    allowed, _ = enforcer.issue(events)
    return allowed[0]


def produced(enforcer: Enforcer, **more: Any) -> Any:
    decision = enforcer.check("events:produce:results", output=OUTPUT, durable=True, **more)
    return enforcer.receipt_log.get(decision.receipt_id or "")


def calls(enforcer: Enforcer, **filters: Any) -> list[Any]:
    enforcer.seal()
    return list(enforcer.receipt_log.query(kind="invoke", **filters))


def test_the_chain_is_consume_then_tool_call_then_produce(enforcer: Enforcer) -> None:
    event = handed_out(enforcer)
    with event:
        enforcer.invoke("search", "tools:search:web")
        enforcer.check("tools:search:web", kind="invoke", arguments={})
        output = produced(enforcer)
    first, second = calls(enforcer)
    assert first.parents == second.parents == (event.chio_receipt_id,)
    assert output.parents == (event.chio_receipt_id, first.id, second.id)
    assert produced(enforcer).parents == ()


def test_calls_that_were_not_allowed_are_no_parents(enforcer: Enforcer) -> None:
    event = handed_out(enforcer)
    with event:
        with pytest.raises(ChioDenied):
            enforcer.invoke("search", "tools:refund:card")
        assert produced(enforcer).parents == (event.chio_receipt_id,)


def test_tool_calls_go_to_the_event_for_which_they_were_made(enforcer: Enforcer) -> None:
    outer, inner = handed_out(enforcer), handed_out(enforcer, offset=1)
    with outer, inner:
        enforcer.invoke("search", "tools:search:web", event=outer)
        assert produced(enforcer).parents == (inner.chio_receipt_id,)
        [call] = calls(enforcer)
        assert produced(enforcer, event=outer).parents == (outer.chio_receipt_id, call.id)


def test_the_latest_calls_are_parents_where_there_are_too_many(enforcer: Enforcer) -> None:
    event = handed_out(enforcer)
    with event:
        for _ in range(MAX_CALLS + 3):
            enforcer.check("tools:search:web", kind="invoke", arguments={})
        output = produced(enforcer)
    latest = [call.id for call in calls(enforcer)][-MAX_CALLS:]
    assert output.parents == (event.chio_receipt_id, *latest)
    assert (len(output.parents), output.parents_rejected) == (16, 0)


def test_tasks_that_a_handler_starts_share_what_it_handles(enforcer: Enforcer) -> None:
    async def handle(event: Event) -> Any:
        with event:
            await asyncio.gather(*(enforcer.ainvoke("search", "tools:search:web") for _ in range(3)))
            return await asyncio.to_thread(produced, enforcer)

    async def main() -> list[Any]:
        return await asyncio.gather(*map(handle, events))

    events = [handed_out(enforcer, offset=offset) for offset in range(2)]
    for event, output in zip(events, asyncio.run(main()), strict=True):
        made = [call.id for call in calls(enforcer, parent=event.chio_receipt_id)]
        assert len(made) == 3
        assert output.parents[0] == event.chio_receipt_id
        assert set(output.parents[1:]) == set(made)


def test_other_threads_handle_nothing_unless_they_are_given_the_context(enforcer: Enforcer) -> None:
    event, seen = handed_out(enforcer), []
    with event:
        copied = contextvars.copy_context()
        for target in (lambda: seen.append(current_event()), lambda: copied.run(lambda: seen.append(current_event()))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [None, event]


@pytest.mark.parametrize(
    ("headers", "correlation"),
    [
        ([("traceparent", b"trace"), ("X-Correlation-Id", b"id")], "trace"),
        ([("X-Correlation-Id", b"id")], "id"),
        ([], None),
    ],
)
def test_tool_calls_and_outputs_inherit_the_correlation_text(
    enforcer: Enforcer, headers: list[tuple[str, bytes]], correlation: str | None
) -> None:
    with handed_out(enforcer, headers=headers):
        enforcer.invoke("search", "tools:search:web")
        assert produced(enforcer).correlation == correlation
        assert produced(enforcer, correlation="mine").correlation == "mine"
    assert [call.correlation for call in calls(enforcer)] == [correlation]
    enforcer.seal()
    assert [effect.correlation for effect in enforcer.receipt_log.query(kind="effect")] == [correlation]


def test_an_output_with_a_correlation_text_of_its_own_keeps_it(enforcer: Enforcer) -> None:
    with handed_out(enforcer, headers=[("traceparent", b"trace")]):
        output = OUTPUT | {"headers": {"traceparent": b"own"}}
        decision = enforcer.check("events:produce:results", output=output, durable=True)
    assert enforcer.receipt_log.get(decision.receipt_id or "").correlation == "own"


def test_events_are_left_in_any_order(enforcer: Enforcer) -> None:
    first, second = handed_out(enforcer), handed_out(enforcer, offset=1)
    enter(first)
    enter(second)
    leave(first)
    assert current_event() is second
    leave(first)
    leave(second)
    assert current_event() is None


def iterated(enforcer: Enforcer, count: int) -> HandledEvents:
    """So many events, for `async for`."""
    around = current_event()
    events = iter([handed_out(enforcer, offset=offset) for offset in range(count)])

    async def take() -> Event | None:
        assert current_event() is around, "the event before is not handled any more"
        await asyncio.sleep(0)
        return next(events, None)

    return HandledEvents(take)


def test_what_an_asynchronous_loop_does_names_the_event_of_its_turn(enforcer: Enforcer) -> None:
    async def main() -> list[tuple[str | None, str]]:
        return [(event.chio_receipt_id, *produced(enforcer).parents) async for event in iterated(enforcer, 3)]

    found = asyncio.run(main())
    assert len(found) == 3
    assert all(receipt == parent for receipt, parent in found)


@pytest.mark.parametrize("end", ["end", "break", "exception", "return", "cancelled"])
def test_however_an_asynchronous_loop_is_left_its_event_is_not_handled_any_more(enforcer: Enforcer, end: str) -> None:
    async def loop() -> None:
        async for event in iterated(enforcer, 2):
            assert current_event() is event
            match end:
                case "break":
                    break
                case "exception":
                    raise LookupError
                case "return":
                    return
                case "cancelled":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(0)

    async def main() -> None:
        outer = handed_out(enforcer, offset=10)
        with outer:
            with contextlib.suppress(LookupError, asyncio.CancelledError):
                await loop()
            assert current_event() is outer

    asyncio.run(main())

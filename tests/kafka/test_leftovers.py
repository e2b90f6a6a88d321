"""The exactly-once processor on the real broker: what a handler leaves running adds nothing to its event any more."""

from __future__ import annotations

import asyncio
from typing import Any

from chio_fast import Event
from chio_fast.errors import ChioError
from tests.kafka.processor_world import World, running, world

__all__ = ["world"]


def test_what_a_failed_attempt_has_left_running_adds_nothing_to_the_next_one(world: World) -> None:
    """`asyncio.gather` raises the first error and lets the others go on."""
    world.produce({"n": 0})
    left: list[asyncio.Task[None]] = []
    again: list[asyncio.Event] = []
    said: list[ChioError] = []

    async def produce_late(ctx: Any) -> None:
        await again[0].wait()
        try:
            await ctx.produce(topic=world.target, value={"n": "late"})
        except ChioError as error:
            said.append(error)

    async def handle(event: Event, ctx: Any) -> None:
        if not left:
            again.append(asyncio.Event())
            left.append(asyncio.ensure_future(produce_late(ctx)))
            raise ConnectionError("once")
        again[0].set()
        await left[0]
        await ctx.produce(topic=world.target, value=event.value())

    with running(world.processor(handle)):
        assert world.await_outputs(1) == [{"n": 0}]
    [refused] = said
    assert "await what it starts" in str(refused)
    world.assert_processed_once(1)


def test_a_call_that_begins_when_its_handler_is_over_is_not_made(world: World) -> None:
    world.produce({"n": 0})
    left: list[asyncio.Future[Any]] = []
    prices: list[int] = []

    def price() -> int:
        prices.append(1)
        return 1

    async def handle(event: Event, ctx: Any) -> None:
        if not left:
            left.append(asyncio.ensure_future(ctx.chio.invoke("price", "tools:orders:price")))
            raise ConnectionError("once")
        [error] = await asyncio.gather(*left, return_exceptions=True)
        assert "await what it starts" in str(error)
        await ctx.chio.invoke("price", "tools:orders:price")
        await ctx.produce(topic=world.target, value=event.value())

    processor = world.processor(handle)
    processor.tool("price", price)
    with running(processor):
        assert world.await_outputs(1) == [{"n": 0}]
    assert prices == [1]
    assert processor.stats().calls_unknown == 0
    errors = [receipt.error for receipt in world.receipts(kind="effect")]
    assert sorted(errors, key=str) == ["ChioError", None]

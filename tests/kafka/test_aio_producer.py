"""The governed producer for asyncio: a future of each delivery, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaException

from chio_fast import Allow, ChioDenied
from tests.kafka.patience import PATIENCE
from tests.kafka.producer_world import World, world

__all__ = ["world"]


def test_each_delivery_is_a_future(world: World) -> None:
    async def main() -> None:
        async with world.aio_producer() as producer:
            deliveries = [await producer.produce(world.topic, b'{"n": %d}' % n, partition=0) for n in range(1000)]
            with pytest.raises(ChioDenied):
                await producer.produce(world.topic, b'{"secret": true}')
            lost = await producer.produce("nowhere", b"{}")
            messages = await asyncio.gather(*deliveries)
            assert [message.offset() for message in messages] == list(range(1000))
            with pytest.raises(KafkaException, match="UNKNOWN_TOPIC"):
                await lost
            last = await producer.produce(world.topic, b"{}")
            assert await producer.flush(PATIENCE) == 0
            assert (await last).error() is None

    asyncio.run(main())
    assert len(world.audit()) == 1001


def test_guards_and_room_are_waited_for_without_blocking_the_loop(world: World) -> None:
    turns = 0

    class Slow:
        async def evaluate(self, _context: Any) -> Any:
            await asyncio.sleep(0.001)
            return Allow()

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> int:
        turning = asyncio.create_task(turn())
        async with world.aio_producer(guards=[Slow()]) as producer:
            started = await producer._start()
            started.outbox.backlog.max_messages = 3
            before = turns
            deliveries = [await producer.produce(world.topic, b"{}") for _ in range(30)]
            await asyncio.gather(*deliveries)
            turning.cancel()
            return turns - before

    assert asyncio.run(main()) > 30
    assert len(world.audit()) == 30

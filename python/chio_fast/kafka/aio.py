"""The governed consumer for asyncio: one dedicated thread calls the client, the loop is never blocked."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from confluent_kafka import OFFSET_INVALID, KafkaException, TopicPartition

from chio_fast._native import Event
from chio_fast.context import HandledEvents
from chio_fast.errors import ChioError
from chio_fast.kafka.buffer import Buffer, key_of
from chio_fast.kafka.consumer import ChioConsumerMiddleware
from chio_fast.kafka.guarding import ApplicationLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from confluent_kafka import Consumer

    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.stats import ConsumerStats

P = ParamSpec("P")
T = TypeVar("T")


HOP = 0.1
"""Seconds that the thread waits for events before it looks at what else it has to do."""
TRIP = 0.05
"""Seconds of work that one trip to the thread should bring."""
MAX_HANDFUL = 500
"""Events that one trip brings at most."""


class AsyncChioConsumer:
    """A `ChioConsumerMiddleware` whose calls are awaited.

    Events come from the thread by the handful. One that is revoked, lost or sought before the loop takes it is not
    handed out, and a `rollback` receipt says so. While events wait for the loop, the thread keeps entering the client,
    so that slow handlers keep their place in the group. Async guards run on the application's loop. The clients are
    built in the thread too, by the first call that is awaited.

    Args:
        consumer: a confluent Consumer; it belongs to the wrapper from now on.
        positional: as for `ChioConsumerMiddleware`.
        arguments: as for `ChioConsumerMiddleware`; callbacks run in the dedicated thread.
    """

    def __init__(self, consumer: Consumer, *positional: Any, **arguments: Any) -> None:
        self._begin(partial(ChioConsumerMiddleware, consumer, *positional, **arguments))

    @classmethod
    def from_config(cls, conf: Mapping[str, Any], **arguments: Any) -> Self:
        """Build everything from one confluent configuration; see `ChioConsumerMiddleware.from_config`."""
        self = cls.__new__(cls)
        self._begin(partial(ChioConsumerMiddleware.from_config, conf, **arguments))
        return self

    def _begin(self, build: Callable[[], ChioConsumerMiddleware]) -> None:
        self._build = build
        self._consumer: ChioConsumerMiddleware | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chio-consumer")
        self._starting = asyncio.Lock()
        # Filled by the thread, emptied by the loop: a cancelled await loses nothing that was on its way.
        self._arrived: deque[Event] = deque()
        self._waiting = Buffer()
        self._last: dict[Key, Event] = {}
        self._handful = 1
        self._trip_ended = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def raw(self) -> Consumer:
        """The client itself; not governed, and not to be called while the consumer runs."""
        return self._running.raw

    def stats(self) -> ConsumerStats:
        """Count what was done so far."""
        return self._running.stats()

    async def poll(self, timeout: float | None = None) -> Event | None:
        """Give the next allowed event, or None if there is none within `timeout` seconds (None: wait without end)."""
        events = await self.consume(1, timeout)
        return events[0] if events else None

    async def consume(self, num_messages: int = 1, timeout: float | None = None) -> list[Event]:
        """Give up to `num_messages` allowed events; it never waits for more than the first."""
        consumer = await self._start()
        clock = asyncio.get_running_loop().time
        deadline = None if timeout is None or timeout < 0 else clock() + timeout
        while True:
            events = await self._take(num_messages)
            left = HOP if deadline is None else min(HOP, max(0.0, deadline - clock()))
            if events or (deadline is not None and clock() > deadline):
                return events
            self._size_up(clock())
            await self._call(self._fetch, consumer, max(num_messages, self._handful), left)
            self._trip_ended = clock()

    async def commit(
        self,
        message: Event | None = None,
        offsets: Sequence[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        """Commit `message`, or `offsets`, or everything the loop has taken; see `ChioConsumerMiddleware.commit`."""
        consumer = await self._start()
        last = list(self._last.values())

        def commit() -> list[TopicPartition] | None:
            wanted = offsets
            if message is None and wanted is None:
                wanted = [_after(event) for event in last if event.is_current]
            return consumer.commit(message, wanted, asynchronous)

        return await self._call(commit)

    async def seek(self, partition: TopicPartition) -> None:
        """Go on from another offset; events of the partition that wait are not handed out."""
        await self._call((await self._start()).seek, partition)

    async def pause(self, partitions: list[TopicPartition]) -> None:
        """Withhold `partitions`, fetched events included."""
        await self._call((await self._start()).pause, partitions)
        self._land()
        for key in _keys(partitions):
            self._waiting.pause(key)

    async def resume(self, partitions: list[TopicPartition]) -> None:
        """Go on with `partitions`, with what was fetched first."""
        consumer = await self._start()
        self._land()
        for key in _keys(partitions):
            self._waiting.resume(key)
        await self._call(consumer.resume, partitions)

    async def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Give the offset after the last event that the loop took; `OFFSET_INVALID` where there is none."""
        found = await self._call((await self._start()).position, partitions)
        self._land()
        waiting = {key_of(event) for event in self._waiting.ready} | set(self._waiting.paused)
        for partition in found:
            key = (partition.topic, partition.partition)
            if key in waiting:
                last = self._last.get(key)
                partition.offset = last.offset() + 1 if last is not None and last.is_current else OFFSET_INVALID
        return found

    async def call(self, name: str, *positional: Any, **arguments: Any) -> Any:
        """Call another method of `ChioConsumerMiddleware` in the thread, such as `committed` or `list_topics`."""
        return await self._call(getattr(await self._start(), name), *positional, **arguments)

    async def close(self) -> None:
        """Finish what was asked for, leave the group, close the client; closing twice does nothing.

        Raises:
            ChioError: what was asked for could not be finished.
        """
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
        consumer = self._consumer
        try:
            if consumer is not None:
                await self._call(self._shut, consumer)
        finally:
            self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Hand out events until the consumer is closed; each is the handled one until the next."""
        return HandledEvents(self._next)

    @property
    def _running(self) -> ChioConsumerMiddleware:
        if self._consumer is None:
            raise ChioError("the consumer has not started; await a call of it first, or write `async with`")
        return self._consumer

    async def _start(self) -> ChioConsumerMiddleware:
        """Build the consumer if that has not been done; begin to enter the client in the background."""
        if self._consumer is not None:
            return self._consumer
        async with self._starting:
            if self._consumer is None:
                loop = asyncio.get_running_loop()
                consumer = await self._call(self._build)
                consumer._parts.intake.run_guards_with(ApplicationLoop(consumer.enforcer.guards, loop))
                self._keeper = loop.create_task(self._keep_alive(consumer))
                self._consumer = consumer
        return self._running

    async def _call(self, function: Callable[P, T], *positional: P.args, **arguments: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(function, *positional, **arguments)
        )

    async def _next(self) -> Event | None:
        while not self._closed:
            event = await self.poll(1.0)
            if event is not None:
                return event
        return None

    async def _take(self, count: int) -> list[Event]:
        """Take events that wait; those whose partition has moved on are not handed out."""
        self._land()
        taken = self._waiting.take(count)
        stale = [event for event in taken if not event.is_current]
        if stale:
            taken = [event for event in taken if event.is_current]
            await self._call(self._running._parts.partitions.drop, stale)
        for event in taken:
            self._last[key_of(event)] = event
        return taken

    def _land(self) -> None:
        """Sort in what the thread has brought."""
        while self._arrived:
            self._waiting.add([self._arrived.popleft()])

    def _size_up(self, now: float) -> None:
        """Set how much the next trip brings, from how long the loop took for what the last one brought."""
        elapsed = now - self._trip_ended
        wanted = MAX_HANDFUL if elapsed <= 0 else int(self._handful * TRIP / elapsed)
        self._handful = max(1, min(MAX_HANDFUL, wanted, self._handful * 2))

    async def _keep_alive(self, consumer: ChioConsumerMiddleware) -> None:
        while not self._closed:
            await asyncio.sleep(HOP)
            if self._waiting.ready or self._waiting.set_aside or self._arrived:
                try:
                    await self._call(consumer._parts.intake.keep_alive)
                except (ChioError, KafkaException) as error:
                    consumer._parts.trouble.raise_once(error)

    # What runs in the thread.

    def _fetch(self, consumer: ChioConsumerMiddleware, count: int, timeout: float) -> None:
        if not self._closed:
            self._arrived.extend(event for event in consumer.consume(count, timeout) if isinstance(event, Event))

    def _shut(self, consumer: ChioConsumerMiddleware) -> None:
        self._land()
        try:
            consumer._parts.partitions.drop(self._waiting.clear())
        finally:
            consumer.close()


def _after(event: Event) -> TopicPartition:
    return TopicPartition(event.topic(), event.partition(), event.offset() + 1)


def _keys(partitions: list[TopicPartition]) -> list[Key]:
    return [(partition.topic, partition.partition) for partition in partitions]

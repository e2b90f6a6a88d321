"""The governed consumer for asyncio: one dedicated thread calls the client, the loop is never blocked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from confluent_kafka import TopicPartition

from chio_fast.context import HandledEvents
from chio_fast.errors import ChioError
from chio_fast.kafka.aio_intake import AsyncIntake
from chio_fast.kafka.assignment import keys_of
from chio_fast.kafka.consumer import ChioConsumerMiddleware
from chio_fast.kafka.guarding import ApplicationLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from confluent_kafka import Consumer

    from chio_fast._native import Event
    from chio_fast.kafka.stats import ConsumerStats

P = ParamSpec("P")
T = TypeVar("T")


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
        self._intake: AsyncIntake
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
        await self._start()
        return await self._intake.consume(num_messages, timeout)

    async def commit(
        self,
        message: Event | None = None,
        offsets: Sequence[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        """Commit `message`, or `offsets`, or everything the loop has taken; see `ChioConsumerMiddleware.commit`."""
        consumer = await self._start()
        last = list(self._intake.last.values())

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
        self._intake.pause(keys_of(partitions))

    async def resume(self, partitions: list[TopicPartition]) -> None:
        """Go on with `partitions`, with what was fetched first."""
        consumer = await self._start()
        self._intake.resume(keys_of(partitions))
        await self._call(consumer.resume, partitions)

    async def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Give the offset after the last event that the loop took; `OFFSET_INVALID` where there is none."""
        found = await self._call((await self._start()).position, partitions)
        self._intake.set_back(found)
        return found

    async def call(self, name: str, *positional: Any, **arguments: Any) -> Any:
        """Call another method of `ChioConsumerMiddleware` in the thread, such as `committed` or `list_topics`."""
        return await self._call(getattr(await self._start(), name), *positional, **arguments)

    async def close(self) -> None:
        """Finish what was asked for, leave the group, close the client; closing twice does nothing.

        Raises:
            ChioError: what was asked for could not be finished.
        """
        async with self._starting:  # what is being built is closed, too
            if self._closed:
                return
            self._closed = True
        try:
            if self._consumer is not None:
                self._intake.stop()
                await self._call(self._shut, self._consumer)
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
        if self._consumer is not None and not self._closed:
            return self._consumer
        async with self._starting:
            if self._closed:
                raise ChioError("the consumer is closed; build another one")
            if self._consumer is None:
                loop = asyncio.get_running_loop()
                consumer = await self._call(self._build)
                parts = consumer._parts
                parts.intake.run_guards_with(ApplicationLoop(consumer.enforcer.guards, loop))
                self._intake = AsyncIntake(parts.intake, parts.partitions, parts.trouble, self._call)
                self._consumer = consumer
        return self._consumer

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

    def _shut(self, consumer: ChioConsumerMiddleware) -> None:
        """Close everything, in the thread."""
        try:
            self._intake.close()
        finally:
            consumer.close()


def _after(event: Event) -> TopicPartition:
    return TopicPartition(event.topic(), event.partition(), event.offset() + 1)

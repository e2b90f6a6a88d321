"""The governed producer for asyncio: every message has a future of its delivery, the loop is never blocked."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaException

from chio_fast.kafka.outbox import SLICE
from chio_fast.kafka.producer import ChioProducerMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka import KafkaError, Message, Producer

    from chio_fast.kafka.outbox import Content
    from chio_fast.kafka.stats import ProducerStats
    from chio_fast.message import OutputHeaders

    Delivery = asyncio.Future[Message]

MAX_UNSEALED = 50_000
"""Receipts that wait to be durable, above which issuing more could block the loop."""


class AsyncChioProducer:
    """A `ChioProducerMiddleware` whose calls are awaited, and which is polled by a thread of its own.

    Async guards run on the application's loop. The client is built in a thread, by the first call that is awaited.

    Args:
        producer: a confluent Producer; nobody else may produce with it.
        positional: as for `ChioProducerMiddleware`.
        arguments: as for `ChioProducerMiddleware`.
    """

    def __init__(self, producer: Producer, *positional: Any, **arguments: Any) -> None:
        self._begin(partial(ChioProducerMiddleware, producer, *positional, **arguments))

    @classmethod
    def from_config(cls, conf: Mapping[str, Any], **arguments: Any) -> Self:
        """Build everything from one confluent configuration; see `ChioProducerMiddleware.from_config`."""
        self = cls.__new__(cls)
        self._begin(partial(ChioProducerMiddleware.from_config, conf, **arguments))
        return self

    def _begin(self, build: Callable[[], ChioProducerMiddleware]) -> None:
        self._build = build
        self._producer: ChioProducerMiddleware | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        # Filled by whoever polls, emptied by the loop.
        self._arrived: deque[tuple[Delivery, KafkaError | None, Message]] = deque()
        self._loop: asyncio.AbstractEventLoop
        self._poller: threading.Thread

    async def produce(
        self,
        topic: str,
        value: Content = None,
        key: Content = None,
        *,
        headers: OutputHeaders | None = None,
        partition: int = -1,
        timestamp: int = 0,
        parents: Iterable[str] = (),
        correlation: str | None = None,
    ) -> Delivery:
        """Decide on a message and, if it is allowed, take it for sending; while too much waits, this waits too.

        The arguments are those of `ChioProducerMiddleware.produce`.

        Returns:
            A future of the delivered message; it raises a `KafkaException` if the message is not delivered.

        Raises:
            ChioDenied: it is not allowed; nothing is sent.
            Exception: as for `ChioProducerMiddleware.produce`, `BufferError` left aside.
        """
        producer = await self._start()
        receipts = producer.enforcer.log
        while producer.outbox.is_full or receipts.issued - receipts.durable > MAX_UNSEALED:
            await asyncio.to_thread(producer.outbox.await_progress, SLICE)
        delivery: Delivery = self._loop.create_future()
        outlets = producer.outlets
        size = outlets.size_of(topic, value, key)
        check = outlets.authorise(topic, value, key, partition, headers, timestamp, parents, correlation)
        while check.guards_due:
            await producer.enforcer.guards.arun([check])
            outlets.issue([check])
        outlets.require_allowed([check])
        producer.outbox.put([(check, partial(self._arrive, delivery))], size)
        return delivery

    async def flush(self, timeout: float = -1) -> int:
        """Wait up to `timeout` seconds (-1: without end) until every message is acknowledged or has failed."""
        left = await asyncio.to_thread((await self._start()).flush, timeout)
        self._resolve()
        return left

    def stats(self) -> ProducerStats | None:
        """Count what was done so far; None before the first call that is awaited."""
        return None if self._producer is None else self._producer.stats()

    async def close(self, timeout: float = -1) -> None:
        """Flush for up to `timeout` seconds, then end; see `ChioProducerMiddleware.close`. Twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._producer is not None:
            try:
                await asyncio.to_thread(self._producer.close, timeout)
            finally:
                await asyncio.to_thread(self._poller.join)
                self._resolve()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _start(self) -> ChioProducerMiddleware:
        async with self._starting:
            if self._producer is None:
                self._loop = asyncio.get_running_loop()
                self._producer = await asyncio.to_thread(self._build)
                self._poller = threading.Thread(
                    target=self._poll, args=(self._producer,), name="chio-producer", daemon=True
                )
                self._poller.start()
            return self._producer

    def _resolve(self) -> None:
        """Settle the futures of what has arrived."""
        while self._arrived:
            delivery, error, message = self._arrived.popleft()
            if delivery.done():
                continue
            if error is None:
                delivery.set_result(message)
            else:
                delivery.set_exception(KafkaException(error))

    # What runs in other threads.

    def _arrive(self, delivery: Delivery, error: KafkaError | None, message: Message) -> None:
        self._arrived.append((delivery, error, message))

    def _poll(self, producer: ChioProducerMiddleware) -> None:
        while not self._closed:
            if producer.poll(SLICE):
                self._loop.call_soon_threadsafe(self._resolve)

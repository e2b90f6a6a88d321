"""Prefetch in a thread, hand-out on a loop: how events come from a governed consumer to asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_INVALID, KafkaException

from chio_fast._native import Event
from chio_fast.errors import ChioError
from chio_fast.kafka.assignment import key_of
from chio_fast.kafka.buffer import Buffer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from confluent_kafka import TopicPartition

    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.intake import Intake
    from chio_fast.kafka.partitions import Partitions
    from chio_fast.kafka.trouble import Trouble

HOP = 0.1
"""Seconds that the thread waits for events before it looks at what else it has to do."""
TRIP = 0.05
"""Seconds of work that one trip to the thread should bring."""
MAX_HANDFUL = 500
"""Events that one trip brings at most."""


class AsyncIntake:
    """Has the thread fetch events by the handful, hands them out on the loop, keeps the client entered meanwhile.

    An event waits here from its receipt until the loop takes it; if its partition has moved on by then, it is dropped.
    Everything but `close` is used on the loop.

    Args:
        intake: hands out to the thread.
        partitions: takes back the receipts of what is dropped.
        trouble: raises what fails while the client is entered.
        call: calls a function in the thread, the only one that uses the consumer.

    Attributes:
        last: per partition the event that the loop took last.
    """

    def __init__(
        self, intake: Intake, partitions: Partitions, trouble: Trouble, call: Callable[..., Awaitable[object]]
    ) -> None:
        self._intake = intake
        self._partitions = partitions
        self._trouble = trouble
        self._call = call
        # Filled by the thread, emptied by the loop: a cancelled await loses nothing that was on its way.
        self._arrived: deque[Event] = deque()
        self._waiting = Buffer()
        self.last: dict[Key, Event] = {}
        self._handful = 1
        self._trip_ended = 0.0
        self._stopped = False
        self._keeper = asyncio.get_running_loop().create_task(self._keep_alive())

    async def consume(self, count: int, timeout: float | None) -> list[Event]:
        """Hand out up to `count` allowed events; it never waits for more than the first, and not after `stop`.

        Args:
            count: how many at most.
            timeout: seconds to wait for the first one; None or negative waits without end.
        """
        clock = asyncio.get_running_loop().time
        deadline = None if timeout is None or timeout < 0 else clock() + timeout
        while True:
            events = await self._take(count)
            left = HOP if deadline is None else min(HOP, max(0.0, deadline - clock()))
            if events or self._stopped or (deadline is not None and clock() > deadline):
                return events
            self._size_up(clock())
            await self._call(self._fetch, max(count, self._handful), left)
            self._trip_ended = clock()

    def pause(self, keys: Iterable[Key]) -> None:
        """Withhold what waits of partitions that the thread has paused."""
        self._land()
        for key in keys:
            self._waiting.pause(key)

    def resume(self, keys: Iterable[Key]) -> None:
        """Let what waits of partitions come next."""
        self._land()
        for key in keys:
            self._waiting.resume(key)

    def set_back(self, positions: list[TopicPartition]) -> None:
        """Set positions of the thread to those of the loop, which lag behind where events wait."""
        self._land()
        waiting = {key_of(event) for event in self._waiting.ready} | set(self._waiting.paused)
        for position in positions:
            key = (position.topic, position.partition)
            if key in waiting:
                last = self.last.get(key)
                position.offset = last.offset() + 1 if last is not None and last.is_current else OFFSET_INVALID

    def stop(self) -> None:
        """Fetch no more, and leave the client alone."""
        self._stopped = True
        self._keeper.cancel()

    async def _take(self, count: int) -> list[Event]:
        """Take events that wait; those whose partition has moved on are not handed out."""
        self._land()
        taken = self._waiting.take(count)
        stale = [event for event in taken if not event.is_current]
        if stale:
            taken = [event for event in taken if event.is_current]
            await self._call(self._partitions.drop, stale)
        for event in taken:
            self.last[key_of(event)] = event
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

    async def _keep_alive(self) -> None:
        while not self._stopped:
            await asyncio.sleep(HOP)
            try:
                await self._call(self._intake.keep_alive)
            except (ChioError, KafkaException) as error:
                self._trouble.raise_once(error)

    # What runs in the thread.

    def _fetch(self, count: int, timeout: float) -> None:
        if not self._stopped:
            self._arrived.extend(event for event in self._intake.consume(count, timeout) if isinstance(event, Event))

    def close(self) -> None:
        """Drop what the loop has not taken; called in the thread."""
        self._land()
        self._partitions.drop(self._waiting.clear())

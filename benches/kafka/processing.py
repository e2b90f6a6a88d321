"""The read-process-write work by the exactly-once processor, and the checks that it was done exactly once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.kafka import workload
from benches.kafka.governed import bench_signer
from benches.kafka.raw import PATIENCE_S, settings
from benches.kafka.run import Run, Watch
from benches.kafka.transactional import check
from chio_fast import ChioTransactionalProcessor, ReceiptLog, TrustFile
from tests.kafka.broker import Broker

PRODUCE_SCOPE = "events:produce:bench"
TOOL_SCOPE = "tools:bench"


class Processing:
    """A processor over the bench topic with one output per event, its log in a folder of its own.

    Args:
        is_async: the handler is async.
        calls_tool: the handler calls one tool per event, journalled.
        tracks: producers that commit side by side.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        target: str,
        folder: Path,
        batch: int,
        *,
        is_async: bool = False,
        calls_tool: bool = False,
        max_batch_ms: int = 100,
        tracks: int = 1,
        on_first: Callable[[], None] = lambda: None,
    ) -> None:
        self.topic = topic
        self.target = target
        self.conf = settings(broker.bootstrap)
        self.log = folder / f"log-{time.monotonic_ns()}.chio"
        self.signer = bench_signer(folder)
        self._broker = broker
        self._calls_tool = calls_tool
        self._on_first = on_first
        group = self.conf.pop("group.id")
        self.conf_of_group = self.conf | {"group.id": group}
        self.processor = ChioTransactionalProcessor(
            bootstrap_servers=broker.bootstrap,
            group_id=group,
            consume_topics=[topic],
            consume_scope=workload.SCOPE,
            produce_scope_map={target: PRODUCE_SCOPE},
            identity=workload.IDENTITY,
            policy=workload.granting(workload.IDENTITY, workload.SCOPE, PRODUCE_SCOPE, TOOL_SCOPE),
            receipt_log=self.log,
            signer=self.signer,
            dlq_topic=broker.create_topic(f"{target}-dlq"),
            batch_size=batch,
            max_in_flight=4 * tracks * batch,
            tracks=tracks,
            max_batch_ms=max_batch_ms,
            # A tool call waits for the disk three times; many wait together, those of one lane one after the other.
            concurrency=64 if calls_tool else 1,
            order="key" if calls_tool else "partition",
            config={"auto.offset.reset": "earliest"},
        )
        self.processor.tool("bench", _tool)
        self.processor.register(topic, self._async_handler() if is_async else self._handler())

    def loop(self, count: int) -> Run:
        """Process `count` events; the watch stops when the last one is committed."""
        watch = Watch(self._broker)
        self._on_first = watch.start
        thread = threading.Thread(target=self.processor.run)
        thread.start()
        deadline = time.monotonic() + 20 * PATIENCE_S
        while not self._is_done(count):
            assert time.monotonic() < deadline, f"still not done: {self.processor.stats()}"
            assert thread.is_alive(), "the processor has ended"
            time.sleep(0.02)  # asking takes the lock of the interpreter
        run = watch.stop(events=count, handed=count)
        self.processor.stop()
        thread.join()
        self.processor.close()
        check(self.conf_of_group, self.topic, self.target, count, None)
        self._assert_every_event_has_its_receipts(count)
        return run

    def _assert_every_event_has_its_receipts(self, count: int) -> None:
        """One consume and one produce receipt that were committed, and for a tool call its two."""
        log = ReceiptLog.open(self.log)
        log.verify(TrustFile.of(self.signer.public_key))
        committed = sum(batch.count for batch in log.batches() if batch.state == "committed")
        assert committed == 2 * count, f"the log holds {committed} committed receipts, not {2 * count}"
        calls = sum(1 for _ in log.query(kind="effect")) if self._calls_tool else 0
        assert calls == (count if self._calls_tool else 0), f"the log holds the effects of {calls} tool calls"

    def _is_done(self, count: int) -> bool:
        return self._started and self.processor.stats().committed >= count

    _started = False

    def _begin(self) -> None:
        if not self._started:
            self._started = True
            self._on_first()

    def _handler(self) -> Callable[[Any, Any], None]:
        target, calls_tool, begin = self.target, self._calls_tool, self._begin

        def handle(event: Any, ctx: Any) -> None:
            begin()
            if calls_tool:
                ctx.chio.invoke(tool="bench", scope=TOOL_SCOPE, arguments={"offset": event.offset()})
            ctx.produce(topic=target, value=event.value(), key=event.key())

        return handle

    def _async_handler(self) -> Callable[[Any, Any], Any]:
        target, calls_tool, begin = self.target, self._calls_tool, self._begin

        async def handle(event: Any, ctx: Any) -> None:
            begin()
            if calls_tool:
                await ctx.chio.invoke(tool="bench", scope=TOOL_SCOPE, arguments={"offset": event.offset()})
            await ctx.produce(topic=target, value=event.value(), key=event.key())

        return handle


def _tool(offset: int) -> dict[str, int]:
    return {"seen": offset}

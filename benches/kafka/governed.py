"""The same loops over the governed consumer, and the checks that all its promises were kept while it was timed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benches.kafka import workload
from benches.kafka.raw import BATCH, PATIENCE_S, check, read, settings
from benches.kafka.run import Run, Watch, assert_ends
from chio_fast import ChioConsumerMiddleware, ReceiptLog, Signer, TrustFile
from tests.kafka.broker import Broker


class Governed:
    """A governed consumer over the bench topic, its log in a folder of its own."""

    def __init__(self, broker: Broker, topic: str, folder: Path, denied_percent: int | None = None) -> None:
        """Prepares a consumer under a policy that denies this share; None is a policy without a condition."""
        self.topic = topic
        self.log = folder / f"log-{time.monotonic_ns()}.chio"
        self.denied_percent = denied_percent
        self.dlq = broker.create_topic(f"{topic}-dlq-{time.monotonic_ns()}")
        self.signer = bench_signer(folder)
        self.conf = settings(broker.bootstrap)
        self.consumer = ChioConsumerMiddleware.from_config(
            self.conf,
            scope_map={topic: workload.SCOPE},
            identity=workload.IDENTITY,
            dlq_topic=self.dlq,
            policy=workload.policy(denied_percent),
            receipt_log=self.log,
            signer=self.signer,
        )
        self._broker = broker

    def consume_loop(self, count: int) -> Run:
        """`consume(500)`, every event read, one asynchronous commit per batch."""
        watch, expected = Watch(self._broker), self.allowed(count)
        handed = total = 0
        consumer = self.consumer
        while handed < expected:
            events = consumer.consume(BATCH, PATIENCE_S)
            watch.start()
            assert events, f"no event for {PATIENCE_S} s after {handed} of {expected}"
            for event in events:
                total += read(event)
            handed += len(events)
            consumer.commit()
        return self._finish(watch, count, handed, total)

    def poll_loop(self, count: int, *, commit_every: int = BATCH) -> Run:
        """`poll()`, every event read, one asynchronous commit per `commit_every` events."""
        watch, expected = Watch(self._broker), self.allowed(count)
        total = 0
        consumer = self.consumer
        for number in range(1, expected + 1):
            event: Any = consumer.poll(PATIENCE_S)
            watch.start()
            assert event is not None, f"no event for {PATIENCE_S} s after {number} of {expected}"
            total += read(event)
            if number % commit_every == 0:
                consumer.commit(event if commit_every == 1 else None)
        return self._finish(watch, count, expected, total)

    def allowed(self, count: int) -> int:
        """How many of the first `count` events this policy allows."""
        return count - count * (self.denied_percent or 0) // 100

    def _finish(self, watch: Watch, count: int, handed: int, total: int) -> Run:
        """Waits until the events denied after the last allowed one are dealt with too, and all is committed."""
        deadline = time.monotonic() + 10 * PATIENCE_S
        while self.consumer.stats().denied < count - handed:
            assert self.consumer.consume(BATCH, 0.01) == [], "more events were handed out than the policy allows"
            assert time.monotonic() < deadline, f"still not done: {self.consumer.stats()}"
            if self.consumer.stats().denied:
                watch.start()
        self.consumer.commit(asynchronous=False)
        run = watch.stop(events=count, handed=handed)
        self.consumer.close()
        check(self.conf, self.topic, count, None if self.denied_percent else total)
        assert_ends(self._broker.bootstrap, self.dlq, count - handed)
        self._assert_every_event_has_its_receipt(count)
        return run

    def _assert_every_event_has_its_receipt(self, count: int) -> None:
        report = ReceiptLog.open(self.log).verify(TrustFile.of(self.signer.public_key))
        assert report.receipts == count, f"the log holds {report.receipts} receipts, not {count}"


def bench_signer(folder: Path) -> Signer:
    """The signing key of all benches in this folder; made when first asked for."""
    path = folder / "bench.key"
    return Signer.from_file(path) if path.exists() else Signer.generate(path)

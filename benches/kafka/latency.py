"""A consumer of paced events, raw or governed, in a process of its own as users run it; measures how old each event is.

Usage: python -m benches.kafka.latency raw|governed BOOTSTRAP TOPIC COUNT FOLDER

Prints a line once it has its partitions and, when it has had COUNT events, its `Latencies` as JSON.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer

from benches.kafka import raw, workload
from benches.kafka.governed import bench_signer
from benches.kafka.pace import age
from chio_fast import ChioConsumerMiddleware
from tests.kafka.patience import patiently

ROOT = Path(__file__).resolve().parents[2]
COMMIT_EVERY = 100
"""Events between two commits: with one each, twice as many requests as events, a broker beside does not keep up."""


class Latencies(msgspec.Struct):
    """What a consumer measured, in seconds.

    Attributes:
        in_hand: from when an event was sent until it was in hand, in the order of arrival.
        durable: from when a commit was called until it was reported.
    """

    in_hand: list[float]
    durable: list[float] = []


class Side:
    """One consumer in its process; ready when it is built."""

    def __init__(self, kind: str, bootstrap: str, topic: str, count: int, folder: Path) -> None:
        """Starts the process and waits until it has its partitions."""
        command = [sys.executable, "-m", __name__, kind, bootstrap, topic, str(count), str(folder)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), f"the {kind} consumer has ended"

    def result(self) -> Latencies:
        """Waits for the end."""
        said, _ = self._process.communicate(timeout=10 * raw.PATIENCE_S)
        assert self._process.returncode == 0
        return msgspec.json.decode(said, type=Latencies)


def consume_raw(bootstrap: str, topic: str, count: int, _folder: Path) -> Latencies:
    """`poll()`, one asynchronous commit per `COMMIT_EVERY` events."""
    consumer = Consumer(raw.settings(bootstrap))
    consumer.subscribe([topic])
    found: list[float] = []
    _await_assignment(consumer)
    while len(found) < count:
        message = consumer.poll(raw.PATIENCE_S)
        now = time.monotonic_ns()
        assert message is not None, f"no message for {raw.PATIENCE_S} s"
        found.append(age(message.value(), now))
        if len(found) % COMMIT_EVERY == 0:
            consumer.commit(asynchronous=True)
    consumer.close()
    return Latencies(found)


def consume_governed(bootstrap: str, topic: str, count: int, folder: Path) -> Latencies:
    """The same by the governed consumer."""
    called: dict[int, deque[tuple[int, int]]] = {number: deque() for number in range(workload.PARTITIONS)}
    durable: list[float] = []
    next_offsets: dict[int, int] = {}

    def on_commit(error: object, offsets: Any) -> None:
        assert error is None, error
        now = time.monotonic_ns()
        for entry in offsets:
            waiting = called[entry.partition]
            while waiting and waiting[0][0] <= entry.offset:
                durable.append((now - waiting.popleft()[1]) / 1e9)

    consumer = ChioConsumerMiddleware.from_config(
        raw.settings(bootstrap),
        scope_map={topic: workload.SCOPE},
        identity=workload.IDENTITY,
        dlq_topic=f"{topic}-dlq",
        policy=workload.policy(None),
        receipt_log=folder / f"log-{time.monotonic_ns()}.chio",
        signer=bench_signer(folder),
        on_commit=on_commit,
    )
    found: list[float] = []
    _await_assignment(consumer)
    while len(found) < count:
        event: Any = consumer.poll(raw.PATIENCE_S)
        now = time.monotonic_ns()
        assert event is not None, f"no event for {raw.PATIENCE_S} s"
        found.append(age(event.value(), now))
        next_offsets[event.partition()] = event.offset() + 1
        if len(found) % COMMIT_EVERY == 0:
            for partition, offset in next_offsets.items():
                called[partition].append((offset, time.monotonic_ns()))
            next_offsets.clear()
            consumer.commit()
    consumer.close()
    assert durable, "no commit was reported"
    assert not any(called.values()), "not every commit was reported"
    return Latencies(found, durable)


def _await_assignment(consumer: Any) -> None:
    """Join the group while the topic is empty: events that wait for that would be taken for slow ones."""
    for _ in patiently("an assignment", raw.PATIENCE_S):
        assert consumer.poll(0.1) is None
        if len(consumer.assignment()) == workload.PARTITIONS:
            break
    print("assigned", flush=True)


def main() -> None:
    """Consumes as the command line says."""
    kind, bootstrap, topic, count, folder = sys.argv[1:]
    consume = consume_raw if kind == "raw" else consume_governed
    sys.stdout.buffer.write(msgspec.json.encode(consume(bootstrap, topic, int(count), Path(folder))))


if __name__ == "__main__":
    main()

"""Latency at 1,000 events per second: what the governed consumer adds until an event is in hand, and until its commit
is durable."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from benches.conftest import ROUNDS, volume
from benches.kafka import raw, workload
from benches.kafka.governed import bench_signer
from benches.kafka.pace import age, paced
from benches.machine import fdatasync_seconds
from chio_fast import ChioConsumerMiddleware
from tests.kafka.broker import Broker
from tests.kafka.patience import patiently

RATE = 1_000
LINGER_S = 0.005
WARM_UP = 2 * RATE
"""Events that are consumed and not counted."""


def test_latency_at_1000_events_per_second(
    benchmark: Any, figure: Callable[..., None], broker: Broker, disk: Path
) -> None:
    count = WARM_UP + volume(10_000, 3_000)
    raw_p99: list[float] = []
    governed_p99: list[float] = []
    commits: list[float] = []

    def one_round() -> None:
        mine, durable = _governed_latencies(broker, disk, count)
        governed_p99.append(_percentile(mine, 99))
        commits.extend(durable)
        raw_p99.append(_percentile(_raw_latencies(broker, count), 99))

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    added = statistics.median(governed_p99) - statistics.median(raw_p99)
    bound = 2 * (fdatasync_seconds(disk) + LINGER_S)
    where = f"{count - WARM_UP:,} events at {RATE:,}/s, {workload.VALUE_BYTES}-byte values"
    for name, value in (("raw", raw_p99), ("governed", governed_p99)):
        figure(
            group="latency",
            name=f"{name} poll(), sent to in hand, p99",
            value=statistics.median(value) * 1e3,
            unit="ms",
            conditions=where,
        )
    figure(
        group="latency",
        name="added p99 until in hand",
        value=added * 1e3,
        unit="ms",
        goal="≤ 1 ms",
        met=added <= 1e-3,
        conditions=where,
    )
    figure(
        group="latency",
        name="commit called to durable, median",
        value=statistics.median(commits) * 1e3,
        unit="ms",
        goal=f"≤ {bound * 1e3:.2f} ms = 2 x (fdatasync {(bound / 2 - LINGER_S) * 1e3:.2f} ms + linger 5 ms)",
        met=statistics.median(commits) <= bound,
        conditions=where + "; one commit per event, asynchronous",
    )


def _raw_latencies(broker: Broker, count: int) -> list[float]:
    topic = _new_topic(broker)
    consumer = Consumer(raw.settings(broker.bootstrap))
    consumer.subscribe([topic])
    found: list[float] = []
    _await_assignment(consumer)
    with paced(broker, topic, RATE, count):
        while len(found) < count:
            message = consumer.poll(raw.PATIENCE_S)
            now = time.monotonic_ns()
            assert message is not None, f"no message for {raw.PATIENCE_S} s"
            found.append(age(message.value(), now))
            consumer.commit(message=message, asynchronous=True)
    consumer.close()
    return found[WARM_UP:]


def _governed_latencies(broker: Broker, disk: Path, count: int) -> tuple[list[float], list[float]]:
    topic = _new_topic(broker)
    called: dict[int, deque[tuple[int, int]]] = {number: deque() for number in range(workload.PARTITIONS)}
    durable: list[float] = []

    def on_commit(error: object, offsets: Any) -> None:
        assert error is None, error
        now = time.monotonic_ns()
        for entry in offsets:
            waiting = called[entry.partition]
            while waiting and waiting[0][0] < entry.offset:
                durable.append((now - waiting.popleft()[1]) / 1e9)

    consumer = ChioConsumerMiddleware.from_config(
        raw.settings(broker.bootstrap),
        scope_map={topic: workload.SCOPE},
        identity=workload.IDENTITY,
        dlq_topic=broker.create_topic(f"{topic}-dlq"),
        policy=workload.policy(None),
        receipt_log=disk / f"log-{time.monotonic_ns()}.chio",
        signer=bench_signer(disk),
        on_commit=on_commit,
    )
    found: list[float] = []
    _await_assignment(consumer)
    with paced(broker, topic, RATE, count):
        while len(found) < count:
            event: Any = consumer.poll(raw.PATIENCE_S)
            now = time.monotonic_ns()
            assert event is not None, f"no event for {raw.PATIENCE_S} s"
            found.append(age(event.value(), now))
            if len(found) > WARM_UP:
                called[event.partition()].append((event.offset(), time.monotonic_ns()))
            consumer.commit(event)
    consumer.close()
    assert len(durable) == count - WARM_UP, "not every commit was reported"
    return found[WARM_UP:], durable


def _await_assignment(consumer: Any) -> None:
    """Join the group while the topic is empty: events that wait for that would be taken for slow ones."""
    for _ in patiently("an assignment", raw.PATIENCE_S):
        assert consumer.poll(0.1) is None
        if len(consumer.assignment()) == workload.PARTITIONS:
            return


def _new_topic(broker: Broker) -> str:
    return broker.create_topic(f"paced-{time.monotonic_ns()}", partitions=workload.PARTITIONS)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]

"""Latency at 1,000 events per second: what the governed consumer adds until an event is in hand, and until its commit
is durable.

The raw and the governed consumer read the same events at the same time, each in its own group and process: broker and
machine are as slow for the one as for the other, event by event.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.conftest import ROUNDS, volume
from benches.kafka import workload
from benches.kafka.latency import COMMIT_EVERY, Latencies, Side
from benches.kafka.pace import paced
from benches.machine import fdatasync_seconds
from tests.kafka.broker import Broker

RATE = 1_000
LINGER_S = 0.005
WARM_UP = 2 * RATE
"""Events that are consumed and not counted."""


def test_latency_at_1000_events_per_second(
    benchmark: Any, figure: Callable[..., None], broker: Broker, disk: Path
) -> None:
    count = WARM_UP + volume(10_000, 3_000)
    p99s: dict[str, list[float]] = {"raw": [], "governed": []}
    commits: list[float] = []

    def one_round() -> None:
        found = _both(broker, disk, count)
        for kind, latencies in found.items():
            p99s[kind].append(statistics.quantiles(latencies.in_hand[WARM_UP:], n=100)[98])
        commits.extend(found["governed"].durable)

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    added = statistics.median(mine - theirs for mine, theirs in zip(p99s["governed"], p99s["raw"], strict=True))
    bound = 2 * (fdatasync_seconds(disk) + LINGER_S)
    where = f"{count - WARM_UP:,} events at {RATE:,}/s, {workload.VALUE_BYTES}-byte values, median of {ROUNDS} rounds"
    for kind, values in p99s.items():
        figure(
            group="latency",
            name=f"{kind} poll(), sent to in hand, p99",
            value=statistics.median(values) * 1e3,
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
        conditions=where + "; both read the same events at the same time",
    )
    figure(
        group="latency",
        name="commit called to durable, median",
        value=statistics.median(commits) * 1e3,
        unit="ms",
        goal=f"≤ {bound * 1e3:.2f} ms = 2 x (fdatasync {(bound / 2 - LINGER_S) * 1e3:.2f} ms + linger 5 ms)",
        met=statistics.median(commits) <= bound,
        conditions=where + f"; one commit per {COMMIT_EVERY} events, asynchronous",
    )


def _both(broker: Broker, disk: Path, count: int) -> dict[str, Latencies]:
    """Have both consumers read the same paced events."""
    topic = broker.create_topic(f"paced-{time.monotonic_ns()}", partitions=workload.PARTITIONS)
    broker.create_topic(f"{topic}-dlq")
    sides = {kind: Side(kind, broker.bootstrap, topic, count, disk) for kind in ("raw", "governed")}
    with paced(broker, topic, RATE, count):
        return {kind: side.result() for kind, side in sides.items()}

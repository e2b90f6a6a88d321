"""End to end on the real broker: the governed consumer beside the raw loops of the same client, settings and topic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benches.conftest import ROUNDS, volume
from benches.interleave import interleave
from benches.kafka import raw
from benches.kafka.governed import Governed
from benches.kafka.workload import SHAPE
from tests.kafka.broker import Broker

CONSUME = "raw consume(500)"
CONSUME_HEADERS = "raw consume(500) with headers"
POLL = "raw poll()"


@pytest.mark.parametrize("denied", [None, 0, 1, 10, 100])
def test_consume_500_with_a_commit_per_500(
    benchmark: Any,
    figure: Callable[..., None],
    broker: Broker,
    filled: Callable[[int], str],
    disk: Path,
    denied: int | None,
) -> None:
    count = volume(500_000, 100_000)
    topic = filled(count)
    found = interleave(
        benchmark,
        lambda: Governed(broker, topic, disk, denied).consume_loop(count),
        {
            CONSUME: lambda: raw.consume_loop(broker, topic, count),
            CONSUME_HEADERS: lambda: raw.consume_loop(broker, topic, count, headers=True),
        },
        rounds=ROUNDS,
    )
    policy = "static policy" if denied is None else f"condition on the value, {denied} % denied"
    where = f"{count:,} events, {SHAPE}; batch 500; {found.processor()}"
    if denied is None:
        for name in (CONSUME, CONSUME_HEADERS):
            figure(group="end to end", **found.alone(name), conditions=where)
    name = f"governed consume(500), {policy}"
    beside = found.beside(CONSUME, at_least=0.8 if denied is None else None)
    figure(group="end to end", name=name, conditions=where, **beside)
    figure(group="end to end", name=name, conditions=where, **found.beside(CONSUME_HEADERS))


def test_poll_with_a_commit_per_500(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path
) -> None:
    count = volume(500_000, 100_000)
    topic = filled(count)
    found = interleave(
        benchmark,
        lambda: Governed(broker, topic, disk).poll_loop(count),
        {POLL: lambda: raw.poll_loop(broker, topic, count)},
        rounds=ROUNDS,
    )
    where = f"{count:,} events, {SHAPE}; {found.processor()}"
    figure(group="end to end", **found.alone(POLL), conditions=where)
    figure(
        group="end to end",
        name="governed poll(), static policy",
        conditions=where,
        **found.beside(POLL, at_least=0.9),
    )


def test_poll_with_a_commit_per_event(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path
) -> None:
    count = volume(20_000, 5_000)
    topic = filled(count)
    name = "raw poll(), commit per event"
    found = interleave(
        benchmark,
        lambda: Governed(broker, topic, disk).poll_loop(count, commit_every=1),
        {name: lambda: raw.poll_loop(broker, topic, count, commit_every=1)},
        rounds=ROUNDS,
    )
    where = f"{count:,} events, {SHAPE}; asynchronous commits; {found.processor()}"
    figure(group="end to end", **found.alone(name), conditions=where)
    figure(
        group="end to end",
        name="governed poll(), commit per event",
        conditions=where + "; commits of several events are joined",
        **found.beside(name),
    )

"""Exactly once on the real broker: the processor beside the loop that users write by hand, and beside a peer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benches.conftest import ROUNDS, volume
from benches.interleave import interleave
from benches.kafka import workload
from benches.kafka.peer import peer_loop, require_peer
from benches.kafka.processing import Processing
from benches.kafka.transactional import transactional_loop
from tests.kafka.broker import Broker

PEER = "chio-streaming 0.1.0, transactional, tuned producer, mock client"
GOALS = {500: 250, 1_000: 300}
_targets = itertools.count(1)


@pytest.mark.parametrize("tracks", [1, 2, workload.PARTITIONS])
@pytest.mark.parametrize("batch", [500, 1_000])
def test_one_output_per_event(
    benchmark: Any,
    figure: Callable[..., None],
    broker: Broker,
    filled: Callable[[int], str],
    disk: Path,
    batch: int,
    tracks: int,
) -> None:
    count = volume(200_000, 100_000)
    topic = filled(count)
    by_hand = f"read-process-write by hand, {batch} a transaction"
    found = interleave(
        benchmark,
        lambda: Processing(broker, topic, _target(broker), disk, batch, tracks=tracks).loop(count),
        {by_hand: lambda: transactional_loop(broker, topic, _target(broker), count, batch)},
        rounds=ROUNDS,
    )
    where = f"{count:,} events, {workload.SHAPE}; sync handler, one output, no tool, lz4; {found.processor()}"
    if tracks == 1:
        figure(group="exactly once", **found.alone(by_hand), conditions=where)
    figure(
        group="exactly once",
        name=f"processor, batch {batch}, {_spelled(tracks)}",
        conditions=where,
        **found.beside(by_hand, at_least=0.85),
    )


@pytest.mark.parametrize("calls_tool", [False, True])
def test_async_handler(
    benchmark: Any,
    figure: Callable[..., None],
    broker: Broker,
    filled: Callable[[int], str],
    disk: Path,
    calls_tool: bool,
) -> None:
    count = volume(50_000, 10_000)
    topic = filled(count)
    by_hand = "read-process-write by hand, 500 a transaction"
    found = interleave(
        benchmark,
        lambda: Processing(broker, topic, _target(broker), disk, 500, is_async=True, calls_tool=calls_tool).loop(count),
        {by_hand: lambda: transactional_loop(broker, topic, _target(broker), count, 500)},
        rounds=ROUNDS,
    )
    what = "one journalled tool call per event" if calls_tool else "no tool"
    figure(
        group="exactly once",
        name=f"processor, batch 500, async handler, {what}",
        conditions=f"{count:,} events, {workload.SHAPE}; one output, lz4; {found.processor()}",
        **found.beside(by_hand),
    )


@pytest.mark.parametrize("batch", [500, 1_000])
def test_beside_chio_streaming(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path, batch: int
) -> None:
    require_peer()
    count, peer_count = volume(100_000, 60_000), volume(1_000, 300)
    topic, peer_topic = filled(count), filled(peer_count)
    found = interleave(
        benchmark,
        lambda: Processing(broker, topic, _target(broker), disk, batch, tracks=workload.PARTITIONS).loop(count),
        {PEER: lambda: peer_loop(broker, peer_topic, peer_count, transactional=True)},
        rounds=volume(3, 2),
    )
    figure(
        group="exactly once",
        name=f"processor, batch {batch}, {_spelled(workload.PARTITIONS)}",
        conditions=f"{count:,} events beside {peer_count:,}, {workload.SHAPE}; peer {found.rate_of(PEER):.0f} events/s",
        **found.beside(PEER, at_least=GOALS[batch]),
    )


def _spelled(tracks: int) -> str:
    return "one track" if tracks == 1 else f"{tracks} tracks"


def _target(broker: Broker) -> str:
    return broker.create_topic(f"bench-target-{next(_targets)}")

"""Exactly once on the real broker: the processor beside the loop that users write by hand, and beside a peer."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from benches.conftest import ROUNDS, volume
from benches.interleave import interleave
from benches.kafka import raw, workload
from benches.kafka.processing import Processing
from benches.kafka.run import Run, Watch
from benches.kafka.transactional import PRODUCER_TUNING, transactional_loop
from tests.kafka.broker import Broker

PEER = "chio-streaming 0.1.0, transactional, tuned producer, mock client"
GOALS = {500: 250, 1_000: 300}
_targets = itertools.count(1)


@pytest.mark.parametrize("batch", [500, 1_000])
def test_one_output_per_event(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path, batch: int
) -> None:
    count = volume(200_000, 40_000)
    topic = filled(count)
    by_hand = f"read-process-write by hand, {batch} a transaction"
    found = interleave(
        benchmark,
        lambda: Processing(broker, topic, _target(broker), disk, batch).loop(count),
        {by_hand: lambda: transactional_loop(broker, topic, _target(broker), count, batch)},
        rounds=ROUNDS,
    )
    where = f"{count:,} events, {workload.SHAPE}; sync handler, one output, no tool; {found.processor()}"
    figure(group="exactly once", name=by_hand, value=found.rate_of(by_hand), unit="events/s", conditions=where)
    figure(
        group="exactly once",
        name=f"processor, batch {batch}",
        value=found.rate,
        unit="events/s",
        ratio=found.ratio(by_hand),
        against=by_hand,
        goal="≥ 0.85 x the loop by hand",
        met=found.ratio(by_hand) >= 0.85,
        conditions=where,
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
        value=found.rate,
        unit="events/s",
        ratio=found.ratio(by_hand),
        against=by_hand,
        conditions=f"{count:,} events, {workload.SHAPE}; one output; {found.processor()}",
    )


@pytest.mark.parametrize("batch", [500, 1_000])
def test_beside_chio_streaming(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path, batch: int
) -> None:
    pytest.importorskip("chio_streaming", reason="chio-streaming is not installed; `make bench` brings it")
    count, peer_count = volume(100_000, 40_000), volume(1_000, 300)
    topic, peer_topic = filled(count), filled(peer_count)
    found = interleave(
        benchmark,
        lambda: Processing(broker, topic, _target(broker), disk, batch).loop(count),
        {PEER: lambda: asyncio.run(_peer_loop(broker, peer_topic, peer_count))},
        rounds=volume(3, 2),
    )
    goal = GOALS[batch]
    figure(
        group="exactly once",
        name=f"processor, batch {batch}",
        value=found.rate,
        unit="events/s",
        ratio=found.ratio(PEER),
        against=PEER,
        goal=f"≥ {goal} x",
        met=found.ratio(PEER) >= goal,
        conditions=f"{count:,} events beside {peer_count:,}, {workload.SHAPE}; peer {found.rate_of(PEER):.0f} events/s",
    )


def _target(broker: Broker) -> str:
    return broker.create_topic(f"bench-target-{next(_targets)}")


async def _peer_loop(broker: Broker, topic: str, count: int) -> Run:
    from chio_sdk.testing import allow_all
    from chio_streaming import ChioConsumerConfig, build_middleware

    consumer = Consumer(raw.settings(broker.bootstrap))
    consumer.subscribe([topic])
    producer = Producer(
        PRODUCER_TUNING
        | {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": str(uuid.uuid4()),
            "linger.ms": 0,
            "error_cb": lambda _error: None,
        }
    )
    producer.init_transactions()
    peer = build_middleware(
        consumer=consumer,
        producer=producer,
        chio_client=allow_all(),
        config=ChioConsumerConfig(
            capability_id="bench",
            tool_server="kafka",
            scope_map={topic: workload.SCOPE},
            transactional=True,
            poll_timeout=raw.PATIENCE_S,
        ),
        dlq_topic=f"{topic}-peer-dlq",
    )
    watch = Watch(broker)
    for number in range(count):
        outcome = await peer.poll_and_process(lambda _message, _receipt: None)
        watch.start()
        assert outcome is not None, f"no event for {raw.PATIENCE_S} s after {number} of {count}"
        assert outcome.committed
    run = watch.stop(events=count, handed=count)
    peer.close()
    return run

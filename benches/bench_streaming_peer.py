"""chio-streaming 0.1.0 at its fastest beside the governed consumer, on the same broker and topic.

Its fastest: a client that answers from memory without a network, no transaction, no receipt topic, so nothing of a
receipt is kept, and a producer that does not linger. It reads neither the body nor signs anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from benches.conftest import ROUNDS, volume
from benches.interleave import interleave
from benches.kafka import raw, workload
from benches.kafka.governed import Governed
from benches.kafka.run import Run, Watch
from tests.kafka.broker import Broker

pytest.importorskip("chio_streaming", reason="chio-streaming is not installed; `make bench` brings it")

PEER = "chio-streaming 0.1.0 at its fastest"


def test_beside_chio_streaming(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path
) -> None:
    count = volume(5_000, 2_000)
    topic = filled(count)
    found = interleave(
        benchmark,
        lambda: Governed(broker, topic, disk).poll_loop(count, commit_every=1),
        {PEER: lambda: asyncio.run(_peer_loop(broker, topic, count))},
        rounds=ROUNDS,
    )
    where = f"{count:,} events, {workload.SHAPE}; commit per event; {found.processor()}"
    figure(group="end to end", name=PEER, value=found.rate_of(PEER), unit="events/s", conditions=where)
    figure(
        group="end to end",
        name="governed poll(), commit per event",
        value=found.rate,
        unit="events/s",
        ratio=found.ratio(PEER),
        against=PEER,
        conditions=where,
    )


async def _peer_loop(broker: Broker, topic: str, count: int) -> Run:
    from chio_sdk.testing import allow_all
    from chio_streaming import ChioConsumerConfig, build_middleware

    conf = raw.settings(broker.bootstrap)
    consumer = Consumer(conf)
    consumer.subscribe([topic])
    total = 0

    def handler(message: Any, _receipt: Any) -> None:
        nonlocal total
        total += raw.read(message)

    peer = build_middleware(
        consumer=consumer,
        producer=Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0}),
        chio_client=allow_all(),
        config=ChioConsumerConfig(
            capability_id="bench",
            tool_server="kafka",
            scope_map={topic: workload.SCOPE},
            transactional=False,
            poll_timeout=raw.PATIENCE_S,
        ),
        dlq_topic=f"{topic}-peer-dlq",
    )
    watch = Watch(broker)
    for number in range(count):
        outcome = await peer.poll_and_process(handler)
        watch.start()
        assert outcome is not None, f"no event for {raw.PATIENCE_S} s after {number} of {count}"
        assert outcome.committed
    run = watch.stop(events=count, handed=count)
    peer.close()
    raw.check(conf, topic, count, total)
    return run

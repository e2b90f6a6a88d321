"""The loop over chio-streaming, whose client answers from memory here, without a network."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from benches.kafka import raw, workload
from benches.kafka.run import Run, Watch, assert_holds
from benches.kafka.transactional import transactional_producer
from tests.kafka.broker import Broker


def require_peer() -> None:
    """Skips a bench, or a whole module of them, where the peer is not installed."""
    pytest.importorskip("chio_streaming", reason="chio-streaming is not installed; `make bench` brings it")


def peer_loop(broker: Broker, topic: str, count: int, *, transactional: bool) -> Run:
    """`poll_and_process` of every event, read by the handler; each one is committed before the next.

    Args:
        broker: where the topic is.
        topic: what is consumed.
        count: how many events it holds.
        transactional: whether each event is a transaction of a tuned producer, with its receipt in a topic; otherwise
            nothing of a receipt is kept. Neither producer lingers.
    """
    return asyncio.run(_loop(broker, topic, count, transactional=transactional))


async def _loop(broker: Broker, topic: str, count: int, *, transactional: bool) -> Run:
    from chio_sdk.testing import allow_all
    from chio_streaming import ChioConsumerConfig, build_middleware

    conf = raw.settings(broker.bootstrap)
    # The peer's protocols leave out what else the methods of the clients take, which a type checker refuses.
    consumer: Any = Consumer(conf)
    consumer.subscribe([topic])
    producer: Any = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    receipts = None
    if transactional:
        producer = transactional_producer(broker.bootstrap, linger_ms=0)
        receipts = broker.create_topic(f"{topic}-peer-receipts-{time.monotonic_ns()}")
    total = 0

    def handler(message: Any, _receipt: Any) -> None:
        nonlocal total
        total += raw.read(message)

    peer = build_middleware(
        consumer=consumer,
        producer=producer,
        chio_client=allow_all(),
        config=ChioConsumerConfig(
            capability_id="bench",
            tool_server="kafka",
            scope_map={topic: workload.SCOPE},
            transactional=transactional,
            receipt_topic=receipts,
            consumer_group_id=conf["group.id"],
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
    if receipts:
        assert_holds(broker.bootstrap, receipts, count)
    return run

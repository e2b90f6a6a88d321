"""The loop that writes a topic, with the client alone and governed, and the checks that all of it arrived."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benches.kafka import raw, workload
from benches.kafka.governed import bench_signer
from benches.kafka.run import Run, Watch, assert_ends
from chio_fast import ChioProducerMiddleware, ReceiptLog, TrustFile
from tests.kafka.broker import Broker

IDENTITY = "bench-writers"
SCOPE = "events:produce:bench"
POLL_EVERY = 500
SETTINGS: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
}
SHAPE = f"{workload.VALUE_BYTES}-byte JSON value, 9-byte key, 2 headers, {workload.PARTITIONS} partitions"
_topics = itertools.count(1)

Given = list[tuple[bytes, bytes, list[tuple[str, str | bytes | None]]]]


def events(count: int) -> Given:
    """Values, keys and headers, made before the clock runs."""
    made = (workload.event(number, number % 100) for number in range(count))
    return [(value, key, headers[1:]) for value, key, headers in made]


def raw_loop(broker: Broker, given: Given) -> Run:
    """`produce()` of every event with `poll(0)` now and then, and `flush()`."""
    topic = _topic(broker)
    return _loop(broker, topic, given, Producer(SETTINGS | {"bootstrap.servers": broker.bootstrap}))


def governed_loop(broker: Broker, given: Given, folder: Path, *, conditional: bool) -> Run:
    """The same with a governed producer, whose policy allows every event, with or without looking at its value."""
    topic, signer = _topic(broker), bench_signer(folder)
    log = folder / f"log-{time.monotonic_ns()}.chio"
    with ChioProducerMiddleware.from_config(
        SETTINGS | {"bootstrap.servers": broker.bootstrap},
        scope_map={topic: SCOPE},
        identity=IDENTITY,
        policy=workload.granting(IDENTITY, SCOPE, deny_when="output.value.risk > 100" if conditional else None),
        receipt_log=log,
        signer=signer,
    ) as producer:
        run = _loop(broker, topic, given, producer)
        assert producer.stats().sent == len(given)
    report = ReceiptLog.open(log).verify(TrustFile.of(signer.public_key))
    assert report.receipts == len(given), f"the log holds {report.receipts} receipts, not {len(given)}"
    return run


def _loop(broker: Broker, topic: str, given: Given, producer: Any) -> Run:
    # The client knows the topic before the clock runs, whoever uses it.
    client = producer if isinstance(producer, Producer) else producer.raw
    client.list_topics(topic, raw.PATIENCE_S)
    watch = Watch(broker)
    watch.start()
    produce, poll = producer.produce, producer.poll
    for number, (value, key, headers) in enumerate(given):
        while True:
            try:
                produce(topic, value, key, headers=headers)
                break
            except BufferError:
                poll(0.01)
        if number % POLL_EVERY == 0:
            poll(0)
    assert producer.flush(10 * raw.PATIENCE_S) == 0
    run = watch.stop(events=len(given), handed=len(given))
    assert_ends(broker.bootstrap, topic, len(given))
    return run


def _topic(broker: Broker) -> str:
    name = f"bench-written-{next(_topics)}"
    return broker.create_topic(name, partitions=workload.PARTITIONS, config={"segment.bytes": 1 << 30})

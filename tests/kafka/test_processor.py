"""The exactly-once processor on the real broker: what its transactions hold, and what becomes of what fails."""

from __future__ import annotations


import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from chio_fast import ChioRevoked, Policy, Receipt, ReceiptLog, Signer, TrustFile
from chio_fast.errors import ChioConfigError, ChioDeliveryError, ChioDenied, ChioHandlerError
from chio_fast.kafka import envelope
from chio_fast.kafka.processor import ChioTransactionalProcessor
from tests.kafka.broker import Broker
from tests.kafka.factory import Factory
from tests.kafka.scenario import patiently

POLICY = """
chio: policy/v1
identities:
  order-processor:
    capabilities: ["events:consume:*", "events:produce:results", "tools:orders:*"]
rules:
  - id: no-secrets
    effect: deny
    identities: [order-processor]
    scopes: ["events:consume:*"]
    when: event.value.secret == true
    reason: secrets stay where they are
"""


class World:
    """Topics of a test's own, and processors over them."""

    def __init__(self, broker: Broker, directory: Path, new_topic: Callable[..., str]) -> None:
        self.broker = broker
        self.source = new_topic("source", partitions=2)
        self.target = new_topic("target", config={"max.message.bytes": 5000})
        self.dlq = new_topic("dlq")
        self.errors = new_topic("errors")
        self.group = f"group-{self.source}"
        self.log_path = directory / "receipts.db"
        self.key_path = directory / "signing.key"
        Signer.generate(self.key_path)
        self.factory = Factory(
            broker.bootstrap, directory, self.source, self.target, self.dlq, self.errors, group=self.group
        )

    def processor(self, handler: Callable[..., Any], **changes: Any) -> ChioTransactionalProcessor:
        """A processor with one handler."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.broker.bootstrap,
            "group_id": self.group,
            "consume_topics": [self.source],
            "produce_scope_map": {self.target: "events:produce:results"},
            "identity": "order-processor",
            "policy": Policy.from_yaml(POLICY),
            "receipt_log": self.log_path,
            "signer": self.key_path,
            "dlq_topic": self.dlq,
            "error_topic": self.errors,
            "max_batch_ms": 20,
            "conf": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
        }
        processor = ChioTransactionalProcessor(**arguments | changes)
        processor.register(self.source, handler)
        return processor

    def produce(self, *values: Any, key: str | None = None, partition: int = 0, **more: Any) -> None:
        """Write events."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for value in values:
            producer.produce(self.source, msgspec.json.encode(value), key, partition, **more)
        assert producer.flush(30) == 0

    def outputs(self, topic: str | None = None) -> list[Any]:
        """Values of the committed records of a topic, by default the target."""
        return [msgspec.json.decode(message.value()) for message in self.factory.read(topic or self.target)]

    def await_outputs(self, count: int, topic: str | None = None) -> list[Any]:
        """Wait for so many committed records."""
        for _ in patiently(f"{count} outputs"):
            found = self.outputs(topic)
            if len(found) >= count:
                assert len(found) == count
                return found
        raise AssertionError

    def receipts(self, **filters: Any) -> list[Receipt]:
        """Receipts of the log."""
        return list(ReceiptLog.open(self.log_path).query(**filters))

    def verify(self) -> None:
        """The whole log verifies."""
        ReceiptLog.open(self.log_path).verify(TrustFile.of(Signer.from_file(self.key_path).public_key))


@pytest.fixture
def world(broker: Broker, new_topic: Callable[..., str], tmp_path: Path) -> World:
    return World(broker, tmp_path, new_topic)


@contextmanager
def running(processor: ChioTransactionalProcessor) -> Iterator[threading.Thread]:
    """Run a processor in a thread; stop it at the end, and raise what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            processor.run()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        processor.stop()
        thread.join(60)
        assert not thread.is_alive()
        processor.close()
    if errors:
        raise errors[0]


def forward(target: str) -> Callable[..., None]:
    """A handler that produces what it gets."""

    def handle(event: Any, ctx: Any) -> None:
        ctx.produce(topic=target, value=event.value(), key=event.key())

    return handle


def test_outputs_offsets_and_receipts_commit_together(world: World) -> None:
    world.produce(*({"n": n} for n in range(20)), key="k", headers={"traceparent": "00-ab-cd-01"})
    processor = world.processor(forward(world.target))
    with running(processor):
        found = world.await_outputs(20)
    assert [value["n"] for value in found] == list(range(20))
    consumed = {receipt.id: receipt for receipt in world.receipts(kind="consume")}
    produced = {receipt.id: receipt for receipt in world.receipts(kind="produce")}
    for message in world.factory.read(world.target):
        headers = dict(message.headers())
        receipt = produced[headers[envelope.HEADER_RECEIPT].decode()]
        assert headers[envelope.HEADER_SCOPE] == b"events:produce:results"
        assert headers["traceparent"] == b"00-ab-cd-01"
        assert receipt.batch.state == "committed"
        assert [consumed[parent].batch.state for parent in receipt.parents] == ["committed"]
    assert processor.stats().committed == 20
    world.verify()

"""Processors on the real broker in threads of the test: topics of its own, one handler, what became of the events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message, Producer

from chio_fast import Policy, Receipt, ReceiptLog, Signer
from chio_fast.kafka.processor import ChioTransactionalProcessor
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.kafka.receipts import OwnLog

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
    when: has(event.value.secret)
    reason: secrets stay where they are
"""


class World(OwnLog):
    """Topics of a test's own, and processors over them."""

    def __init__(self, broker: Broker, directory: Path, new_topic: Callable[..., str]) -> None:
        self.broker = broker
        self.source = new_topic("source", partitions=2)
        self.target = new_topic("target", config={"max.message.bytes": 5000})
        self.dlq = new_topic("dlq")
        self.errors = new_topic("errors")
        self.group = f"group-{self.source}"
        self.directory = directory
        Signer.generate(self.key_path)

    def processor(self, handler: Callable[..., Any], **changes: Any) -> ChioTransactionalProcessor:
        """A processor with one handler."""
        processor = ChioTransactionalProcessor(**self.arguments(**changes))
        processor.register(self.source, handler)
        return processor

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What a processor of this world is told."""
        return {
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
            "config": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
            **changes,
        }

    def produce(self, *values: Any, key: str | None = None, partition: int = 0, **more: Any) -> None:
        """Write events."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for value in values:
            producer.produce(self.source, msgspec.json.encode(value), key, partition, **more)
        assert producer.flush(30) == 0

    def read(self, topic: str) -> list[Message]:
        """The committed records of a topic."""
        return list(topics.read(self.broker.bootstrap, topic))

    def outputs(self, topic: str | None = None) -> list[Any]:
        """Values of the committed records of a topic, by default the target."""
        return [msgspec.json.decode(message.value()) for message in self.read(topic or self.target)]

    def await_outputs(self, count: int, topic: str | None = None) -> list[Any]:
        """Wait for so many committed records."""
        topics.await_records(self.broker.bootstrap, topic or self.target, count)
        found = self.outputs(topic)
        assert len(found) == count
        return found

    def committed(self) -> int:
        """The offset that is committed in the first partition; -1001 where there is none."""
        return topics.committed(self.broker.bootstrap, self.group, self.source)[self.source, 0]

    def receipts(self, **filters: Any) -> list[Receipt]:
        """Receipts of the log."""
        return list(ReceiptLog.open(self.log_path).query(**filters))

    def assert_processed_once(self, count: int) -> None:
        """So many events have one committed consume receipt each, nothing is still prepared, and the log verifies."""
        committed = self.receipts(kind="consume", state="committed")
        places = {(receipt.target.partition, receipt.target.offset) for receipt in committed}
        assert len(places) == len(committed) == count
        assert not self.receipts(state="prepared")
        self.verify()


@pytest.fixture
def world(broker: Broker, new_topic: Callable[..., str], tmp_path: Path) -> World:
    """Topics, a group and a key that no other test has."""
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

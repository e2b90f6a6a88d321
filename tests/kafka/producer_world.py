"""Governed producers on one topic of the real broker, and the audit that each record has its own receipt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from chio_fast import AsyncChioProducer, ChioProducerMiddleware, Policy, ReceiptLog
from tests.kafka.scenario import Scenario

IDENTITY = "writers"
POLICY = """
chio: policy/v1
identities:
  writers:
    capabilities: ["events:produce:*"]
  workers:
    capabilities: ["events:consume:*", "events:produce:*", "tools:look:*"]
rules:
  - id: no-secrets
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:*"]
    when: has(output.value.secret) && output.value.secret == true
    reason: secrets stay where they are
"""


class World:
    """One topic, a receipt log, and governed producers on them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.topic = scenario.topic
        self.bootstrap = scenario.broker.bootstrap
        self.producers: list[ChioProducerMiddleware] = []
        self.reports: list[tuple[KafkaError | None, Message]] = []

    def producer(self, conf: dict[str, Any] | None = None, **changes: Any) -> ChioProducerMiddleware:
        """A producer that is closed at the end of the test."""
        made = ChioProducerMiddleware.from_config(self.conf() | (conf or {}), **self.arguments(**changes))
        self.producers.append(made)
        return made

    def aio_producer(self, **changes: Any) -> AsyncChioProducer:
        """The same for asyncio, closed by the test."""
        return AsyncChioProducer.from_config(self.conf(), **self.arguments(**changes))

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What a producer of this world is told; an enforcer brings policy, log and key of its own."""
        usual: dict[str, Any] = {"scope_map": self.scopes, "identity": IDENTITY}
        if "enforcer" not in changes:
            usual["policy"] = Policy.from_yaml(POLICY)
            usual["receipt_log"] = self.scenario.log_path
            usual["signer"] = self.scenario.key_path
        return usual | changes

    def conf(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, "log_level": 2}

    @property
    def scopes(self) -> dict[str, str]:
        return {topic: f"events:produce:{topic}" for topic in [*self.scenario.topics, "nowhere"]}

    def report(self, error: KafkaError | None, message: Message) -> None:
        self.reports.append((error, message))

    def receipts(self, kind: str = "produce") -> dict[str, Any]:
        return {receipt.id: receipt for receipt in ReceiptLog.open(self.scenario.log_path).query(kind=kind)}

    def settled(self, producer: ChioProducerMiddleware) -> list[Any]:
        """The receipts of a producer that is still open."""
        producer.enforcer.seal()
        return list(self.receipts().values())

    def records(self) -> list[Message]:
        return self.scenario.read(self.topic)

    def audit(self) -> list[Message]:
        """Verifies the log with both verifiers, and that every record has its receipt; gives the records."""
        self.scenario.verify()
        found, records = self.receipts(), self.records()
        for record in records:
            own = [value for name, value in record.headers() or [] if name == "X-Chio-Receipt"]
            assert len(own) == 1, record.headers()
            receipt = found[own[0].decode()]
            assert (receipt.verdict, receipt.target.topic) == ("allow", self.topic)
            assert ("X-Chio-Scope", receipt.scope.encode()) in (record.headers() or [])
        ids = [value for record in records for name, value in record.headers() or [] if name == "X-Chio-Receipt"]
        assert len(set(ids)) == len(ids)
        return records


@pytest.fixture
def world(scenario: Scenario) -> Iterator[World]:
    """A world whose producers are closed at the end."""
    made = World(scenario)
    yield made
    for producer in made.producers:
        producer.close(10)

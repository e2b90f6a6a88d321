"""Who is closed lets go of the client, which has threads, connections and buffers of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.cimpl import Consumer, Producer

from chio_fast import ChioProducerMiddleware, ChioTransactionalProcessor, Policy
from tests.kafka.scenario import IDENTITY, OPEN_POLICY, Scenario

pytestmark = pytest.mark.usefixtures("either_road")


def clients() -> int:
    """How many clients there are, once Python has looked for what nobody can reach."""
    gc.collect()
    return sum(isinstance(found, (Consumer, Producer)) for found in gc.get_objects())


def use_consumer(scenario: Scenario) -> None:
    with scenario.consumer() as consumer:
        scenario.take(consumer, 3)


def use_processor(scenario: Scenario) -> None:
    processor = ChioTransactionalProcessor(
        bootstrap_servers=scenario.broker.bootstrap,
        group_id=scenario.group,
        consume_topics=scenario.topics,
        consume_scope="events:consume:any",
        produce_scope_map={scenario.topic: "events:produce"},
        policy=Policy.from_yaml(scenario.policy),
        receipt_log=scenario.log_path,
        signer=scenario.key_path,
        identity=IDENTITY,
        dlq_topic=scenario.dlq,
        config={"auto.offset.reset": "earliest"},
    )
    seen: list[Any] = []

    def handle(event: Any, _ctx: Any) -> None:
        seen.append(event.offset())
        if len(seen) == 3:
            processor.stop()

    for topic in scenario.topics:
        processor.register(topic, handle)
    processor.run()
    processor.close()
    assert len(seen) == 3


def use_producer(scenario: Scenario) -> None:
    with ChioProducerMiddleware.from_config(
        {"bootstrap.servers": scenario.broker.bootstrap},
        scope_map={scenario.topic: "events:produce"},
        policy=Policy.from_yaml(scenario.policy),
        receipt_log=scenario.log_path,
        signer=scenario.key_path,
        identity=IDENTITY,
    ) as producer:
        producer.produce(topic=scenario.topic, value=b"1")
        producer.produce(topic=scenario.topic, value=b"2", on_delivery=lambda _error, _message: None)


@pytest.mark.parametrize("use", [use_consumer, use_processor, use_producer])
def test_no_client_is_left(scenario: Scenario, use: Callable[[Scenario], None]):
    scenario.policy = OPEN_POLICY.replace("]", ', "events:produce"]')
    for _ in range(3):
        scenario.raw_produce(b"x")
    before = clients()
    use(scenario)
    assert clients() == before

"""The broker of the tests keeps what was acknowledged when it is killed, and isolates transactions as Kafka does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from tests.kafka.broker import Broker
from tests.kafka.topics import values


def test_acknowledged_messages_survive_kill_9_of_the_broker(broker: Broker, new_topic: Callable[..., str]) -> None:
    topic = new_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for number in range(1_000):
        producer.produce(topic, str(number).encode())
    assert producer.flush(10.0) == 0

    broker.kill9()
    broker.start()

    assert values(broker.bootstrap, topic) == [str(number).encode() for number in range(1_000)]


def test_an_aborted_transaction_is_invisible_to_read_committed(broker: Broker, new_topic: Callable[..., str]) -> None:
    topic = new_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "aborts"})
    producer.init_transactions(30.0)
    producer.begin_transaction()
    producer.produce(topic, b"never")
    producer.flush(10.0)
    producer.abort_transaction(30.0)
    producer.begin_transaction()
    producer.produce(topic, b"always")
    producer.commit_transaction(30.0)

    assert values(broker.bootstrap, topic) == [b"always"]
    assert values(broker.bootstrap, topic, "read_uncommitted") == [b"never", b"always"]


def test_a_deleted_topic_is_gone(broker: Broker, new_topic: Callable[..., str]) -> None:
    topic = new_topic(partitions=3)
    broker.delete_topic(topic)
    assert topic not in broker.admin.list_topics(timeout=10.0).topics


def test_starting_a_running_broker_is_refused(broker: Broker) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        broker.start()

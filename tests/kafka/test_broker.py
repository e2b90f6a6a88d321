"""The broker of the tests keeps what was acknowledged when it is killed, and isolates transactions as Kafka does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.kafka.broker import Broker


def _read_to_end(broker: Broker, topic: str, isolation: str = "read_committed") -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "reader",
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    while True:
        message = consumer.poll(10.0)
        assert message is not None, "the broker did not answer within 10 s"
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            break
        values.append(message.value() or b"")
    consumer.close()
    return values


def test_acknowledged_messages_survive_kill_9_of_the_broker(broker: Broker, new_topic: Callable[..., str]) -> None:
    topic = new_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for number in range(1_000):
        producer.produce(topic, str(number).encode())
    assert producer.flush(10.0) == 0

    broker.kill9()
    broker.start()

    assert _read_to_end(broker, topic) == [str(number).encode() for number in range(1_000)]


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

    assert _read_to_end(broker, topic) == [b"always"]
    assert _read_to_end(broker, topic, "read_uncommitted") == [b"never", b"always"]


def test_a_deleted_topic_is_gone(broker: Broker, new_topic: Callable[..., str]) -> None:
    topic = new_topic(partitions=3)
    broker.delete_topic(topic)
    assert topic not in broker.admin.list_topics(timeout=10.0).topics


def test_starting_a_running_broker_is_refused(broker: Broker) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        broker.start()

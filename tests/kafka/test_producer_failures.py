"""The governed producer when the broker, the client, the disk or its own process fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from chio_fast import (
    ChioError,
    ChioProducerMiddleware,
    LogError,
)
from tests.kafka.patience import PATIENCE, patiently
from tests.kafka.producer_world import POLICY, World, world
from tests.kafka.test_failures import full_disk

__all__ = ["world"]


def test_an_unknown_topic_and_what_the_broker_refuses_reach_on_delivery(
    world: World, new_topic: Callable[..., str]
) -> None:
    small = new_topic("small", config={"max.message.bytes": 2000})
    scopes = {"nowhere": "events:produce:nowhere", small: "events:produce:small"}
    producer = world.producer(scope_map=scopes)
    producer.produce("nowhere", b"{}", on_delivery=world.report)
    producer.produce(small, os.urandom(5000).hex().encode().join([b'{"pad": "', b'"}']), on_delivery=world.report)
    assert producer.flush(PATIENCE) == 0
    codes = {message.topic(): error.code() for error, message in world.reports if error is not None}
    assert codes == {"nowhere": KafkaError.UNKNOWN_TOPIC_OR_PART, small: KafkaError.MSG_SIZE_TOO_LARGE}


def test_what_is_too_large_for_the_client_is_refused_before_it_is_decided(world: World) -> None:
    producer = world.producer({"message.max.bytes": 5000})
    with pytest.raises(KafkaException) as refused:
        producer.produce(world.topic, b"x" * 5001)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert world.settled(producer) == []


def test_what_the_client_refuses_after_the_receipt_is_reported_and_its_receipt_taken_back(world: World) -> None:
    producer = world.producer({"message.max.bytes": 5000})
    # With key, value and headers it is larger than the client takes, which only the client knows exactly.
    producer.produce(world.topic, b'{"pad": "%s"}' % (b"x" * 4900), headers={"h": b"y" * 200}, on_delivery=world.report)
    producer.produce(world.topic, b"{}", partition=77, on_delivery=world.report)
    producer.produce(world.topic, b"{}", on_delivery=world.report)
    assert producer.flush(PATIENCE) == 0
    by_size = {len(message.value() or b""): error for error, message in world.reports}
    assert by_size.pop(4911).code() == KafkaError.MSG_SIZE_TOO_LARGE
    producer.close()
    assert len(world.audit()) == 1
    taken_back = [receipt.rollback for receipt in world.receipts("rollback").values()]
    assert taken_back[0] == next(iter(world.receipts()))


def test_a_full_queue_raises_and_poll_makes_room(world: World) -> None:
    producer = world.producer({"queue.buffering.max.messages": 100, "linger.ms": 500})
    producer.outbox.backlog.max_messages = 300
    sent = 0
    for _ in patiently("a full queue"):
        try:
            producer.produce(world.topic, b'{"n": %d}' % sent, partition=0)
            sent += 1
        except BufferError:
            break
    assert 300 <= len(producer) <= 400
    for _ in patiently("1000 messages"):
        try:
            producer.produce(world.topic, b'{"n": %d}' % sent, partition=0)
            sent += 1
        except BufferError:
            producer.poll(0.1)
        if sent == 1000:
            break
    assert producer.flush(PATIENCE) == 0
    assert [record.value() for record in world.audit()] == [b'{"n": %d}' % n for n in range(1000)]
    assert len(world.receipts()) == 1000


def test_what_cannot_be_sent_in_time_is_reported_and_taken_back(world: World) -> None:
    producer = world.producer({"bootstrap.servers": "127.0.0.1:9", "queue.buffering.max.messages": 10})
    for _ in range(50):
        producer.produce(world.topic, b"{}", on_delivery=world.report)
    with pytest.raises(ChioError, match="not acknowledged"):
        producer.close(0.5)
    codes = [error.code() for error, _ in world.reports if error is not None]
    assert set(codes) <= {KafkaError._PURGE_QUEUE, KafkaError._QUEUE_FULL}
    assert len(codes) == 40
    assert len(world.receipts("rollback")) == 40


def test_nothing_is_sent_once_receipts_cannot_be_made_durable(world: World) -> None:
    producer = world.producer()
    producer.produce(world.topic, b'{"n": 0}', partition=0, on_delivery=world.report)
    producer.flush(PATIENCE)
    with full_disk(world.scenario.log_path):
        with pytest.raises(LogError):
            _produce_on(producer, world)
        assert producer.flush(PATIENCE) == 0
    with pytest.raises(LogError):
        producer.produce(world.topic, b"{}")
    with pytest.raises(LogError):
        producer.close()
    world.producers.clear()
    delivered = [message.value() for error, message in world.reports if error is None]
    failed = [error for error, _ in world.reports if error is not None]
    assert delivered == [b'{"n": %d}' % n for n in range(len(delivered))]
    assert [record.value() for record in world.audit()] == delivered
    assert failed
    assert {error.code() for error in failed} == {KafkaError._FAIL}


def _produce_on(producer: ChioProducerMiddleware, world: World) -> None:
    for number in range(1, 100_000):
        producer.produce(world.topic, b'{"n": %d}' % number, partition=0, on_delivery=world.report)
        producer.poll(0)


def test_a_forked_child_sends_nothing(world: World) -> None:
    producer = world.producer()
    producer.produce(world.topic, b"{}")
    producer.flush(PATIENCE)
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: producer.produce(world.topic, b"{}"), lambda: producer.poll(0), producer.flush):
            try:
                call()
            except ChioError:
                refused += 1
        producer.close()
        os._exit(0 if refused == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    producer.produce(world.topic, b"{}")
    assert producer.flush(PATIENCE) == 0
    assert len(world.audit()) == 2


KILLED = """
import sys
from chio_fast import ChioProducerMiddleware, Policy
bootstrap, topic, log, key = sys.argv[1:]
producer = ChioProducerMiddleware.from_config(
    {"bootstrap.servers": bootstrap}, scope_map={topic: f"events:produce:{topic}"}, identity="writers",
    policy=Policy.from_yaml(sys.stdin.read()), receipt_log=log, signer=key)
number = 0
while True:
    producer.produce(topic, b'{"n": %d}' % number, partition=0)
    number += 1
    if producer.poll(0):
        print(number, flush=True)
"""


@pytest.mark.parametrize("reports", [1, 40])
def test_every_record_of_a_killed_process_has_a_durable_receipt(world: World, reports: int) -> None:
    arguments = [world.bootstrap, world.topic, str(world.scenario.log_path), str(world.scenario.key_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(POLICY.encode())
    process.stdin.close()
    for _ in range(reports):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    records = world.audit()
    assert records
    assert [record.value() for record in records] == [b'{"n": %d}' % n for n in range(len(records))]

"""What each error of the transactional client means, on a real broker."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from chio_fast import Enforcer
from chio_fast._native import group_metadata
from chio_fast.errors import Aborted, ChioConfigError, ChioError, DeliveryFailed, Fenced, Unclean
from chio_fast.kafka import roads
from chio_fast.kafka import transaction as transaction_module
from chio_fast.kafka.client_errors import backoff
from chio_fast.kafka.config import processor_consumer_config, transactional_config
from chio_fast.kafka.transaction import SLOW_COMMIT, Transaction
from tests.kafka.broker import Broker
from tests.kafka.outputs import Outputs, enforcer, outputs, stretch
from tests.kafka.patience import patiently
from tests.kafka.topics import values
from tests.kafka.transactions import commit_one, ignore, write

__all__ = ["enforcer", "outputs"]

Start = Callable[..., Transaction]


@pytest.fixture
def start(conf: dict[str, Any], start_transaction: Callable[..., Transaction]) -> Start:
    """Starts a producer; the same transactional id unless another `member` is named."""

    def build(member: str = "one", **settings: Any) -> Transaction:
        more = {name.replace("_", "."): value for name, value in settings.items()}
        return start_transaction(conf | more, f"{conf['group.id']}-{member}")

    return build


@pytest.fixture
def topic(new_topic: Callable[..., str]) -> str:
    """A topic with one partition."""
    return new_topic()


@pytest.fixture
def member(conf: dict[str, Any], topic: str) -> Iterator[Consumer]:
    """A consumer of `topic` that has joined its group."""
    consumer = Consumer(processor_consumer_config(conf, ignore))
    consumer.subscribe([topic])
    for _ in patiently("an assignment"):
        consumer.poll(0.1)
        if consumer.assignment():
            break
    yield consumer
    consumer.close()


def test_what_is_committed_is_visible_and_moves_the_offsets(start: Start, broker: Broker, topic: str, member: Consumer):
    transaction = start()
    transaction.begin()
    transaction.produce(
        topic, key=b"k", value=b"v", headers=[("h", b"1")], partition=0, timestamp=int(time.time() * 1000)
    )
    transaction.flush()
    transaction.send_offsets([TopicPartition(topic, 0, 7)], member.consumer_group_metadata())
    transaction.commit()
    assert values(broker.bootstrap, topic) == [b"v"]
    assert member.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 7


def test_after_an_abort_the_next_transaction_begins(start: Start, broker: Broker, topic: str):
    transaction = start()
    for _ in range(5):
        # Right after the first record, when the coordinator may not have heard of the transaction (librdkafka#4849).
        transaction.begin()
        transaction.produce(topic, value=b"aborted")
        transaction.abort()
    transaction.begin()
    transaction.abort()
    transaction.abort()
    commit_one(transaction, topic, b"committed")
    assert values(broker.bootstrap, topic) == [b"committed"]


@pytest.mark.parametrize("step", ["begin", "produce", "flush", "send_offsets", "commit", "abort"])
def test_a_second_producer_of_the_id_fences_the_first_at_every_step(
    start: Start, broker: Broker, topic: str, member: Consumer, step: str
):
    first = start()
    if step != "begin":
        write(first, topic, b"lost")
    second = start()

    def produce_until_it_is_noticed() -> None:
        for _ in patiently("a fence"):
            first.produce(topic, value=b"lost")

    def go_on() -> None:
        write(first, topic, b"lost")

    steps: dict[str, Callable[[], None]] = {
        "begin": go_on,
        "produce": produce_until_it_is_noticed,
        "flush": lambda: (first.produce(topic, value=b"lost"), first.flush())[1],
        "send_offsets": lambda: first.send_offsets([TopicPartition(topic, 0, 1)], member.consumer_group_metadata()),
        "commit": first.commit,
        "abort": first.abort,
    }
    with pytest.raises(Fenced) as raised:
        steps[step]()
    assert not raised.value.timed_out
    with pytest.raises(Fenced):
        first.begin()
    commit_one(second, topic, b"kept")
    assert values(broker.bootstrap, topic) == [b"kept"]


def test_a_transaction_that_outlived_its_timeout_is_fenced_and_renewing_helps(start: Start, broker: Broker, topic: str):
    transaction = start(transaction_timeout_ms=1_000)
    began = time.monotonic()
    write(transaction, topic, b"too late")

    def go_on() -> None:
        # The broker refuses once the coordinator has raised the epoch, a second or two after the timeout.
        for _ in patiently("the end of the transaction"):
            transaction.produce(topic, value=b"too late")
            transaction.flush()

    with pytest.raises(Fenced) as raised:
        go_on()
    assert raised.value.timed_out
    assert time.monotonic() - began >= 1
    transaction.renew()
    commit_one(transaction, topic, b"in time")
    assert values(broker.bootstrap, topic) == [b"in time"]


def test_refused_records_are_charged_to_what_the_caller_passed(start: Start, broker: Broker, topic: str):
    transaction = start(topic_metadata_propagation_max_ms=500)
    transaction.begin()
    transaction.produce("there-is-no-such-topic", value=b"1", charge="unknown")
    transaction.produce(topic, value=b"1" * 2_000_000, charge="large")
    transaction.produce(topic, value=b"1", partition=7, charge="misplaced")
    transaction.produce(topic, value=b"1", charge="good")
    with pytest.raises(DeliveryFailed) as raised:
        transaction.flush()
    codes = {charge: error.code() for charge, error in raised.value.charges}
    assert codes == {
        "unknown": KafkaError.UNKNOWN_TOPIC_OR_PART,
        "large": KafkaError.MSG_SIZE_TOO_LARGE,
        "misplaced": KafkaError._UNKNOWN_PARTITION,
    }
    # The transaction has failed; what is produced all the same is not charged, and does not hide that.
    transaction.produce(topic, value=b"1", charge="later")
    with pytest.raises(DeliveryFailed) as raised:
        transaction.commit()
    assert {charge for charge, _ in raised.value.charges} == set(codes)
    transaction.abort()
    commit_one(transaction, topic, b"good")
    assert values(broker.bootstrap, topic) == [b"good"]


def test_records_beyond_the_clients_queue_wait_for_room(start: Start, broker: Broker, topic: str):
    transaction = start(queue_buffering_max_messages=10)
    transaction.begin()
    for n in range(200):
        transaction.produce(topic, value=str(n).encode())
    transaction.commit()
    assert values(broker.bootstrap, topic) == [str(n).encode() for n in range(200)]


def test_outputs_are_committed_like_other_records(
    start: Start, broker: Broker, topic: str, outputs: Outputs, enforcer: Enforcer
):
    transaction = start(queue_buffering_max_messages=10)
    checks = outputs(topic, [{"value": str(n).encode()} for n in range(200)])
    transaction.begin()
    transaction.hand([stretch(enforcer, checks[:50]), stretch(enforcer, checks[50:])])
    transaction.produce(topic, value=b"last")
    transaction.commit()
    assert values(broker.bootstrap, topic) == [*(str(n).encode() for n in range(200)), b"last"]


def test_an_output_that_the_client_refuses_is_charged_and_the_others_are_not(
    start: Start, broker: Broker, topic: str, outputs: Outputs, enforcer: Enforcer
):
    transaction = start()
    large = b"1" * 2_000_000
    checks = outputs(topic, [{"value": b"1"}, {"value": large}, {"value": b"1"}, {"value": large}])
    transaction.begin()
    covered = stretch(enforcer, checks)
    transaction.hand([covered])
    with pytest.raises(DeliveryFailed) as raised:
        transaction.flush()
    too_large = KafkaError.MSG_SIZE_TOO_LARGE
    charges = [(covered.works.index(work), error.code()) for work, error in raised.value.charges]
    assert charges == [(1, too_large), (3, too_large)]
    transaction.abort()
    commit_one(transaction, topic, b"good")
    assert values(broker.bootstrap, topic) == [b"good"]


@pytest.mark.parametrize("reason", ["size", "topic", "partition"])
@pytest.mark.parametrize("road", ["fast", "ordinary"])
def test_an_output_that_was_not_delivered_is_charged_by_the_next_transaction_at_the_latest(
    start: Start,
    broker: Broker,
    new_topic: Callable[..., str],
    outputs: Outputs,
    enforcer: Enforcer,
    monkeypatch: pytest.MonkeyPatch,
    road: str,
    reason: str,
):
    """Nothing is seen of a transaction in which one was not, whatever road its records took."""
    topic, narrow = new_topic(), new_topic(config={"max.message.bytes": 1_000})
    elsewhere = "there-is-no-such-topic" if reason == "topic" else narrow
    # The broker measures what is compressed.
    given = {"value": b"1", "partition": 7} if reason == "partition" else {"value": random.Random(1).randbytes(2_000)}
    good, refused = outputs(topic, [{"value": b"good"}]), outputs(elsewhere, [given])
    both, alone = stretch(enforcer, good + refused), stretch(enforcer, good)
    transaction = start(topic_metadata_propagation_max_ms=500)
    send, sent = transaction.send, list[Any]()
    monkeypatch.setattr(transaction, "send", lambda hand, charge: (sent.append(charge), send(hand, charge))[1])

    def failed(step: Callable[[], None]) -> list[Any]:
        transaction.begin()
        transaction.hand([both])
        with pytest.raises((DeliveryFailed, Unclean)) as raised:
            step()
        if isinstance(raised.value, Unclean):
            transaction.renew()
            return []
        transaction.abort()
        return [charge for charge, _ in raised.value.charges]

    if road == "ordinary":
        transaction._sender = None
    else:
        assert failed(transaction.commit) == []
        assert sent == []
    assert failed(transaction.flush) == both.works[1:]
    for _ in range(2):
        transaction.begin()
        transaction.hand([alone])
        transaction.commit()
    # Once a transaction was committed, the fast road is taken again.
    assert sent == both.works + {"fast": 1, "ordinary": 2}[road] * alone.works
    assert values(broker.bootstrap, topic) == [b"good", b"good"]
    assert values(broker.bootstrap, narrow) == []


def test_offsets_that_the_client_would_leave_out_in_silence_are_refused(start: Start, topic: str, member: Consumer):
    transaction = start()
    transaction.begin()
    with pytest.raises(ChioError, match=r"offset -1001 .* cannot be committed"):
        transaction.send_offsets([TopicPartition(topic, 0)], member.consumer_group_metadata())


def test_offsets_of_a_member_that_has_left_abort_the_transaction(
    start: Start, broker: Broker, topic: str, member: Consumer
):
    transaction = start()
    stale = member.consumer_group_metadata()
    member.unsubscribe()
    for _ in patiently("the member to leave"):
        member.poll(0.1)
        if not member.assignment():
            break
    transaction.begin()
    transaction.produce(topic, value=b"aborted")

    def send_until_it_is_refused() -> None:
        for _ in patiently("a refusal"):
            transaction.send_offsets([TopicPartition(topic, 0, 1)], stale)

    with pytest.raises(Aborted):
        send_until_it_is_refused()
    transaction.abort()
    commit_one(transaction, topic, b"committed")
    assert values(broker.bootstrap, topic) == [b"committed"]


def test_a_slow_commit_is_not_trusted_although_it_returned(start: Start, topic: str, broker: Broker):
    transaction = start()
    write(transaction, topic, b"slow")
    broker.freeze()
    thawing = threading.Timer(SLOW_COMMIT + 0.5, broker.thaw)
    thawing.start()
    with pytest.raises(Unclean, match=r"took 1\.\d s"):
        transaction.commit()
    thawing.join()
    before = transaction.producer
    transaction.begin()
    assert transaction.producer is not before
    assert values(broker.bootstrap, topic) == [b"slow"]


def test_a_commit_while_the_broker_is_away_is_unclean(start: Start, topic: str, broker: Broker):
    transaction = start(transaction_timeout_ms=60_000)
    write(transaction, topic, b"1")
    broker.kill9()
    restarting = threading.Thread(target=broker.start)
    restarting.start()
    with pytest.raises(Unclean):
        transaction.commit()
    restarting.join()
    transaction.renew()
    assert values(broker.bootstrap, topic) == [b"1"]


def test_after_an_error_neither_a_quick_commit_nor_the_producer_is_trusted(
    start: Start, new_topic: Callable[..., str], broker: Broker, monkeypatch: pytest.MonkeyPatch
):
    """The client does not repeat an error that it has told lately, so it may have had another one that nobody heard."""
    monkeypatch.setattr(transaction_module, "SLOW_COMMIT", 60.0)  # a broker that has just started may take its time
    for attempt in patiently("a broker that says how the transaction ended"):
        topic, transaction = new_topic(), start(f"member-{attempt}")
        before = transaction.producer
        write(transaction, topic, b"1")
        broker.restart()
        await_an_error(transaction)
        transaction.produce(topic, value=b"2")
        transaction.flush()
        with pytest.raises(Unclean) as unclean:
            transaction.commit()
        if "Unknown broker error" not in str(unclean.value):  # so says, now and then, one that has just started
            break
    assert "had an error" in str(unclean.value)
    assert values(broker.bootstrap, topic) == [b"1", b"2"]
    broker.kill9()
    restarting = threading.Thread(target=broker.start)
    restarting.start()
    transaction.begin()
    restarting.join()
    assert transaction.producer is not before
    transaction.produce(topic, value=b"3")
    transaction.commit()
    assert values(broker.bootstrap, topic) == [b"1", b"2", b"3"]
    before = transaction.producer
    transaction.begin()
    transaction.abort()
    assert transaction.producer is before


def await_an_error(transaction: Transaction) -> None:
    """Wait until the client has told that its broker went."""
    for _ in patiently("an error of the client"):
        transaction.producer.poll(0.1)
        if transaction._ear.heard:
            return


def test_a_producer_is_given_up_at_once_whatever_its_broker_does(start: Start, topic: str, broker: Broker):
    transaction = start()
    transaction.begin()
    transaction.produce(topic, value=b"1")
    broker.freeze()
    try:
        began = time.monotonic()
        transaction.close()
        assert time.monotonic() - began < 5
    finally:
        broker.thaw()
    with pytest.raises(ChioError, match="was closed"):
        transaction.begin()


def test_a_timeout_that_the_cluster_refuses_is_a_mistake_of_the_configuration(start: Start):
    with pytest.raises(ChioConfigError, match=r"transaction\.timeout\.ms"):
        start(transaction_timeout_ms=2_000_000_000)


def test_settings_for_transactions_are_safe_and_carry_what_they_are_given():
    base = {"bootstrap.servers": "x:1", "group.id": "g", "security.protocol": "SSL", "session.timeout.ms": 6000}
    settings = transactional_config(base, "g-one", ignore)
    assert settings["transactional.id"] == "g-one"
    assert settings["delivery.report.only.error"] is True
    assert (settings["retry.backoff.ms"], settings["retry.backoff.max.ms"]) == (1, 2)
    assert settings["compression.type"] == "lz4"
    assert settings["security.protocol"] == "SSL"
    assert not {"group.id", "session.timeout.ms"} & settings.keys()
    assert transactional_config(base | {"compression.type": "lz4"}, "g", ignore)["compression.type"] == "lz4"


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("acks", 1, "acks=all"),
        ("enable.idempotence", False, "enable.idempotence=true"),
        ("transactional.id", "mine", "member="),
        ("delivery.timeout.ms", 60_000, "at most 15000"),
        ("message.timeout.ms", 60_000, "at most 15000"),
        ("socket.timeout.ms", 60_000, "at most 15000"),
    ],
)
def test_settings_that_weaken_a_transaction_are_refused(name: str, value: object, instead: str):
    with pytest.raises(ChioConfigError, match=instead):
        transactional_config({"bootstrap.servers": "x:1", name: value}, "g-one", ignore)


def test_a_processor_reads_committed_data_alone():
    base = {"bootstrap.servers": "x:1", "group.id": "g"}
    assert processor_consumer_config(base, ignore)["isolation.level"] == "read_committed"
    with pytest.raises(ChioConfigError, match=r"isolation\.level=read_committed"):
        processor_consumer_config(base | {"isolation.level": "read_uncommitted"}, ignore)


def test_waits_grow_and_have_an_end_and_differ():
    waits = [backoff(attempt) for attempt in range(100)]
    assert all(0.005 <= wait <= 1.0 for wait in waits)
    assert waits[0] < 0.011
    assert waits[99] >= 0.5
    assert len(set(waits)) > 90


def test_a_transaction_that_is_open_is_not_begun_again_on_either_road(start: Start, topic: str):
    transaction = start()
    transaction.begin()
    assert transaction._sender is not None
    assert not transaction._sender.begin()
    with pytest.raises(Unclean, match="begin"):
        transaction.begin()


def test_the_groups_metadata_is_the_clients_own(member: Consumer, monkeypatch: pytest.MonkeyPatch):
    assert group_metadata(member) == roads.group_metadata(member) == member.consumer_group_metadata()

    def closed(_consumer: Consumer) -> None:
        raise RuntimeError("the road is closed")

    monkeypatch.setattr("chio_fast._native.group_metadata", closed)
    assert roads.group_metadata(member) == member.consumer_group_metadata()

"""Where consumption begins when the client has no position: what is committed, or as the configuration says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from chio_fast import Event
from chio_fast.kafka import ChioConsumerMiddleware
from chio_fast.kafka.assignment import Assigned
from chio_fast.kafka.placement import Placement
from chio_fast.kafka.throttle import Throttle
from tests.kafka.patience import patiently
from tests.kafka.scenario import OPEN_POLICY, STRATEGIES, Scenario, own, protocol
from tests.kafka.topics import Place, place

pytestmark = pytest.mark.usefixtures("either_road")

EVENTS = 60
COMMITTED, PENDING = 20, 30


@pytest.fixture
def pair(scenario: Scenario, new_topic: Callable[..., str]) -> Scenario:
    """A scenario with 60 allowed events in each of two partitions."""
    scenario.topics, scenario.policy = [new_topic("pair", partitions=2)], OPEN_POLICY
    for n in range(2 * EVENTS):
        scenario.fates[scenario.raw_produce(b"%d" % n, partition=n % 2)] = False
    return scenario


def offsets(scenario: Scenario, offset: int) -> list[TopicPartition]:
    """An offset in each partition."""
    return [TopicPartition(scenario.topic, number, offset) for number in range(2)]


def commit(scenario: Scenario, offset: int) -> None:
    """Commit for the group, as the consumer before did."""
    with Consumer(scenario.conf()) as former:
        former.commit(offsets=offsets(scenario, offset), asynchronous=False)


@pytest.fixture
def open_transaction(pair: Scenario) -> Iterator[Producer]:
    """Offset 20 of each partition is committed, and 30 in a transaction that stays open."""
    producer = Producer({"bootstrap.servers": pair.broker.bootstrap, "transactional.id": pair.group, "log_level": 0})
    producer.init_transactions(30)
    with Consumer(pair.conf()) as former:
        group = former.consumer_group_metadata()
        producer.begin_transaction()
        producer.send_offsets_to_transaction(offsets(pair, COMMITTED), group)
        producer.commit_transaction(30)
        producer.begin_transaction()
        producer.send_offsets_to_transaction(offsets(pair, PENDING), group)
    yield producer
    producer.abort_transaction(30)


def events(*consumers: ChioConsumerMiddleware, seconds: float) -> list[Event]:
    """What is handed out within so many seconds."""
    found: list[Event] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for consumer in consumers:
            found += [event for event in consumer.consume(100, 0.05) if isinstance(event, Event)]
    return found


def refuse_changes(_placement: Placement, idle: Sequence[Assigned]) -> None:
    """Stands for changes of an assignment that its group did not ask for: they compete with those it does."""
    assert not idle


@pytest.mark.parametrize("is_ours", [True, False], ids=["of ours", "of the application"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_undecided_offsets_are_waited_for_while_members_come(
    pair: Scenario, open_transaction: Producer, strategy: str, is_ours: bool, monkeypatch: pytest.MonkeyPatch
):
    """The client itself begins at the first event when its assignment changes while it asks for such offsets."""
    monkeypatch.setattr(Placement, "_fetch_anew", refuse_changes)
    conf = pair.conf(auto_offset_reset="earliest") | protocol(strategy)
    with pair.consumer(conf, is_ours=is_ours) as first:
        for _ in patiently("the assignment"):
            assert first.poll(0.1) is None
            if len(own(first)) == 2:
                break
        with pair.consumer(conf, is_ours=is_ours) as second:
            for _ in patiently("both to hold something"):
                assert events(first, second, seconds=0.1) == []
                if len(own(first)) == len(own(second)) == 1:
                    break
            assert events(first, second, seconds=2) == []
            open_transaction.commit_transaction(30)
            open_transaction.begin_transaction()
            found: set[Place] = set()
            for _ in patiently("all events"):
                found |= {place(event) for event in events(first, second, seconds=0.1)}
                if len(found) >= 2 * (EVENTS - PENDING):
                    break
    assert found == {(pair.topic, number, offset) for number in range(2) for offset in range(PENDING, EVENTS)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_held_back_is_resumed_by_nobody_else(pair: Scenario, open_transaction: Producer, strategy: str):
    with pair.consumer(pair.conf() | protocol(strategy)) as consumer:
        for _ in patiently("the assignment"):
            assert consumer.poll(0.1) is None
            if len(own(consumer)) == 2:
                break
        consumer.resume(offsets(pair, OFFSET_INVALID))
        consumer.pause(offsets(pair, OFFSET_INVALID)[:1])
        assert events(consumer, seconds=2) == []
        assert consumer.raw.position(offsets(pair, 0))[0].offset == OFFSET_INVALID
        open_transaction.commit_transaction(30)
        open_transaction.begin_transaction()
        found = pair.take(consumer, EVENTS - PENDING)
        assert {event.partition() for event in found} == {1}
        assert events(consumer, seconds=1) == [], "the other one is paused"
        consumer.resume(offsets(pair, OFFSET_INVALID)[:1])
        found += pair.take(consumer, EVENTS - PENDING)
    assert {event.offset() for event in found} == set(range(PENDING, EVENTS))


def test_what_was_held_back_and_revoked_begins_when_it_comes_again(pair: Scenario, open_transaction: Producer):
    with pair.by_hand() as consumer:
        consumer.assign(offsets(pair, OFFSET_INVALID))
        assert events(consumer, seconds=1) == []
        consumer.unassign()
        open_transaction.commit_transaction(30)
        open_transaction.begin_transaction()
        consumer.assign(offsets(pair, OFFSET_INVALID))
        found = pair.take(consumer, 2 * (EVENTS - PENDING))
    assert min(event.offset() for event in found) == PENDING


def test_a_signal_before_it_is_paused_begins_nothing_that_is_held_back(
    pair: Scenario, open_transaction: Producer, monkeypatch: pytest.MonkeyPatch
):
    class Interrupted(BaseException):
        """What a signal handler may raise anywhere."""

    hold_back = Throttle.hold_back

    def interrupt(*_: object) -> NoReturn:
        monkeypatch.setattr(Throttle, "hold_back", hold_back)
        raise Interrupted

    monkeypatch.setattr(Throttle, "hold_back", interrupt)
    with pair.consumer() as consumer:
        with pytest.raises(Interrupted):
            consumer.poll(45)
        assert len(consumer.raw.assignment()) == 2
        time.sleep(1)
        assert events(consumer, seconds=1) == []
        open_transaction.commit_transaction(30)
        open_transaction.begin_transaction()
        found = pair.take(consumer, 2 * (EVENTS - PENDING))
    assert min(event.offset() for event in found) == PENDING


@pytest.mark.parametrize(("word", "begins"), [("earliest", 0), ("smallest", 0), ("latest", EVENTS)])
def test_where_nothing_is_committed_the_configuration_counts(pair: Scenario, word: str, begins: int):
    with pair.consumer(pair.conf(auto_offset_reset=word)) as consumer:
        for _ in patiently("the partitions to begin"):
            assert all(event.offset() >= begins for event in events(consumer, seconds=0.1))
            if begins == 0 or [held.start for held in consumer._parts.assignments] == [begins] * 2:
                break
        for number in range(2):
            pair.raw_produce(b"later", partition=number)
        for _ in patiently("the later events"):
            for event in events(consumer, seconds=0.1):
                assert event.offset() >= begins
            if [part.offset for part in consumer.position(offsets(pair, 0))] == [EVENTS + 1] * 2:
                break


def test_where_nothing_is_committed_may_be_an_error(pair: Scenario):
    with pair.consumer(pair.conf(auto_offset_reset="error")) as consumer:
        for _partition in range(2):
            with pytest.raises(KafkaException, match="no previously committed offset") as refused:
                consumer.poll(30)
            assert refused.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET


@pytest.mark.parametrize("word", ["earliest", "latest", "error"])
def test_what_is_committed_counts_before_the_configuration(pair: Scenario, word: str):
    commit(pair, COMMITTED)
    with pair.consumer(pair.conf(auto_offset_reset=word)) as consumer:
        found = pair.take(consumer, 2 * (EVENTS - COMMITTED))
    assert min(event.offset() for event in found) == COMMITTED


@pytest.mark.parametrize(("word", "begins"), [("earliest", PENDING), ("latest", EVENTS)])
def test_events_that_were_deleted_are_passed_over(
    pair: Scenario, word: str, begins: int, caplog: pytest.LogCaptureFixture
):
    commit(pair, COMMITTED)
    deleted = pair.broker.admin.delete_records(offsets(pair, PENDING))
    assert all(future.result(30).low_watermark == PENDING for future in deleted.values())
    with pair.consumer(pair.conf(auto_offset_reset=word)) as consumer:
        for _ in patiently("the partitions to begin"):
            assert all(event.offset() >= begins for event in events(consumer, seconds=0.1))
            if [held.start for held in consumer._parts.assignments] == [begins] * 2:
                break
        pair.raw_produce(b"later", partition=0)
        for _ in patiently("the later event"):
            if consumer.position(offsets(pair, 0))[0].offset == EVENTS + 1:
                break
            assert all(event.offset() >= begins for event in events(consumer, seconds=0.1))
    assert f"offset {COMMITTED} of {pair.topic}[0] is not there: it has {PENDING} to {EVENTS}" in caplog.text


def test_what_is_deleted_under_a_consumer_is_passed_over(pair: Scenario, caplog: pytest.LogCaptureFixture):
    """What it has fetched already is handed out; it goes on with what is left."""
    with pair.consumer(pair.conf(queued_min_messages=1, max_partition_fetch_bytes=200), batch_size=1) as consumer:
        first = pair.take(consumer, 2, batch=1)
        deleted = pair.broker.admin.delete_records(offsets(pair, EVENTS - 5))
        assert all(future.result(30).low_watermark == EVENTS - 5 for future in deleted.values())
        found = [place(event) for event in first]
        for _ in patiently("the last events"):
            found += [place(event) for event in events(consumer, seconds=0.1)]
            if {(pair.topic, number, EVENTS - 1) for number in range(2)} <= set(found):
                break
    assert f"is not there: it has {EVENTS - 5} to {EVENTS}" in caplog.text
    assert len(set(found)) == len(found), "none came twice"
    assert {(pair.topic, number, EVENTS - 5) for number in range(2)} <= set(found)
    assert pair.committed() == dict.fromkeys([(pair.topic, 0), (pair.topic, 1)], OFFSET_INVALID)


def test_a_question_that_went_with_its_broker_is_asked_again(pair: Scenario):
    """The client never asks for committed offsets again if its assignment has changed since it did."""
    commit(pair, COMMITTED)
    with pair.by_hand() as consumer:
        pair.broker.freeze()
        for part in offsets(pair, OFFSET_INVALID):
            consumer.incremental_assign([part])
            assert consumer.poll(0.5) is None
        pair.broker.kill9()
        pair.broker.start()
        found = pair.take(consumer, 2 * (EVENTS - COMMITTED))
    assert min(event.offset() for event in found) == COMMITTED

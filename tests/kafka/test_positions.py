"""Positions: what may be committed, and what seek, pause and a topic created anew do to them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import NoReturn

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition

from chio_fast import Event
from chio_fast.errors import ChioError, ChioRevoked
from chio_fast.kafka.intake import Intake
from tests.kafka.patience import patiently
from tests.kafka.scenario import OPEN_POLICY, Scenario
from tests.kafka.topics import place

pytestmark = pytest.mark.usefixtures("either_road")


@pytest.fixture
def one(scenario: Scenario, new_topic: Callable[..., str]) -> Scenario:
    """A scenario with 60 allowed events in a topic of one partition."""
    scenario.topics = [new_topic("one")]
    scenario.policy = OPEN_POLICY
    for n in range(60):
        scenario.fates[scenario.raw_produce(b"%d" % n)] = False
    return scenario


def test_prefetched_events_are_never_committed(one: Scenario):
    with one.consumer() as consumer:
        one.take(consumer, 7, batch=1)
        assert consumer.stats().buffered == 53
        assert [part.offset for part in consumer.commit(asynchronous=False) or []] == [7]
        assert [part.offset for part in consumer.position([TopicPartition(one.topic, 0)])] == [7]
    assert one.committed() == {(one.topic, 0): 7}


def test_offsets_beyond_the_hand_out_are_refused(one: Scenario):
    with one.consumer() as consumer:
        one.take(consumer, 7, batch=1)
        with pytest.raises(ChioError, match="beyond 7"):
            consumer.commit(offsets=[TopicPartition(one.topic, 0, 8)])
        consumer.commit(offsets=[TopicPartition(one.topic, 0, 5)], asynchronous=False)
    assert one.committed() == {(one.topic, 0): 5}


@pytest.mark.parametrize("offset", [OFFSET_INVALID, OFFSET_BEGINNING])
def test_logical_offsets_are_no_commits(one: Scenario, offset: int):
    with one.consumer() as consumer:
        one.take(consumer, 1)
        with pytest.raises(ChioError, match="no absolute offset"):
            consumer.commit(offsets=[TopicPartition(one.topic, 0, offset)])


def test_an_event_commits_itself_and_what_came_before(one: Scenario):
    with one.consumer() as consumer:
        events = one.take(consumer, 10)
        consumer.commit(message=events[3], asynchronous=False)
    assert one.committed() == {(one.topic, 0): 4}


def test_only_events_can_be_committed(one: Scenario):
    with one.consumer() as consumer:
        [event] = one.take(consumer, 1)
        with pytest.raises(TypeError, match="event that this consumer handed out"):
            consumer.commit(event.raw)  # type: ignore[arg-type]
        with pytest.raises(ChioError, match="exclude each other"):
            consumer.commit(event, [TopicPartition(one.topic, 0, 1)])


def test_before_the_first_event_there_is_no_position_and_nothing_to_commit(one: Scenario):
    with one.consumer() as consumer:
        assert [part.offset for part in consumer.position([TopicPartition(one.topic, 0)])] == [OFFSET_INVALID]
        assert consumer.commit(asynchronous=False) == []


def test_seek_voids_what_was_handed_out_and_replays(one: Scenario):
    with one.consumer() as consumer:
        before = one.take(consumer, 30)
        consumer.commit(asynchronous=False)
        consumer.seek(TopicPartition(one.topic, 0, 10))
        with pytest.raises(ChioRevoked, match="sought"):
            consumer.commit(before[20], asynchronous=False)
        assert [part.offset for part in consumer.position([TopicPartition(one.topic, 0)])] == [10]
        after = one.take(consumer, 50)
        assert [event.offset() for event in after] == list(range(10, 60))
        consumer.commit(asynchronous=False)
    assert one.committed() == {(one.topic, 0): 60}
    one.audit(duplicates=True)


def test_a_seek_forward_skips_and_says_so_by_the_position_only(one: Scenario):
    with one.consumer() as consumer:
        one.take(consumer, 5)
        consumer.seek(TopicPartition(one.topic, 0, 40))
        assert [event.offset() for event in one.take(consumer, 20)] == list(range(40, 60))
        assert one.committed() == {(one.topic, 0): OFFSET_INVALID}


def test_denials_after_a_seek_are_not_committed_over_what_was_skipped(
    scenario: Scenario, new_topic: Callable[..., str]
):
    scenario.topics = [new_topic("one")]
    for secret in (b"false", b"false", b"true", b"true"):
        scenario.raw_produce(b'{"secret": %s}' % secret)
    with scenario.consumer() as consumer:
        scenario.take(consumer, 1, batch=1)
        consumer.seek(TopicPartition(scenario.topic, 0, 2))
        scenario.await_dead_letters(consumer, 2)
    assert scenario.committed() == {(scenario.topic, 0): OFFSET_INVALID}


def test_a_seek_in_on_assign_decides_where_consumption_starts(one: Scenario):
    def to_50(consumer: object, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            partition.offset = 50
        consumer.assign(partitions)  # type: ignore[attr-defined]

    with one.consumer(on_assign=to_50) as consumer:
        assert [event.offset() for event in one.take(consumer, 10)] == list(range(50, 60))


def test_what_is_held_can_be_assigned_again(one: Scenario):
    def offsets(count: int) -> list[int]:
        return [event.offset() for event in one.take(consumer, count)]

    with one.by_hand() as consumer:
        consumer.assign([TopicPartition(one.topic, 0, 0)])
        assert offsets(5) == list(range(5))
        consumer.assign([TopicPartition(one.topic, 0, 50)])
        assert offsets(10) == list(range(50, 60))
        consumer.unassign()
        consumer.assign([TopicPartition(one.topic, 0, 55)])
        assert offsets(5) == list(range(55, 60))
        consumer.incremental_unassign([TopicPartition(one.topic, 0)])
        consumer.incremental_assign([TopicPartition(one.topic, 0, 58)])
        assert offsets(2) == [58, 59]


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_what_is_lost_before_any_event_was_kept_is_fetched_again(
    one: Scenario, strategy: str, monkeypatch: pytest.MonkeyPatch
):
    class Interrupted(Exception):  # noqa: N818 - it is no error
        """What a signal handler may raise anywhere."""

    def interrupt(*_: object) -> NoReturn:
        raise Interrupted

    with one.consumer(one.conf(partition_assignment_strategy=strategy)) as consumer:
        with monkeypatch.context() as interrupted:
            interrupted.setattr(Intake, "_decide", interrupt)
            with pytest.raises(Interrupted):
                consumer.poll(45)
        one.take(consumer, 60)
    assert [offset for (_, _, offset), _ in one.handed] == list(range(60))


def test_pause_withholds_what_is_buffered_and_resume_gives_it_first(one: Scenario):
    partition = TopicPartition(one.topic, 0)
    with one.consumer() as consumer:
        one.take(consumer, 5, batch=1)
        consumer.pause([partition])
        assert consumer.stats().set_aside == 55
        assert consumer.poll(0.5) is None
        consumer.resume([partition])
        assert [event.offset() for event in one.take(consumer, 55)] == list(range(5, 60))
        consumer.commit(asynchronous=False)
    one.audit()


def test_pausing_one_partition_lets_the_others_go_on(scenario: Scenario):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    places = [scenario.raw_produce(b"x", partition=n % 2) for n in range(40)]
    scenario.fates = dict.fromkeys(places, False)
    with scenario.consumer() as consumer:
        scenario.take(consumer, 1)
        consumer.pause([TopicPartition(scenario.topic, 0)])
        seen = {event.partition() for event in itertools.islice(iter(lambda: consumer.poll(0.5), None), 15)}
        assert seen == {1}


def test_a_topic_deleted_and_created_again_is_a_new_one(one: Scenario):
    with one.consumer(one.conf(topic_metadata_refresh_interval_ms=500)) as consumer:
        old = one.take(consumer, 60)
        consumer.commit(asynchronous=False)
        one.broker.delete_topic(one.topic)
        one.broker.create_topic(one.topic)
        new = {one.raw_produce(b"new %d" % n) for n in range(20)}
        seen: list[Event] = []
        for _ in patiently("the new topic's events"):
            with contextlib.suppress(KafkaException):  # while the topic is not there, the call says so
                seen += [event for event in consumer.consume(50, 0.5) if isinstance(event, Event)]
            if len(seen) >= 20:
                break
        assert {place(event) for event in seen} == new
        assert [event.value() for event in seen] == [b"new %d" % n for n in range(20)]
        with pytest.raises(ChioRevoked):
            consumer.commit(old[-1])
        consumer.commit(asynchronous=False)
    assert one.committed() == {(one.topic, 0): 20}
    attempts = one.attempts()
    assert all(attempts[event.chio_receipt_id or ""] == 1 for event in seen)


def test_a_client_that_goes_back_by_itself_brings_nothing_twice(one: Scenario, caplog: pytest.LogCaptureFixture):
    """As librdkafka does after a pause that comes while it asks where to begin."""
    with one.consumer() as consumer:
        first = one.take(consumer, 20)
        consumer.raw.seek(TopicPartition(one.topic, 0, 0))
        rest = one.take(consumer, 40)
        for n in range(5):
            one.fates[one.raw_produce(b"later %d" % n)] = False
        later = one.take(consumer, 5)
        assert [event.offset() for event in (*first, *rest, *later)] == list(range(65))
        assert consumer.stats().recreated == 0
        consumer.commit(asynchronous=False)
    assert one.committed() == {(one.topic, 0): 65}
    assert "the client went back" in caplog.text
    one.audit()


def test_an_end_of_partition_comes_only_if_asked_for_and_after_its_events(one: Scenario):
    with one.consumer(one.conf(enable_partition_eof=True)) as consumer:
        handed: list[Event | Message] = []
        for _ in patiently("the end"):
            found = consumer.poll(0.5)
            if found is not None:
                handed.append(found)
            if isinstance(found, Message):
                break
    assert [type(found) for found in handed] == [Event] * 60 + [Message]
    assert handed[-1].error().code() == KafkaError._PARTITION_EOF  # type: ignore[union-attr]

"""Denied events: receipt first, then the DLQ, then their offset, and never a second time."""

from __future__ import annotations

import random

import pytest

from chio_fast.errors import ChioConfigError, ChioDeadLetterError
from chio_fast.kafka import commit
from tests.kafka.broker import Broker
from tests.kafka.patience import patiently
from tests.kafka.scenario import CLOSED_POLICY, Scenario
from tests.kafka.topics import place


def incompressible(size: int) -> bytes:
    """Twice `size` characters that no codec makes smaller than `size`."""
    return random.Random(size).randbytes(size).hex().encode()


def test_a_topic_of_which_everything_is_denied_reaches_lag_0_and_a_restart_adds_nothing(scenario: Scenario):
    scenario.policy = CLOSED_POLICY
    scenario.produce(500, seed=21, denied=1.0)
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
    assert len(scenario.dead_letters()) == 500
    with scenario.consumer() as consumer:
        assert consumer.poll(2.0) is None
    assert len(scenario.dead_letters()) == 500
    scenario.audit()


def test_denials_behind_the_last_commit_are_committed_without_being_asked(scenario: Scenario):
    allowed = scenario.raw_produce(b'{"secret": false}')
    denied = [scenario.raw_produce(b'{"secret": true}') for _ in range(3)]
    with scenario.consumer() as consumer:
        [event] = scenario.take(consumer, 1)
        assert place(event) == allowed
        assert consumer.commit(event, asynchronous=False)
        scenario.await_dead_letters(consumer, 3)
    assert scenario.committed()[denied[-1][:2]] == denied[-1][2] + 1


def test_denials_behind_an_event_in_progress_are_not_committed(scenario: Scenario):
    first = scenario.raw_produce(b'{"secret": false}')
    scenario.raw_produce(b'{"secret": true}')
    with scenario.consumer() as consumer:
        scenario.take(consumer, 1)
        scenario.await_dead_letters(consumer, 1)
    assert scenario.committed()[first[:2]] == -1001


@pytest.mark.usefixtures("either_road")
def test_while_the_dlq_is_behind_hand_out_waits_and_fetching_goes_on(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
):
    """A client whose partitions are paused takes half a second to go on with them: twice per hundred denials."""
    most, at_once = 100, 50
    monkeypatch.setattr(commit, "MAX_BACKLOG", most)
    scenario.policy = CLOSED_POLICY
    scenario.produce(2_000, seed=26, denied=1)
    with scenario.consumer(batch_size=at_once) as consumer:
        seen = set()
        for _ in patiently("the dead letters"):
            assert consumer.consume(at_once, 0.01) == []
            stats = consumer.stats()
            seen.add(stats.throttled)
            assert stats.backlog <= most + at_once
            if stats.dead_letters == 2_000:
                break
        if consumer._parts.intake._inlet is not None:
            assert seen == {False}
        consumer.commit(asynchronous=False)
    assert scenario.lag() == 0
    scenario.audit()


def test_a_value_too_large_for_the_dlq_goes_without_it(scenario: Scenario, broker: Broker):
    small = broker.create_topic(f"{scenario.dlq}-small", config={"max.message.bytes": 20_000})
    scenario.dlq = small
    where = scenario.raw_produce(b'{"secret": true, "pad": "%s"}' % incompressible(50_000), headers=[("a", b"1")])
    scenario.fates[where] = True
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
    [letter] = scenario.dead_letters()
    assert letter.original_value_omitted
    assert letter.original_value is None
    assert letter.original_value_digest
    assert [header.name for header in letter.original_headers] == ["a"]
    scenario.audit()


def test_headers_too_large_for_the_dlq_are_left_out_too(scenario: Scenario, broker: Broker):
    scenario.dlq = broker.create_topic(f"{scenario.dlq}-tiny", config={"max.message.bytes": 5_000})
    where = scenario.raw_produce(b'{"secret": true}', key=b"k", headers=[("a", incompressible(25_000))])
    scenario.fates[where] = True
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
    [letter] = scenario.dead_letters()
    assert (letter.original_headers, letter.original_key, letter.original_value_omitted) == ([], None, True)
    scenario.audit()


def test_a_missing_dlq_topic_stops_the_consumer_and_commits_nothing(scenario: Scenario):
    scenario.dlq = "no-such-topic"
    where = scenario.raw_produce(b'{"secret": true}')
    consumer = scenario.consumer()
    with pytest.raises(ChioDeadLetterError, match="no-such-topic"):
        consumer.consume(10, 40)
    with pytest.raises(ChioDeadLetterError):
        consumer.poll(0)
    with pytest.raises(ChioDeadLetterError):
        consumer.close()
    assert scenario.committed()[where[:2]] == -1001


def test_the_dlq_topic_may_not_be_consumed(scenario: Scenario):
    with pytest.raises(ChioConfigError, match="both consumed and the DLQ topic"):
        scenario.consumer(dlq_topic=scenario.topic)


def test_a_dlq_topic_is_required(scenario: Scenario):
    with pytest.raises(ChioConfigError, match="dlq_topic="):
        scenario.consumer(dlq_topic=None)

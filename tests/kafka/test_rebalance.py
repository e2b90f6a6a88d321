"""Rebalances: what is revoked is not handed out any more and not committed any more."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

import pytest
from confluent_kafka import OFFSET_INVALID, ConsumerGroupState, KafkaException, TopicPartition

from chio_fast import Event
from chio_fast.errors import ChioRevoked
from chio_fast.kafka import ChioConsumerMiddleware
from tests.kafka.patience import patiently
from tests.kafka.scenario import OPEN_POLICY, STRATEGIES, Scenario, own, protocol
from tests.kafka.topics import place
from tests.kafka.volume import Volume, volumes
from tests.kafka.worker import Worker


def settle(scenario: Scenario, first: ChioConsumerMiddleware, second: ChioConsumerMiddleware) -> None:
    """Takes from both members until each holds some of the partitions, and checks that neither takes the other's."""
    for _ in patiently("both to hold something"):
        for member in (first, second):
            for event in member.consume(1, 0.05):
                assert isinstance(event, Event)
                assert event.partition() in own(member)
                scenario.note([event])
        if own(first) and own(second) and not own(first) & own(second):
            return


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_was_revoked_is_neither_handed_out_nor_committed(scenario: Scenario, strategy: str):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    scenario.produce(3_000, seed=31, denied=0)
    conf = scenario.conf() | protocol(strategy)
    with scenario.consumer(conf) as first:
        early = scenario.take(first, 2_950, batch=1)
        assert first.stats().buffered > 0
        with scenario.consumer(conf) as second:
            settle(scenario, first, second)
            theirs = own(second)
            gone = [event for event in early if event.partition() in theirs]
            assert gone, "the seed gives events of every partition"
            for event in gone:
                with pytest.raises(ChioRevoked):
                    first.commit(event, asynchronous=False)
            first.commit(asynchronous=False)
            assert {offset for key, offset in scenario.committed().items() if key[1] in theirs} == {OFFSET_INVALID}
            for _ in patiently("lag 0"):
                for member in (first, second):
                    if scenario.note(member.consume(200, 0.1)):
                        member.commit()
                if scenario.lag() == 0:
                    break
    scenario.audit(duplicates=True)


def test_a_revoke_waits_for_the_commits_that_were_asked_for(scenario: Scenario):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    scenario.produce(300, seed=32, denied=0)
    seen: dict[tuple[str, int], int] = {}

    def on_revoke(consumer: ChioConsumerMiddleware, partitions: list[TopicPartition]) -> None:
        for part in consumer.position(partitions):
            seen[part.topic, part.partition] = part.offset
        consumer.commit()

    consumer = scenario.consumer(on_revoke=on_revoke)
    scenario.take(consumer, 100)
    consumer.close()
    assert {key: offset for key, offset in scenario.committed().items() if offset >= 0} == {
        key: offset for key, offset in seen.items() if offset >= 0
    }
    assert seen


@pytest.mark.usefixtures("either_road")
def test_what_is_assigned_while_a_consumer_is_closed_does_no_harm(scenario: Scenario):
    told: list[int] = []
    consumer = scenario.consumer(on_assign=lambda _, partitions: told.append(len(partitions)))
    for _ in patiently("the broker to assign"):
        asked = scenario.broker.admin.describe_consumer_groups([scenario.group])[scenario.group]
        with suppress(KafkaException):  # nobody coordinates the group yet
            if asked.result(10).state == ConsumerGroupState.STABLE:
                break
        time.sleep(0.1)
    time.sleep(1)  # the member has to hear of it; nobody serves its callbacks until it is closed
    assert told == []
    consumer.close()
    assert sum(told) > 0


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
@volumes({"events": 6_000, "members": 3}, {"events": 120_000, "members": 13})
def test_members_that_come_and_go_lose_nothing(
    scenario: Scenario,
    start_worker: Callable[..., Worker],
    strategy: str,
    volume: Volume,
    drill_report: Callable[..., None],
):
    scenario.produce(volume["events"], seed=33)
    workers = [start_worker(conf={"partition.assignment.strategy": strategy})]
    for _ in range(volume["members"] - 1):
        workers.append(start_worker(conf={"partition.assignment.strategy": strategy}))
        newest = workers[-1]
        for _ in patiently("the new member to hold something"):
            if any(line[0] == "assigned" for line in newest.lines()):
                break
            assert newest.process.poll() is None
        if len(workers) > 2:
            workers.pop(0).stop()
    for _ in patiently("lag 0", 120):
        if scenario.lag() == 0:
            break
    for worker in workers:
        worker.stop()
    scenario.audit(duplicates=True)
    drill_report(f"members come and go, {strategy}", seed=33, **volume)


def test_no_worker_hands_out_after_its_revoke(scenario: Scenario, start_worker: Callable[..., Worker]):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    scenario.produce(3_000, seed=34, denied=0)
    workers = [start_worker(batch=5, work=0.002) for _ in range(3)]
    for _ in patiently("all three to hold something"):
        if all(any(line[0] == "assigned" for line in worker.lines()) for worker in workers):
            break
    for _ in patiently("lag 0", 90):
        if scenario.lag() == 0:
            break
    for worker in workers:
        worker.stop()
    for worker in workers:
        held: set[tuple[str, str]] = set()
        changes: dict[str, int] = defaultdict(int)
        for line in worker.lines():
            if line[0] in ("assigned", "revoked", "lost"):
                changes[line[0]] += 1
                (held.add if line[0] == "assigned" else held.discard)((line[1], line[2]))
            else:
                assert (line[0], line[1]) in held
        assert changes["assigned"]
    scenario.audit(duplicates=True)


@volumes({"poll_interval_ms": 6_000, "seconds": 9}, {"poll_interval_ms": 10_000, "seconds": 100})
def test_slow_work_does_not_cost_the_membership(scenario: Scenario, volume: Volume, drill_report: Callable[..., None]):
    """200 ms of work per event with hundreds prefetched: far more than `max.poll.interval.ms` in all."""
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    scenario.produce(1_000, seed=35, denied=0)
    lost: list[object] = []
    conf = scenario.conf(max_poll_interval_ms=volume["poll_interval_ms"], session_timeout_ms=6000)
    with scenario.consumer(conf, on_lost=lambda _consumer, partitions: lost.append(partitions)) as consumer:
        members, throttled = set(), False
        ending = time.monotonic() + volume["seconds"]
        while time.monotonic() < ending:
            event = consumer.poll(5.0)
            assert event is not None
            members.add(consumer.memberid())
            throttled = throttled or consumer.stats().throttled
            time.sleep(0.2)
        consumer.commit(event, asynchronous=False)
    assert throttled
    assert lost == []
    assert len(members) == 1
    drill_report("200 ms of work per event", seed=35, **volume)


def test_a_revoke_is_served_while_the_holder_works_on_prefetched_events(scenario: Scenario):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    scenario.produce(1_000, seed=36, denied=0)
    served, done = threading.Event(), threading.Event()
    with scenario.consumer() as first:
        scenario.take(first, 1, batch=1)
        second = scenario.consumer(on_assign=lambda _consumer, partitions: served.set() if partitions else None)

        def join() -> None:
            while not done.is_set():
                second.poll(0.1)

        joining = threading.Thread(target=join)
        joining.start()
        for _ in patiently("the second member to be served", 20):
            event = first.poll(1.0)
            assert event is None or place(event)[1] in own(first)
            if served.wait(0.2):
                break
        done.set()
        joining.join()
        second.close()

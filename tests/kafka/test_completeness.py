"""Nothing is lost: every event is handed out or in the DLQ, whatever dies in between."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.kafka.patience import patiently
from tests.kafka.scenario import Scenario
from tests.kafka.volume import Volume, volumes
from tests.kafka.worker import Worker

Start = Callable[..., Worker]
Report = Callable[..., None]


@volumes({"events": 6_000}, {"events": 120_000})
def test_every_event_is_handed_out_or_dead_lettered_exactly_once(
    scenario: Scenario, volume: Volume, drill_report: Report
):
    scenario.produce(volume["events"], seed=11)
    with scenario.consumer() as consumer:
        scenario.finish(consumer, batch=500)
    scenario.audit()
    drill_report("every event once", seed=11, **volume)


def test_poll_sees_the_same_events_as_consume(scenario: Scenario):
    places = scenario.produce(2_000, seed=12)
    allowed = sum(not scenario.fates[where] for where in places)
    with scenario.consumer(batch_size=64) as consumer:
        for _ in patiently("all events"):
            event = consumer.poll(0.2)
            if event is not None:
                scenario.note([event])
            elif len(scenario.handed) == allowed:
                consumer.commit(asynchronous=False)
                if scenario.lag() == 0:  # the last event may be a denied one, which is not handed out
                    break
    scenario.audit()


def test_a_clean_restart_goes_on_where_the_last_commit_was(scenario: Scenario):
    scenario.produce(3_000, seed=13)
    with scenario.consumer() as consumer:
        scenario.take(consumer, 700, batch=70)
        consumer.commit()
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
    scenario.audit()


def test_events_handed_out_and_not_committed_are_delivered_again_with_a_higher_attempt(scenario: Scenario):
    scenario.produce(400, seed=14)
    with scenario.consumer() as consumer:
        scenario.take(consumer, 150)
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
    assert len(scenario.handed) > len(set(scenario.handed)) or len({where for where, _ in scenario.handed}) < len(
        scenario.handed
    )
    scenario.audit(duplicates=True)


@volumes({"events": 4_000, "kills": 2}, {"events": 120_000, "kills": 40})
def test_kill_9_of_the_consumer_at_random_points_loses_nothing(
    scenario: Scenario, start_worker: Start, volume: Volume, drill_report: Report
):
    scenario.produce(volume["events"], seed=15)
    generator = random.Random(15)
    for kill in range(volume["kills"]):
        worker = start_worker(asynchronous=bool(kill % 2), batch=generator.choice([7, 50, 200]))
        wanted = generator.randrange(50, 600)
        for _ in patiently("some hand-outs"):
            if len(worker.lines()) >= wanted:
                break
            assert worker.process.poll() is None
        worker.kill9()
    worker = start_worker()
    for _ in patiently("lag 0", 120):
        if scenario.lag() == 0:
            break
    worker.stop()
    assert scenario.lag() == 0
    scenario.audit(duplicates=True)
    drill_report("kill -9 of a consumer", seed=15, **volume)


@volumes({"events": 4_000, "kills": 1}, {"events": 60_000, "kills": 8})
def test_kill_9_and_restart_of_the_broker_loses_nothing(scenario: Scenario, volume: Volume, drill_report: Report):
    scenario.produce(volume["events"], seed=16)
    with scenario.consumer(scenario.conf(session_timeout_ms=6000)) as consumer:
        for _ in range(volume["kills"]):
            scenario.take(consumer, 300, batch=30)
            consumer.commit()
            scenario.broker.kill9()
            scenario.broker.start()
        scenario.finish(consumer)
    scenario.audit(duplicates=True)
    drill_report("kill -9 of the broker", seed=16, **volume)


@pytest.mark.parametrize("evidence", ["before_commit", "before_action"])
def test_a_run_with_commits_per_event_is_complete(scenario: Scenario, evidence: str):
    places = scenario.produce(600, seed=17)
    denied = sum(bool(scenario.fates[where]) for where in places)
    with scenario.consumer(evidence=evidence) as consumer:
        for _ in patiently("all events"):
            event = consumer.poll(0.2)
            if event is not None:
                scenario.note([event])
                consumer.commit(event)
            if len(scenario.handed) == len(places) - denied and consumer.stats().denied == denied:
                break
    assert scenario.lag() == 0
    scenario.audit()

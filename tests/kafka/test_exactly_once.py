"""Exactly once, as Kafka's own system tests look at it: seeded inputs, processes and brokers that die, the books."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import Broker, Cluster
from tests.kafka.factory import Factory
from tests.kafka.patience import patiently
from tests.kafka.processor_worker import ProcessorWorker
from tests.kafka.volume import Volume, volumes

Report = Callable[..., None]
Start = Callable[..., ProcessorWorker]
STEPS = 8
PARTITIONS = 5

_numbers = itertools.count(1)


@pytest.fixture
def factory(broker: Broker, new_topic: Callable[..., str], tmp_path: Path) -> Factory:
    """A source of five partitions, target, DLQ and error topic, on the shared broker."""
    made = Factory(
        broker.bootstrap,
        tmp_path,
        source=new_topic("source", partitions=PARTITIONS),
        target=new_topic("target", partitions=3),
        dlq=new_topic("dlq"),
        errors=new_topic("errors"),
        group=f"factory-{next(_numbers)}-{tmp_path.name}",
    )
    made.prepare()
    return made


@pytest.fixture
def start(factory: Factory) -> Iterator[Start]:
    """Starts processors; what still runs at the end is killed."""
    started: list[ProcessorWorker] = []

    def begin(**changes: object) -> ProcessorWorker:
        started.append(factory.start(**changes))
        return started[-1]

    yield begin
    for worker in started:
        if worker.process.poll() is None:
            worker.kill9()


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_kill_9_right_after_each_step_leaves_the_books_balanced(factory: Factory, start: Start, step: int):
    factory.produce(600, seed=100 + step)
    start(failpoint=f"{step}:kill@2").await_death(60)
    worker = start()
    factory.await_done(worker)
    worker.stop()
    factory.audit(unknown_calls=True)


@volumes({"events": 3_000, "kills": 3}, {"events": 100_000, "kills": 100})
@pytest.mark.parametrize("tracks", [[1], [3, 1, 2]])
def test_kill_9_at_steps_and_at_random_leaves_the_books_balanced(
    factory: Factory, start: Start, volume: Volume, tracks: list[int], drill_report: Report
):
    """`tracks`: of the processors, one start after the other. What one leaves open, another has to end."""
    seed = 200
    generator = random.Random(seed)
    turns = itertools.cycle(tracks)
    factory.produce(volume["events"], seed=seed)
    for kill in range(volume["kills"]):
        if kill % 2:
            step = generator.randrange(1, STEPS + 1)
            failpoint = f"{step}:kill@{generator.randrange(1, 6)}"
            worker = start(failpoint=failpoint, is_async=bool(kill % 4 == 1), tracks=next(turns))
            worker.await_end_or(lambda: factory.done() == len(factory.inputs), 120)
        else:
            worker = start(is_async=bool(kill % 4), tracks=next(turns))
            begun, pause = factory.done(), generator.uniform(0.0, 0.3)
            for _ in patiently("some progress", 60):
                if factory.done() > begun or factory.done() == len(factory.inputs):
                    break
            time.sleep(pause)
        worker.kill9()
    worker = start(tracks=next(turns))
    factory.await_done(worker, timeout=600)
    worker.stop()
    found = factory.audit(unknown_calls=True, kills=volume["kills"])
    name = "exactly once: kill -9 of the processor" + (", with several tracks" if tracks != [1] else "")
    drill_report(name, seed=seed, kills=volume["kills"], **found)


@volumes({"events": 3_000, "kills": 1}, {"events": 60_000, "kills": 8})
def test_kill_9_of_the_broker_leaves_the_books_balanced(
    broker: Broker, factory: Factory, start: Start, volume: Volume, drill_report: Report
):
    seed = 300
    generator = random.Random(seed)
    factory.produce(volume["events"], seed=seed)
    worker = start()
    for kill in range(volume["kills"] + 1):
        wanted = (kill + 1) * volume["events"] // (volume["kills"] + 1)
        factory.await_done(worker, count=wanted, timeout=300)
        if kill < volume["kills"]:
            time.sleep(generator.uniform(0.0, 0.2))
            broker.kill9()
            broker.start()
    worker.stop()
    kept = worker.said("another thread goes on")
    found = factory.audit()
    drill_report("exactly once: kill -9 of the broker", seed=seed, kills=volume["kills"], kept=kept, **found)


@volumes({"events": 3_000, "members": 2}, {"events": 60_000, "members": 3})
@pytest.mark.parametrize("protocol", ["cooperative-sticky", "range", "consumer"])
def test_members_come_and_go(factory: Factory, start: Start, volume: Volume, protocol: str, drill_report: Report):
    seed = 400
    generator = random.Random(seed)
    factory.produce(volume["events"], seed=seed)
    conf: dict[str, object] = {"partition.assignment.strategy": protocol}
    if protocol == "consumer":
        conf = {"group.protocol": "consumer"}
    names = [chr(ord("a") + number) for number in range(volume["members"])]
    tracks = 1 if protocol == "range" else 2
    members = {name: start(member=name, conf=conf, tracks=tracks) for name in names}
    for turn in range(2 * volume["members"]):
        wanted = (turn + 1) * volume["events"] // (2 * volume["members"] + 2)
        factory.await_done(*members.values(), count=wanted, timeout=90)
        name = generator.choice(names)
        members[name].kill9() if turn % 2 else members[name].stop()
        members[name] = start(member=name, conf=conf, tracks=tracks)
    factory.await_done(members[names[0]], timeout=300)
    for member in members.values():
        member.stop()
    found = factory.audit(unknown_calls=True)
    drill_report(f"exactly once: rebalances, {protocol}", seed=seed, members=volume["members"], **found)


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])
def test_a_member_that_comes_while_a_dead_ones_transaction_is_open_repeats_nothing(
    factory: Factory, start: Start, strategy: str
):
    """A rebalance while offsets are undecided, which makes the client itself begin at the first event."""
    factory.produce(1_000, seed=450)
    conf = {"partition.assignment.strategy": strategy, "transaction.timeout.ms": 10_000, "socket.timeout.ms": 10_000}
    start(member="a", conf=conf, failpoint="4:kill@2").await_death(60)
    members = [start(member="b", conf=conf)]
    time.sleep(5)  # a's session ends after 3 s, its transaction after 10
    members.append(start(member="c", conf=conf))
    factory.await_done(*members)
    for member in members:
        member.stop()
    factory.audit(unknown_calls=True)


@pytest.mark.parametrize("step", [3, 4, 5, 6])
def test_a_processor_that_wakes_up_after_it_was_replaced_changes_nothing(factory: Factory, start: Start, step: int):
    factory.produce(2_000, seed=500 + step)
    zombie = start(failpoint=f"{step}:pause@2")
    zombie.await_pause(60)
    successor = start()
    factory.await_done(successor)
    zombie.thaw()
    # Its transaction was fenced; what it does about that must not touch what its successor has done.
    zombie.process.send_signal(signal.SIGTERM)
    zombie.process.wait(60)
    successor.stop()
    factory.audit(unknown_calls=True)


def test_one_slow_event_does_not_hold_the_other_partitions(factory: Factory, start: Start, tmp_path: Path):
    factory.produce(500, seed=600, fates={})
    slow = next(place for place, task in sorted(factory.inputs.items()) if task.n == 20)
    release = tmp_path / "release"
    worker = start(slow_n=20, release=str(release), max_batch_ms=200)
    others = sum(place[1] != slow[1] for place in factory.inputs)
    factory.await_done(worker, count=others, timeout=60)
    assert factory.done() < len(factory.inputs)
    release.touch()
    factory.await_done(worker)
    worker.stop()
    factory.audit()


@volumes({"events": 3_000, "kills": 1}, {"events": 60_000, "kills": 4})
def test_kill_9_of_one_of_three_brokers_leaves_the_books_balanced(
    cluster: Cluster, tmp_path: Path, volume: Volume, drill_report: Report
):
    seed = 700
    names = {"source": PARTITIONS, "target": 3, "dlq": 1, "errors": 1}
    topics = {name: cluster.create_topic(name, partitions=count) for name, count in names.items()}
    factory = Factory(cluster.bootstrap, tmp_path, group="three", **topics)
    factory.prepare()
    factory.produce(volume["events"], seed=seed)
    worker = factory.start()
    try:
        for kill in range(volume["kills"]):
            wanted = (kill + 1) * volume["events"] // (volume["kills"] + 2)
            factory.await_done(worker, count=wanted)
            victim = cluster.leader(factory.target, kill % 3)
            victim.kill9()
            time.sleep(1.0)
            victim.start()
        factory.await_done(worker, timeout=300)
        worker.stop()
    finally:
        if worker.process.poll() is None:
            worker.kill9()
    found = factory.audit()
    drill_report("exactly once: kill -9 of one of three brokers", seed=seed, kills=volume["kills"], **found)

"""How long an exactly-once processor commits nothing after kill -9: of its own process, of its broker."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benches.conftest import volume
from tests.kafka.broker import Broker
from tests.kafka.factory import Factory
from tests.kafka.processor_worker import SHORT_SESSION, ProcessorWorker

PARTITIONS = 4
PATIENCE_S = 120.0
ROUNDS = volume(5, 2)
_worlds = itertools.count(1)


@pytest.mark.parametrize(
    ("how", "conf"),
    [
        (f"session.timeout.ms={SHORT_SESSION['session.timeout.ms']}", {}),
        ("static membership", {"group.instance.id": "a"}),
    ],
)
def test_kill_9_of_the_member(
    benchmark: Any, figure: Callable[..., None], broker: Broker, disk: Path, how: str, conf: dict[str, Any]
) -> None:
    def kill(factory: Factory, worker: ProcessorWorker) -> ProcessorWorker:
        worker.kill9()
        return factory.start(conf=conf)

    report(figure, measured(benchmark, broker, disk, conf, kill), f"recovery, kill -9 and restart of the member, {how}")


def test_kill_9_of_the_broker(benchmark: Any, figure: Callable[..., None], broker: Broker, disk: Path) -> None:
    restarts: list[float] = []

    def kill(_factory: Factory, worker: ProcessorWorker) -> ProcessorWorker:
        broker.kill9()
        began = time.monotonic()
        broker.start()
        restarts.append(time.monotonic() - began)
        return worker

    found = measured(benchmark, broker, disk, {}, kill)
    report(
        figure,
        found,
        "recovery, kill -9 and restart of the only broker",
        f"; of that {statistics.median(restarts):.1f} s until the broker answers again",
    )


def measured(
    benchmark: Any,
    broker: Broker,
    disk: Path,
    conf: dict[str, Any],
    kill: Callable[[Factory, ProcessorWorker], ProcessorWorker],
) -> list[float]:
    """Kill in the midst of the work, once per round; seconds from the kill to the next commit.

    Every round ends with the whole work done and its books audited: a quick recovery that loses something is none.
    """
    count, found = volume(20_000, 8_000), []

    def one_round() -> None:
        factory = new_factory(broker, disk)
        factory.produce(count, seed=1, fates={})
        worker = factory.start(conf=conf)
        await_more_than(factory, worker, count // 4)
        killed = time.monotonic()
        worker = kill(factory, worker)
        # What was committed just before the kill is no recovery.
        await_more_than(factory, worker, factory.done())
        found.append(time.monotonic() - killed)
        factory.await_done(worker)
        worker.stop()
        try:
            factory.audit(kills=1)
        except AssertionError as error:
            error.add_note(f"the last process said:\n{worker.errors()}")
            raise

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    return found


def new_factory(broker: Broker, disk: Path) -> Factory:
    """Topics and a receipt log of their own."""
    name = f"recovery-{next(_worlds)}"
    directory = disk / name
    directory.mkdir()
    source = broker.create_topic(f"{name}-source", partitions=PARTITIONS)
    target, dlq, errors = (broker.create_topic(f"{name}-{role}") for role in ("target", "dlq", "errors"))
    made = Factory(broker.bootstrap, directory, source, target, dlq, errors, group=name)
    made.prepare()
    return made


def await_more_than(factory: Factory, worker: ProcessorWorker, done: int) -> None:
    """Return when more than `done` inputs are committed."""
    deadline = time.monotonic() + PATIENCE_S
    while factory.done() <= done:
        assert time.monotonic() < deadline, f"still {done} inputs are committed"
        assert worker.process.poll() is None, worker.errors()
        time.sleep(0.02)


def report(figure: Callable[..., None], found: list[float], name: str, more: str = "") -> None:
    """Hand over the median of the rounds."""
    figure(
        group="exactly once",
        name=name,
        value=statistics.median(found),
        unit="s",
        conditions=f"kill to next commit, median of {len(found)}, slowest {max(found):.1f} s{more}",
    )

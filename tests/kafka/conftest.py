"""What the tests on the broker share: topics of their own, and a cluster of three for the tests that need one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from chio_fast import Signer
from chio_fast.kafka import inflow
from chio_fast.kafka.transaction import Transaction
from tests.conftest import require_broker
from tests.kafka.broker import Broker, Cluster
from tests.kafka.scenario import IDENTITY, Scenario
from tests.kafka.transactions import ignore
from tests.kafka.worker import Settings, Worker

_numbers = itertools.count(1)


@pytest.fixture
def new_topic(broker: Broker, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Creates a topic that no other test knows: `new_topic(partitions=3, config={"max.message.bytes": 1000})`."""

    def create(label: str = "", *, partitions: int = 1, config: dict[str, str | int] | None = None) -> str:
        words = re.sub(r"[^a-zA-Z0-9]+", "-", f"{request.node.name}-{label}")[:80].strip("-")
        return broker.create_topic(f"{words}-{next(_numbers)}", partitions=partitions, config=config)

    return create


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers of a test's own (about 1.2 GB): for tests that lose a leader."""
    require_broker(request.config)
    with Cluster(tmp_path_factory.mktemp("kafka") / "cluster") as running:
        yield running


@pytest.fixture
def conf(broker: Broker, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A configuration for consumer and producer, with a group of the test's own."""
    return {"bootstrap.servers": broker.bootstrap, "group.id": request.node.name, "log_level": 0}


@pytest.fixture
def start_transaction() -> Iterator[Callable[[dict[str, Any], str], Transaction]]:
    """Starts a producer by its configuration and transactional id; it is closed at the end."""
    started: list[Transaction] = []

    def start(conf: dict[str, Any], transactional_id: str) -> Transaction:
        started.append(Transaction(conf, transactional_id, on_error=ignore))
        started[-1].start()
        return started[-1]

    yield start
    for transaction in started:
        transaction.close()


@pytest.fixture
def scenario(broker: Broker, new_topic: Callable[..., str], tmp_path: Path) -> Scenario:
    """Two topics with five partitions in all, a DLQ topic, a key: a world of the test's own."""
    topics = [new_topic("a", partitions=3), new_topic("b", partitions=2)]
    made = Scenario(broker, tmp_path, topics, new_topic("dlq"), group=f"group-{next(_numbers)}-{tmp_path.name}")
    Signer.generate(made.key_path)
    return made


@pytest.fixture(params=["past the client's objects", "as the client's objects"])
def either_road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a test run twice: with messages that come as consumers prefer, and as they come where that road is closed."""
    if request.param == "as the client's objects":

        def closed(_consumer: object) -> NoReturn:
            raise RuntimeError("closed by the test")

        monkeypatch.setattr(inflow, "Inlet", closed)


@pytest.fixture
def start_worker(scenario: Scenario) -> Iterator[Callable[..., Worker]]:
    """Starts governed consumers in processes of their own, and notes at the end what they handed out."""
    workers: list[Worker] = []

    def start(*, conf: dict[str, Any] | None = None, **settings: Any) -> Worker:
        worker = Worker(
            Settings(
                conf=scenario.conf(session_timeout_ms=6000, heartbeat_interval_ms=500) | (conf or {}),
                scope_map={topic: f"events:consume:{topic}" for topic in scenario.topics},
                dlq_topic=scenario.dlq,
                policy=scenario.policy,
                receipt_log=str(scenario.log_path),
                signer=str(scenario.key_path),
                output=str(scenario.directory / f"worker-{len(workers)}.txt"),
                identity=IDENTITY,
                **settings,
            )
        )
        workers.append(worker)
        scenario.workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill9()

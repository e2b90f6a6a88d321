"""What every test may use: the real broker and the database server that they share, and a loud word without them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import drills
from tests.kafka import distribution
from tests.kafka.broker import Broker
from tests.postgres import PostgresServer, PostgresUnavailableError

BROKER_FIXTURES = {"broker", "empty_broker", "new_topic", "cluster"}
REQUIRE_BROKER = "CHIO_REQUIRE_BROKER"
REQUIRE_POSTGRES = "CHIO_REQUIRE_POSTGRES"

# What was not tested for want of these parts is told by the reports, which come from all processes of a run.
PARTS = {"broker": BROKER_FIXTURES, "postgres": {"postgres"}}

_unavailable = pytest.StashKey[str]()
_drills = pytest.StashKey[dict[str, dict[str, object]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Lets `make drill` name the document that gets the figures."""
    parser.addoption("--drill-report", type=Path, help="the Markdown file that gets the table of the drills that ran")


@pytest.fixture
def drill_report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Notes the figures of a drill for the report: `drill_report("kill -9 of a consumer", seed=7, kills=200)`."""

    def note(name: str, **figures: object) -> None:
        request.config.stash.setdefault(_drills, {})[name] = figures

    return note


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One running Kafka broker for the whole session; a test that kills it starts it again before it ends."""
    require_broker(request.config)
    with Broker(tmp_path_factory.mktemp("kafka") / "broker") as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One running PostgreSQL server for the whole session; each log has a schema of its own."""
    try:
        server = PostgresServer()
    except PostgresUnavailableError as error:
        if os.environ.get(REQUIRE_POSTGRES) == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with server:
        yield server


def require_broker(config: pytest.Config) -> None:
    """Skips the test when no broker can run here; fails it instead when `CHIO_REQUIRE_BROKER=1` is set."""
    if _unavailable not in config.stash:
        try:
            distribution.prepare()
        except distribution.BrokerUnavailableError as error:
            config.stash[_unavailable] = str(error)
    reason = config.stash.get(_unavailable, None)
    if reason is None:
        return
    if os.environ.get(REQUIRE_BROKER) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that uses the broker, and notes in the report which real parts each needs: CI counts them."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        item.user_properties += [(part, "real") for part, names in PARTS.items() if names.intersection(fixtures)]
        if BROKER_FIXTURES.intersection(fixtures):
            item.add_marker(pytest.mark.broker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Counts each test that goes without the broker, not only the first one that asked for it."""
    if item.get_closest_marker("broker"):
        require_broker(item.config)
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says in red which promises were not tested for want of a broker or a database; writes the drills down."""
    skipped = terminalreporter.stats.get("skipped", ())
    for part in PARTS:
        missed = [report for report in skipped if (part, "real") in report.user_properties]
        if missed:
            terminalreporter.section(f"THE {part.upper()} TESTS DID NOT RUN", red=True, bold=True)
            terminalreporter.line(f"{len(missed)} tests were skipped: {missed[0].longrepr[2]}", red=True)
    found, document = config.stash.get(_drills, {}), config.getoption("drill_report")
    if found and document:
        drills.write_table(document, found)

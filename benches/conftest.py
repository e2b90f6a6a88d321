"""What the benches share: a broker with its data on a disk, the filled topics, and the way figures get out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benches.figures import Figure
from benches.kafka import workload
from tests.conftest import require_broker
from tests.kafka.broker import QUICK_JVM, SERVER_JVM, Broker

ROOT = Path(__file__).resolve().parents[1]
REDUCED = os.environ.get("CHIO_BENCH_REDUCED") == "1"
IS_SERVER_JVM = os.environ.get("CHIO_BENCH_SERVER_JVM") == "1"


def volume(full: int, reduced: int) -> int:
    """How many events to use: the full number, or the smaller one that `make bench-check` asks for."""
    return reduced if REDUCED else full


ROUNDS = volume(5, 3)


@pytest.fixture(scope="session")
def disk() -> Iterator[Path]:
    """A folder below `target/`, which is on a disk where /tmp may be memory."""
    parent = ROOT / "target" / "benches"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, disk: Path) -> Iterator[Broker]:
    """One real broker for all benches."""
    require_broker(request.config)
    with Broker(disk / "kafka", heap_mb=768, jvm=SERVER_JVM if IS_SERVER_JVM else QUICK_JVM) as running:
        yield running


@pytest.fixture(scope="session")
def filled(broker: Broker) -> Callable[[int], str]:
    """Gives the name of a topic that holds exactly this many events; each size is filled once."""
    sizes: set[int] = set()

    def topic(count: int) -> str:
        name = f"bench-{count}"
        if count not in sizes:
            workload.fill(broker, name, count)
            sizes.add(count)
        return name

    return topic


@pytest.fixture
def figure(benchmark: Any) -> Callable[..., None]:
    """Hands a figure to the report: `figure(group=…, name=…, value=…, unit=…)`."""

    def hand_over(**fields: Any) -> None:
        found = msgspec.to_builtins(Figure(**fields))
        benchmark.extra_info.setdefault("figures", []).append(found)

    return hand_over

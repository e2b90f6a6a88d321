"""What the tests on the broker share: topics of their own, and a cluster of three for the tests that need one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import require_broker
from tests.kafka.broker import Broker, Cluster

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

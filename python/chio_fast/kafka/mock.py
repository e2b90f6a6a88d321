"""librdkafka's mock cluster: a broker inside this process, for demonstrations and quick looks.

It keeps groups, headers and plain commits. It has no durability, no isolation of transactions, no access control and
at most 5 MiB in each partition, so nothing that is seen on it says anything about a transaction or a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Producer

if TYPE_CHECKING:
    from types import TracebackType

STARTUP_SECONDS = 10.0


class MockCluster:
    """A running mock cluster; it lives as long as this object.

    Attributes:
        bootstrap_servers: for the `bootstrap.servers` of clients in this process or another one on this machine.
    """

    def __init__(self, brokers: int = 1) -> None:
        # The handle that owns the brokers is an ordinary producer, which must stay open.
        self._owner: Producer | None = Producer({"test.mock.num.brokers": brokers, "log_level": 3})
        metadata = self._owner.list_topics(timeout=STARTUP_SECONDS)
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the brokers; what they hold is gone."""
        self._owner = None

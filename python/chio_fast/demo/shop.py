"""The shop of the demonstration at work: its topics filled, its agents running, everything governed."""

from __future__ import annotations

import json
import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, Self

import msgspec

from chio_fast._native import Event
from chio_fast.demo import story
from chio_fast.enforcer import CheckRequest, Enforcer
from chio_fast.errors import ChioDenied, ChioError
from chio_fast.kafka import ChioConsumerMiddleware
from chio_fast.kafka.examine import Cluster
from chio_fast.kafka.mock import MockCluster
from chio_fast.kafka.producing import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from chio_fast.decision import Decision
    from chio_fast.kafka.stats import ConsumerStats

DLQ_TOPIC = "denied"
PARTITIONS = 4
BATCH = 500
ACT_ON_EVERY = 250
"""Of how many orders one is charged by an agent; the others are only consumed."""
PATIENCE = 30.0
"""Seconds without any event after which the demonstration gives up."""


class Counts(msgspec.Struct):
    """What happened in one part of the demonstration.

    Attributes:
        seconds: wall time.
        consumed: events handed to the agent.
        denied: events that went to the DLQ.
        calls: tool calls that ran.
        calls_denied: tool calls that did not.
        produced: events sent.
        produced_denied: events that were not.
    """

    seconds: float = 0.0
    consumed: int = 0
    denied: int = 0
    calls: int = 0
    calls_denied: int = 0
    produced: int = 0
    produced_denied: int = 0

    @property
    def rate(self) -> float:
        """Events per second through the consume boundary."""
        return (self.consumed + self.denied) / self.seconds if self.seconds else 0.0


class Shop:
    """The embedded broker, the enforcer and the agents.

    Args:
        folder: where policy and receipt log lie.
        conf: settings of the client for a cluster of the user's; None for an embedded broker.
    """

    def __init__(self, folder: Path, conf: Mapping[str, Any] | None = None) -> None:
        self.random = Random(story.SEED)  # noqa: S311 - a story, not a secret
        self.cluster = MockCluster() if conf is None else None
        # The embedded broker vanishes at the end, which the clients' own log would report for each connection.
        own = {"bootstrap.servers": self.cluster.bootstrap_servers, "log_level": 2} if self.cluster else {}
        self.conf: dict[str, Any] = {**own, **(conf or {})}
        # Topics of its own in each run, so that it meets neither the user's nor those of a former run.
        self.prefix = "" if self.cluster else f"chio-demo-{time.strftime('%Y%m%d-%H%M%S')}-"
        self.enforcer = Enforcer(folder / "policy.yaml", receipt_log=folder / "receipts.db", identity="shop")
        self.feed = Feed.from_config(self.conf)
        self._create_topics()
        self.last_payment: str | None = None
        self.sent: Counter[str] = Counter()
        self.enforcer.tool("charge_payment", lambda order, amount: {"charged": amount, "order": order})
        self.enforcer.tool("search", lambda url: {"url": url, "hits": 3})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.enforcer.close()
        if self.cluster is not None:
            self.cluster.close()

    @property
    def dlq_topic(self) -> str:
        """Name of the DLQ topic."""
        return f"{self.prefix}{DLQ_TOPIC}"

    def _create_topics(self) -> None:
        names = [f"{self.prefix}{name}" for name in ("orders", "research", "payments", "findings", DLQ_TOPIC)]
        if self.cluster is not None:
            # The mock cluster creates what is asked for, and knows no other way.
            self.feed.create(*names)
            return
        for found in Cluster(self.conf).create(names, partitions=PARTITIONS):
            if found.status == "error":
                raise ChioError(f"{found.what}: {found.message}")

    def seed(self, orders: int, tasks: int, advance: Callable[[int], None]) -> None:
        """Fill the topics; orders are produced by a governed service, so that chains begin there."""
        for begin in range(0, orders, BATCH):
            batch = [story.order(self.random, number) for number in range(begin, min(begin + BATCH, orders))]
            requests = [
                CheckRequest(scope="events:produce:orders", identity="order-service", output=self._output(record))
                for record in batch
            ]
            for record, decision in zip(batch, self.enforcer.check_batch(requests), strict=True):
                self._send(*record, receipt=decision)
            advance(begin + len(batch))
        self.enforcer.seal()
        for number in range(tasks):
            self._send(*story.task(self.random, number))
        self.feed.flush()

    def _output(self, record: story.Seed) -> dict[str, Any]:
        return {**record._asdict(), "topic": f"{self.prefix}{record.topic}"}

    def charge_orders(self, advance: Callable[[int], None]) -> Counts:
        """Payment agents consume all orders and charge some of them."""
        counts = Counts()
        with self._consumer("payment-agents", "orders") as consumer:
            for number, event in enumerate(_events(consumer, counts, self.sent["orders"], advance)):
                if number % ACT_ON_EVERY == 0:
                    self._charge(event, counts)
        return counts

    def research(self, advance: Callable[[int], None]) -> Counts:
        """Research agents handle every task: one search, one finding."""
        counts = Counts()
        with self._consumer("research-agents", "research") as consumer:
            for number, event in enumerate(_events(consumer, counts, self.sent["research"], advance)):
                with event:
                    self._search(counts)
                    finding = json.dumps(story.finding(self.random, number)).encode()
                    self._produce("findings", "research-agents", finding, counts)
        return counts

    def settle(self) -> Counts:
        """The order service hears of the payments."""
        counts = Counts()
        with self._consumer("order-service", "payments") as consumer:
            for event in _events(consumer, counts, self.sent["payments"], lambda done: None):
                self.last_payment = event.chio_receipt_id
        return counts

    def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, str | bytes | None]],
        receipt: Decision | None = None,
    ) -> None:
        self.feed.send(f"{self.prefix}{topic}", key, value, headers, receipt=receipt)
        self.sent[topic] += 1

    def _consumer(self, identity: str, topic: str) -> ChioConsumerMiddleware:
        return ChioConsumerMiddleware.from_config(
            {**self.conf, "group.id": f"{self.prefix}{identity}"},
            scope_map={f"{self.prefix}{topic}": f"events:consume:{topic}"},
            identity=identity,
            dlq_topic=self.dlq_topic,
            enforcer=self.enforcer,
            batch_size=BATCH,
            anchor_topic=None,
        )

    def _charge(self, event: Event, counts: Counts) -> None:
        order = json.loads(event.value())
        arguments = {"order": order["order"], "amount": order["amount"]}
        with event:
            self.enforcer.invoke("charge_payment", "tools:charge:card", arguments, identity="payment-agents")
            counts.calls += 1
            paid = json.dumps({**arguments, "status": "charged"}).encode()
            self._produce("payments", "payment-agents", paid, counts)

    def _search(self, counts: Counts) -> None:
        try:
            arguments = {"url": story.search_url(self.random)}
            self.enforcer.invoke("search", "tools:search:web", arguments, identity="research-agents")
            counts.calls += 1
        except ChioDenied:
            counts.calls_denied += 1

    def _produce(self, topic: str, identity: str, value: bytes, counts: Counts) -> None:
        output = {"topic": f"{self.prefix}{topic}", "value": value}
        decision = self.enforcer.check(f"events:produce:{topic}", identity=identity, output=output)
        if decision.allowed:
            self._send(topic, None, value, [], receipt=decision)
            counts.produced += 1
        else:
            counts.produced_denied += 1


def _events(
    consumer: ChioConsumerMiddleware, counts: Counts, expected: int, advance: Callable[[int], None]
) -> Iterator[Event]:
    """Every allowed event until all of the topic are decided, committing batch by batch; fills the counts.

    Raises:
        ChioError: events are missing.
    """
    started = last = time.monotonic()
    while counts.consumed + counts.denied < expected:
        if not counts.consumed + counts.denied:
            # Joining the group takes seconds, and is no work.
            started = time.monotonic()
        for event in consumer.consume(BATCH, 0.1):
            if isinstance(event, Event):
                yield event
        stats: ConsumerStats = consumer.stats()
        now = time.monotonic()
        if stats.handed_out + stats.denied > counts.consumed + counts.denied:
            consumer.commit()
            counts.consumed, counts.denied = stats.handed_out, stats.denied
            counts.seconds = now - started
            advance(counts.consumed + counts.denied)
            last = now
        elif now - last > PATIENCE:
            raise ChioError(f"only {counts.consumed + counts.denied} of {expected} events came within {PATIENCE:g} s")
    consumer.commit(asynchronous=False)
    counts.seconds = time.monotonic() - started

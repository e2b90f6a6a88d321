"""One test's world: topics of its own, seeded events of which it knows the fate, and an audit at the end."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, Producer

from chio_fast import Event, Policy
from chio_fast.kafka import ChioConsumerMiddleware, envelope
from tests.kafka import receipts
from tests.kafka.broker import Broker
from tests.kafka.patience import PATIENCE, patiently
from tests.kafka.receipts import OwnLog
from tests.kafka.topics import Place, committed, delivered, place, read
from tests.kafka.worker import Worker

IDENTITY = "workers"
POLICY = """
chio: policy/v1
identities:
  workers:
    capabilities: ["events:consume:*"]
rules:
  - id: no-secrets
    effect: deny
    identities: [workers]
    scopes: ["events:consume:*"]
    when: event.value.secret == true
    reason: secrets stay where they are
"""
OPEN_POLICY = """
chio: policy/v1
identities:
  workers:
    capabilities: ["events:consume:*"]
"""
CLOSED_POLICY = """
chio: policy/v1
identities:
  somebody-else:
    capabilities: ["events:consume:*"]
"""

STRATEGIES = ["range", "cooperative-sticky", "next generation"]


def protocol(strategy: str) -> dict[str, str]:
    """Settings for an assignment strategy, or for the group protocol in which the broker assigns (KIP-848)."""
    if strategy == "next generation":
        return {"group.protocol": "consumer"}
    return {"partition.assignment.strategy": strategy}


def own(consumer: ChioConsumerMiddleware) -> set[int]:
    """Numbers of the partitions that it holds."""
    return {part.partition for part in consumer.stats().partitions}


class Order(msgspec.Struct):
    """The value of a seeded event."""

    n: int
    secret: bool
    pad: str


@dataclass
class Scenario(OwnLog):
    """Topics, events and consumers of one test.

    Attributes:
        broker: the shared one.
        directory: for the receipt log and the policy.
        topics: those that are consumed.
        dlq: the topic for denied events.
        group: the consumer group.
        policy: the document that `consumer` uses unless told otherwise.
        fates: whether each event that was produced has to be denied.
        handed: every hand-out that was seen, in order.
        workers: processes whose hand-outs count as well.
    """

    broker: Broker
    directory: Path
    topics: list[str]
    dlq: str
    group: str
    policy: str = POLICY
    fates: dict[Place, bool] = field(default_factory=dict)
    handed: list[tuple[Place, str]] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    @property
    def topic(self) -> str:
        """The first of the topics."""
        return self.topics[0]

    def conf(self, **overrides: Any) -> dict[str, Any]:
        """A confluent configuration for the group; `a_b` stands for `a.b`."""
        base = {"bootstrap.servers": self.broker.bootstrap, "group.id": self.group, "log_level": 2}
        return base | {name.replace("_", "."): value for name, value in overrides.items()}

    def consumer(
        self, conf: dict[str, Any] | None = None, *, is_ours: bool = True, **arguments: Any
    ) -> ChioConsumerMiddleware:
        """Builds a governed consumer of all topics; the client's own part of it, too, or as an application does."""
        if "enforcer" not in arguments:
            arguments.setdefault("policy", Policy.from_yaml(self.policy))
            arguments.setdefault("receipt_log", self.log_path)
            arguments.setdefault("signer", self.key_path)
        arguments.setdefault("scope_map", {topic: f"events:consume:{topic}" for topic in self.topics})
        arguments.setdefault("identity", IDENTITY)
        arguments.setdefault("dlq_topic", self.dlq)
        conf = conf or self.conf()
        if is_ours:
            return ChioConsumerMiddleware.from_config(conf, **arguments)
        return ChioConsumerMiddleware(Consumer({"enable.auto.commit": False, **conf}), **arguments)

    @contextmanager
    def by_hand(self) -> Iterator[ChioConsumerMiddleware]:
        """Builds one that its group has given nothing: the client then takes partitions in whatever way."""
        for _ in patiently("a consumer that left its group in time"):
            given: list[object] = []
            consumer = self.consumer(on_assign=lambda _consumer, partitions, given=given: given.append(partitions))
            consumer.unsubscribe()
            consumer.poll(0.5)  # what the group had given by then comes and goes
            if not given:
                break
            consumer.close()
        with consumer:
            yield consumer

    def produce(self, count: int, *, seed: int = 1, denied: float = 0.1, topic: str | None = None) -> list[Place]:
        """Writes `count` events over all partitions, of which a share has to be denied; waits for every one."""
        generator = random.Random(seed)
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "linger.ms": 5, "acks": "all"})
        wanted = [topic] if topic else self.topics
        partitions = {name: len(producer.list_topics(name, timeout=10).topics[name].partitions) for name in wanted}
        places: list[Place] = []

        def note(where: Place, secret: bool) -> None:
            self.fates[where] = secret
            places.append(where)

        for n in range(count):
            name = generator.choice(wanted)
            order = Order(n, generator.random() < denied, "x" * generator.randrange(200))
            producer.produce(
                name,
                key=str(generator.randrange(100)),
                value=msgspec.json.encode(order),
                headers=[("source", b"scenario"), ("n", str(n).encode())],
                partition=generator.randrange(partitions[name]),
                on_delivery=delivered(partial(note, secret=order.secret)),
            )
            producer.poll(0)
        assert producer.flush(PATIENCE) == 0
        return places

    def raw_produce(self, value: bytes | None, *, topic: str | None = None, partition: int = 0, **more: Any) -> Place:
        """Writes one record as it is."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "message.max.bytes": 8_000_000})
        seen: list[Place] = []

        to = topic or self.topic
        producer.produce(to, value=value, partition=partition, on_delivery=delivered(seen.append), **more)
        assert producer.flush(PATIENCE) == 0
        return seen[0]

    def note(self, events: Iterable[Any]) -> int:
        """Remembers hand-outs; gives their number."""
        new = [(place(event), event.chio_receipt_id or "") for event in events if isinstance(event, Event)]
        self.handed.extend(new)
        return len(new)

    def take(self, consumer: ChioConsumerMiddleware, count: int, *, batch: int = 100) -> list[Event]:
        """Takes exactly `count` events, or fails when they do not come."""
        taken: list[Event] = []
        for _ in patiently(f"{count} events"):
            for event in consumer.consume(min(batch, count - len(taken)), 0.5):
                assert isinstance(event, Event)
                taken.append(event)
            if len(taken) >= count:
                break
        self.note(taken)
        return taken

    @staticmethod
    def await_dead_letters(consumer: ChioConsumerMiddleware, count: int) -> None:
        """Polls, without getting an event, until the consumer has `count` DLQ records acknowledged."""
        for _ in patiently(f"{count} dead letters"):
            assert consumer.poll(0.1) is None
            if consumer.stats().dead_letters == count:
                return

    def finish(self, consumer: ChioConsumerMiddleware, *, batch: int = 100) -> None:
        """Takes and commits until every event that was produced is committed."""
        for _ in patiently("lag 0"):
            if self.note(consumer.consume(batch, 0.2)):
                consumer.commit()
            elif self.lag() == 0:
                break

    def committed(self) -> dict[tuple[str, int], int]:
        """The group's committed offsets; -1001 where there is none."""
        return committed(self.broker.bootstrap, self.group, *self.topics)

    def lag(self) -> int:
        """How many of the produced events are not committed."""
        ends = self.committed()
        return sum(offset >= ends[topic, partition] for topic, partition, offset in self.fates)

    def dead_letters(self) -> list[envelope.DeadLetter]:
        """Everything in the DLQ topic."""
        return [envelope.decode(message.value() or b"") for message in self.read(self.dlq)]

    def read(self, topic: str) -> list[Message]:
        """Every record of `topic` up to its end of now."""
        return list(read(self.broker.bootstrap, topic))

    def audit(self, *, duplicates: bool = False) -> None:
        """Checks that every event met its fate, and that every receipt of the log verifies.

        Args:
            duplicates: whether deliveries may repeat, each with a higher attempt; without, none may.

        Receipts of events that were issued and never seen, because the process died in between, are allowed for: they
        count as attempts.
        """
        for worker in self.workers:
            self.handed.extend(worker.hand_outs())
        letters = self.dead_letters()
        handed = [where for where, _ in self.handed]
        dead = [letter_place(letter) for letter in letters]
        assert set(handed) == {where for where, secret in self.fates.items() if not secret}, "handed out"
        assert set(dead) == {where for where, secret in self.fates.items() if secret}, "dead letters"
        if not duplicates:
            assert [where for where, times in Counter(handed).items() if times > 1] == []
            assert [where for where, times in Counter(dead).items() if times > 1] == []
        self.verify()
        found = receipts.consume_receipts(self.log_path)
        self._audit_attempts(found, duplicates=duplicates)
        self._audit_letters(letters, found)
        assert {receipt.place for receipt in found.values()} == set(self.fates), "receipts"
        for where, receipt_id in self.handed:
            # What a killed process handed out and had not committed may have no durable receipt: it is redelivered.
            if receipt_id in found or not duplicates:
                assert found[receipt_id].place == where
                assert found[receipt_id].verdict == "allow"

    def attempts(self) -> dict[str, int]:
        """The attempt that each consume receipt says, by its id."""
        return {receipt.id: receipt.attempt for receipt in receipts.consume_receipts(self.log_path).values()}

    @staticmethod
    def _audit_attempts(found: dict[str, receipts.ConsumeReceipt], *, duplicates: bool) -> None:
        attempts: dict[Place, list[int]] = defaultdict(list)
        for receipt in found.values():
            attempts[receipt.place].append(receipt.attempt)
        for where, numbers in attempts.items():
            assert numbers == sorted(set(numbers)), f"attempts of {where} do not rise: {numbers}"
            assert numbers[0] == 1, f"{where} begins with attempt {numbers[0]}"
            assert duplicates or len(numbers) == 1, f"{where} was receipted {len(numbers)} times"

    @staticmethod
    def _audit_letters(letters: list[envelope.DeadLetter], found: dict[str, receipts.ConsumeReceipt]) -> None:
        for letter in letters:
            receipt = found[letter.chio_denial.receipt_id or ""]
            assert receipt.place == letter_place(letter)
            assert receipt.verdict != "allow"
            assert letter.request == f"chio-kafka-{letter.original_topic}-{receipt.place[1]}-{receipt.place[2]}"
            assert letter.attempt in (receipt.attempt, None)


def letter_place(letter: envelope.DeadLetter) -> Place:
    """Where a denied event came from."""
    return letter.original_topic, letter.original_partition or 0, letter.original_offset or 0

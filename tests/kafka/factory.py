"""The world of the exactly-once drills: inputs with keys, processors that may die, and the books at the end."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from chio_fast import Receipt, ReceiptLog, Signer
from chio_fast.kafka import envelope
from tests.kafka.patience import patiently
from tests.kafka.processor_worker import ProcessorSettings, ProcessorWorker
from tests.kafka.receipts import OwnLog
from tests.kafka.scenario import letter_place
from tests.kafka.topics import Place, committed, delivered, read

IDENTITY = "works"
POLICY = """
chio: policy/v1
identities:
  works:
    capabilities: ["events:consume:*", "events:produce:*", "tools:count"]
rules:
  - id: no-secrets
    effect: deny
    identities: [works]
    scopes: ["events:consume:*"]
    when: event.value.fate == "deny"
"""
WAIT = 30.0


class Task(msgspec.Struct):
    """The value of an input.

    Attributes:
        n: its number.
        fate: `pass`, `deny` (by the policy), `tool` (one tool call), `fail` (its handler always raises), `once` (its
            handler raises at the first attempt).
        pad: makes sizes differ.
    """

    n: int
    fate: str
    pad: str


class Product(msgspec.Struct):
    """The value of an output: which input it is of."""

    topic: str
    partition: int
    offset: int
    n: int


@dataclass
class Factory(OwnLog):
    """Topics, inputs and processors of one drill.

    Attributes:
        bootstrap: of the brokers.
        directory: for log, key and the tool's counter.
        source: the topic that is consumed.
        target: the topic of the outputs.
        dlq: for denied inputs.
        errors: for inputs whose handler failed.
        group: of the processors.
        inputs: every input by its place.
    """

    bootstrap: str
    directory: Path
    source: str
    target: str
    dlq: str
    errors: str
    group: str
    inputs: dict[Place, Task] = field(default_factory=dict)

    @property
    def calls_path(self) -> Path:
        """Gets a line per tool call: the idempotency key."""
        return self.directory / "calls.txt"

    def prepare(self) -> None:
        """Make the key that all processors share."""
        Signer.generate(self.key_path)

    def settings(self, **changes: Any) -> ProcessorSettings:
        """What a processor of this factory is told."""
        return ProcessorSettings(
            **{
                "bootstrap": self.bootstrap,
                "group": self.group,
                "source": self.source,
                "target": self.target,
                "dlq": self.dlq,
                "errors": self.errors,
                "policy": POLICY,
                "receipt_log": str(self.log_path),
                "signer": str(self.key_path),
                "calls": str(self.calls_path),
                "identity": IDENTITY,
                **changes,
            }
        )

    def start(self, **changes: Any) -> ProcessorWorker:
        """Start a processor in a process of its own."""
        return ProcessorWorker(self.settings(**changes))

    def produce(self, count: int, *, seed: int, fates: dict[str, float] | None = None) -> None:
        """Write `count` inputs; `fates` gives the share of those that do not simply pass."""
        generator = random.Random(seed)
        shares = fates if fates is not None else {"deny": 0.05, "tool": 0.05, "once": 0.01, "fail": 0.01}
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5, "acks": "all"})
        partitions = len(producer.list_topics(self.source, timeout=WAIT).topics[self.source].partitions)

        def note(where: Place, task: Task) -> None:
            self.inputs[where] = task

        for n in range(count):
            drawn, fate = generator.random(), "pass"
            for name, share in shares.items():
                if drawn < share:
                    fate = name
                    break
                drawn -= share
            task = Task(n, fate, "x" * generator.randrange(200))
            key = str(generator.randrange(50)).encode()
            producer.produce(
                self.source,
                key=key,
                value=msgspec.json.encode(task),
                partition=int(key) % partitions,
                on_delivery=delivered(partial(note, task=task)),
            )
            producer.poll(0)
        assert producer.flush(WAIT) == 0

    def done(self) -> int:
        """How many inputs are committed."""
        ends = committed(self.bootstrap, self.group, self.source)
        return sum(offset < ends[topic, partition] for topic, partition, offset in self.inputs)

    def await_done(self, *workers: ProcessorWorker, count: int | None = None, timeout: float = 120.0) -> None:
        """Return when so many inputs are committed, by default all; fail when a processor ends before that."""
        wanted = len(self.inputs) if count is None else count
        for _ in patiently(f"{wanted} inputs to be committed", timeout):
            if self.done() >= wanted:
                return
            for worker in workers:
                assert worker.process.poll() is None, worker.errors()
            time.sleep(0.1)

    def audit(self, *, unknown_calls: bool = False, kills: int = 0) -> dict[str, int]:
        """Check the books: inputs, outputs, receipts, tool calls.

        Args:
            unknown_calls: whether calls may have been made again because nobody knew what became of them.
            kills: how often the process was killed: an input that ran alone in two of them may have been given up, as
                one that ends the process is.
        """
        letters = [msgspec.json.decode(message.value(), type=dict[str, Any]) for message in self.read(self.errors)]
        ended = {_original_place(letter) for letter in letters if letter["chio_error"]["type"] == "ProcessEnded"}
        given_up = {where for where in ended if self.inputs[where].fate != "fail"}
        assert len(given_up) <= kills // 2, f"{len(given_up)} inputs were given up after {kills} kills"
        expected: dict[str, set[Place]] = defaultdict(set)
        for where, task in self.inputs.items():
            fate = "fail" if where in given_up else task.fate
            expected[{"deny": "dlq", "fail": "errors"}.get(fate, "target")].add(where)
        outputs = self.read(self.target)
        products = [msgspec.json.decode(message.value(), type=Product) for message in outputs]
        places = [(product.topic, product.partition, product.offset) for product in products]
        dead = [letter_place(envelope.decode(message.value())) for message in self.read(self.dlq)]
        failed = [_original_place(letter) for letter in letters]
        for name, found in (("target", places), ("dlq", dead), ("errors", failed)):
            twice = [where for where, times in Counter(found).items() if times > 1]
            assert not twice, f"{name}: {len(twice)} inputs twice, such as {twice[:3]}"
            missing, strange = expected[name] - set(found), set(found) - expected[name]
            assert not missing, f"{name}: {len(missing)} inputs are missing, such as {sorted(missing)[:3]}"
            assert not strange, f"{name}: {len(strange)} inputs do not belong here, such as {sorted(strange)[:3]}"
        self._audit_order(outputs, places)
        self.assert_no_transaction_is_open()
        self.verify()
        found_receipts = list(ReceiptLog.open(self.log_path).query())
        consumed = self._audit_consume_receipts(found_receipts)
        self._audit_produce_receipts(outputs, places, found_receipts, consumed)
        calls = self._audit_calls(given_up, unknown_calls=unknown_calls)
        states = Counter(receipt.batch.state for receipt in found_receipts)
        assert not states["prepared"], f"{states['prepared']} receipts are still prepared"
        return {
            "events": len(self.inputs),
            "outputs": len(outputs),
            "dead letters": len(dead),
            "failed": len(failed) - len(given_up),
            "given up": len(given_up),
            "rolled back receipts": states["rolled_back"],
            "tool calls": calls,
        }

    def read(self, topic: str) -> list[Any]:
        """Every committed record of a topic, in the order of each partition."""
        return list(read(self.bootstrap, topic))

    def assert_no_transaction_is_open(self) -> None:
        """Readers of committed data see everything up to the end of every topic."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for topic in (self.target, self.dlq, self.errors):
            partitions = admin.list_topics(topic, timeout=WAIT).topics[topic].partitions
            asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}  # type: ignore[no-untyped-call]
            ends = {
                level: {
                    (part.topic, part.partition): future.result(WAIT).offset
                    for part, future in admin.list_offsets(asked, isolation_level=level).items()
                }
                for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
            }
            stable, true = ends[IsolationLevel.READ_COMMITTED], ends[IsolationLevel.READ_UNCOMMITTED]
            assert stable == true, f"a transaction is open in `{topic}`"

    def _audit_order(self, outputs: list[Any], places: list[Place]) -> None:
        """Outputs of one key stand in the order of their inputs."""
        last: dict[bytes, int] = {}
        for message, (_, _, offset) in zip(outputs, places, strict=True):
            key = message.key()
            assert last.get(key, -1) < offset, f"outputs of key {key} are out of order at input offset {offset}"
            last[key] = offset

    def _audit_consume_receipts(self, found: list[Receipt]) -> dict[Place, str]:
        """Exactly one committed consume receipt per input."""
        committed: dict[Place, str] = {}
        for receipt in found:
            if receipt.kind == "consume" and receipt.batch.state == "committed":
                target = receipt.target
                where = (target.topic or "", target.partition or 0, int(target.offset or 0))
                assert where not in committed, f"{where} has two committed consume receipts"
                assert (receipt.verdict == "deny") == (self.inputs[where].fate == "deny")
                committed[where] = receipt.id
        assert set(committed) == set(self.inputs), "committed consume receipts"
        return committed

    @staticmethod
    def _audit_produce_receipts(
        outputs: list[Any], places: list[Place], found: list[Receipt], consumed: dict[Place, str]
    ) -> None:
        """Each output names its own committed produce receipt, whose parent is the input's consume receipt."""
        produced = {receipt.id: receipt for receipt in found if receipt.kind == "produce"}
        seen: set[str] = set()
        for message, where in zip(outputs, places, strict=True):
            named = [value.decode() for name, value in message.headers() or [] if name == envelope.HEADER_RECEIPT]
            assert len(named) == 1, f"output of {where} names {len(named)} receipts"
            receipt = produced[named[0]]
            assert receipt.batch.state == "committed"
            assert consumed[where] in receipt.parents
            assert receipt.id not in seen, f"receipt {receipt.id} stands on two outputs"
            seen.add(receipt.id)

    def _audit_calls(self, given_up: set[Place], *, unknown_calls: bool) -> int:
        """Every input of fate `tool` had its call; its key was used once, unless nobody knew what became of it."""
        lines = self.calls_path.read_text().split() if self.calls_path.exists() else []
        wanted = {where for where, task in self.inputs.items() if task.fate == "tool"}
        used = Counter(lines)
        certain = len(wanted - given_up)
        assert certain <= len(used) <= len(wanted), f"{len(used)} idempotency keys were used for {len(wanted)} calls"
        again = {key: times for key, times in used.items() if times > 1}
        assert unknown_calls or not again, f"{len(again)} calls were made more than once"
        return len(lines)


def _original_place(letter: dict[str, Any]) -> Place:
    """Where an event of the error topic came from."""
    return letter["original_topic"], letter["original_partition"], letter["original_offset"]

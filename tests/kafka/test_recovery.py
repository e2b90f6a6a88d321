"""What became of prepared batches is read from Kafka, recorded once, and never guessed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from confluent_kafka import Consumer, Producer, TopicPartition

from chio_fast import Enforcer, ReceiptLog, TrustFile
from chio_fast._native import SignedCheckpoint
from chio_fast.errors import CheckpointsError, ContradictionError
from chio_fast.kafka import checkpoints as checkpoints_module
from chio_fast.kafka import metadata
from chio_fast.kafka.attestation import Attestation
from chio_fast.kafka.checkpoints import Checkpoints, checkpoint_record
from chio_fast.kafka.config import processor_consumer_config
from chio_fast.kafka.metadata import UNKNOWN_GENERATION
from chio_fast.kafka.recovery import Recovery
from chio_fast.kafka.transaction import Transaction
from chio_fast.topics import RECORD_KEEPING
from chio_fast.verify import frames as frames_module
from tests.kafka.broker import Broker
from tests.kafka.patience import patiently
from tests.kafka.receipts import verify
from tests.kafka.scenario import IDENTITY, OPEN_POLICY
from tests.kafka.transactions import ignore, write

ONE, TWO = "group-one", "group-two"


@dataclass
class World:
    """A log, a checkpoint topic, and members of one group that prepare batches as a processor does.

    Attributes:
        broker: the shared one.
        conf: of every client.
        topic: the one that is consumed; two partitions.
        enforcer: issues into the log.
        checkpoints: reads the checkpoint topic.
        start_transaction: starts a producer that is closed at the end.
    """

    broker: Broker
    conf: dict[str, Any]
    topic: str
    enforcer: Enforcer
    checkpoints: Checkpoints
    start_transaction: Callable[..., Transaction]

    @property
    def log(self) -> ReceiptLog:
        """The log, for reading."""
        return self.enforcer.receipt_log

    def recovery(self, transactional_id: str = ONE) -> Recovery:
        """The recovery of an instance."""
        group = str(self.conf["group.id"])
        return Recovery(self.log, self.enforcer.gate, self.checkpoints, group=group, transactional_id=transactional_id)

    def producer(self, transactional_id: str = ONE) -> Transaction:
        """A producer that has started."""
        return self.start_transaction(self.conf, transactional_id)

    def attestation(self, transactional_id: str = ONE, **changes: Any) -> Attestation:
        """What a member attests that has the first event of partition 0, in generation 3."""
        told = Attestation(
            cluster=self.checkpoints.cluster_id() or "",
            group=str(self.conf["group.id"]),
            generation=3,
            member=transactional_id,
            transactional_id=transactional_id,
            ranges=Attestation.ranges_of({(self.topic, 0): (0, 1)}),
            checkpoint_topic=self.checkpoints.topic,
            checkpoint_topic_id=self.checkpoints.topic_id(),
            checkpoint_partition=0,
            high_watermark=self.checkpoints.high_watermark(0),
        )
        return msgspec.structs.replace(told, **changes)

    def prepare(self, told: Attestation) -> list[SignedCheckpoint]:
        """Steps 1 and 2: an event that was handed out becomes a prepared batch."""
        gate, log = self.enforcer.gate, self.enforcer.log
        partition = gate.partition(self.topic, 0, scope="events:consume:x", identity=IDENTITY, group=told.group)
        reader = Consumer(processor_consumer_config(self.conf | {"group.id": "reader"}, ignore))
        reader.assign([TopicPartition(self.topic, 0, 0)])
        [message] = reader.consume(1, 30)
        reader.close()
        events, _, _ = gate.admit([message], {(self.topic, 0): partition})
        allowed, _, _ = gate.take(events)
        ordinals = gate.attest(
            allowed, [], group=told.group, transactional_id=told.transactional_id, attestation=told.to_json()
        )
        assert log.wait_durable(max(ordinals), 30)
        return [log.checkpoint(ordinal) for ordinal in ordinals]

    def show(self, producer: Transaction, checkpoints: list[SignedCheckpoint]) -> int:
        """Steps 3 and 6: the checkpoint record, in a transaction that stays open; gives its offset."""
        value = checkpoint_record(checkpoints)
        write(producer, self.checkpoints.topic, value, key=producer.transactional_id, partition=0)
        return self.checkpoints.high_watermark(0) - 1

    def states(self) -> list[str]:
        """The states of the transactions' batches, in order."""
        return [batch.state for batch in self.log.batches() if batch.state != "recorded"]

    def outcomes(self) -> list[dict[str, Any]]:
        """The outcome records, in order."""
        frames = [frames_module.decode(self.log.frame(batch.batch)) for batch in self.log.batches()]
        records = [msgspec.json.decode(body) for frame in frames for body in frame.bodies if body]
        return [record for record in records if record["kind"] == "outcome"]


@pytest.fixture
def world(
    broker: Broker,
    conf: dict[str, Any],
    new_topic: Callable[..., str],
    start_transaction: Callable[..., Transaction],
    tmp_path: Path,
) -> Iterator[World]:
    """A world with one event in partition 0."""
    topic = new_topic("in", partitions=2)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(topic, b"event", partition=0)
    assert producer.flush(30) == 0
    checkpoints = Checkpoints(conf, new_topic("checkpoints", config=RECORD_KEEPING))
    policy = tmp_path / "policy.yaml"
    policy.write_text(OPEN_POLICY)
    with Enforcer(policy, receipt_log=tmp_path / "receipts.db", identity=IDENTITY) as enforcer:
        yield World(broker, conf, topic, enforcer, checkpoints, start_transaction)


def test_what_was_committed_is_committed_where_its_record_lies(world: World):
    told = world.attestation()
    producer, prepared = world.producer(), world.prepare(told)
    offset = world.show(producer, prepared)
    producer.commit()
    # The process died here; another one starts with the same id.
    world.producer()
    [resolved] = world.recovery().resolve_own()
    assert (resolved.outcome, resolved.offset) == ("committed", offset)
    assert resolved.batch.checkpoint == prepared[0].hash
    assert world.states() == ["committed"]
    [outcome] = world.outcomes()
    assert (outcome["outcome"], outcome["batch"]) == ("committed", prepared[0].hash)
    assert outcome["shown"].pop("until") > offset
    assert outcome["shown"] == {
        "cluster": told.cluster,
        "topic": world.checkpoints.topic,
        "partition": 0,
        "offset": offset,
        "from": told.high_watermark,
    }
    assert world.recovery().resolve_own() == []


@pytest.mark.parametrize("end", ["before the transaction", "before the record", "open", "aborted"])
def test_what_was_not_committed_is_rolled_back(world: World, end: str):
    producer, prepared = world.producer(), world.prepare(world.attestation())
    if end == "before the record":
        producer.begin()
        producer.produce(world.topic, value=b"output", partition=1)
        producer.flush()
    if end in ("open", "aborted"):
        world.show(producer, prepared)
    if end == "aborted":
        producer.abort()
    world.producer()
    [resolved] = world.recovery().resolve_own()
    assert (resolved.outcome, resolved.offset) == ("rolled_back", None)
    assert world.states() == ["rolled_back"]


@pytest.mark.parametrize("part", ["checkpoint", "signature"])
def test_a_forged_record_commits_nothing(world: World, caplog: pytest.LogCaptureFixture, part: str):
    """Who may write to the topic and knows a hash cannot make what was rolled back look committed."""
    producer, prepared = world.producer(), world.prepare(world.attestation())
    world.show(producer, prepared)
    producer.abort()
    entry = {"checkpoint": prepared[0].text, "hash": prepared[0].hash, "signature": prepared[0].signature}
    entry[part] = {"checkpoint": f"{prepared[0].text} ", "signature": "0" * 128}[part]
    forger = Producer({"bootstrap.servers": world.broker.bootstrap})
    forger.produce(world.checkpoints.topic, msgspec.json.encode({"checkpoints": [entry], "v": 1}), ONE, partition=0)
    assert forger.flush(30) == 0
    world.producer()
    with caplog.at_level(logging.WARNING, "chio_fast.kafka"):
        [resolved] = world.recovery().resolve_own()
    assert (resolved.outcome, resolved.offset) == ("rolled_back", None)
    assert world.states() == ["rolled_back"]
    assert prepared[0].hash in caplog.text


def test_a_genuine_record_counts_though_a_forged_one_precedes_it(world: World):
    producer, prepared = world.producer(), world.prepare(world.attestation())
    entry = {"checkpoint": prepared[0].text, "hash": prepared[0].hash, "signature": "0" * 128}
    forger = Producer({"bootstrap.servers": world.broker.bootstrap})
    forger.produce(world.checkpoints.topic, msgspec.json.encode({"checkpoints": [entry], "v": 1}), ONE, partition=0)
    assert forger.flush(30) == 0
    offset = world.show(producer, prepared)
    producer.commit()
    world.producer()
    [resolved] = world.recovery().resolve_own()
    assert (resolved.outcome, resolved.offset) == ("committed", offset)


def test_each_prepared_batch_of_an_id_has_its_own_outcome(world: World):
    producer = world.producer()
    for is_committed in (True, False, True):
        world.show(producer, world.prepare(world.attestation()))
        producer.commit() if is_committed else producer.abort()
    world.prepare(world.attestation())
    producer.renew()
    found = [each.outcome for each in world.recovery().resolve_own()]
    assert found == ["committed", "rolled_back", "committed", "rolled_back"]
    assert world.states() == found


def test_deleted_records_make_it_unknown_and_that_is_said_once(world: World, caplog: pytest.LogCaptureFixture):
    producer, prepared = world.producer(), world.prepare(world.attestation())
    world.show(producer, prepared)
    producer.commit()
    place = TopicPartition(world.checkpoints.topic, 0, world.checkpoints.high_watermark(0))
    world.broker.admin.delete_records([place])[place].result()
    recovery = world.recovery()
    with caplog.at_level(logging.ERROR, "chio_fast.kafka"):
        for _ in range(2):
            [resolved] = recovery.resolve_own()
            assert (resolved.outcome, resolved.offset) == ("unknown", None)
    assert len([record for record in caplog.records if "unknown" in record.message]) == 1
    assert world.states() == ["prepared"]
    assert world.outcomes() == []


@pytest.mark.parametrize(
    "changes", [{"cluster": "another"}, {"checkpoint_topic": "never-made"}, {"checkpoint_topic_id": "another"}], ids=str
)
def test_what_another_topic_would_tell_is_unknown(world: World, changes: dict[str, str]):
    world.producer()
    world.prepare(world.attestation(**changes))
    assert [each.outcome for each in world.recovery().resolve_own()] == ["unknown"]
    assert world.states() == ["prepared"]


def test_a_topic_that_cannot_be_read_to_its_end_decides_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    other = world.producer(TWO)
    world.producer()
    told = world.attestation()
    prepared = world.prepare(told)
    world.show(other, prepared[:0])
    monkeypatch.setattr(checkpoints_module, "READ_SECONDS", 0.5)
    recovery = world.recovery()
    with pytest.raises(CheckpointsError, match="still open"):
        recovery.resolve_own()
    assert world.states() == ["prepared"]
    other.abort()
    assert [each.outcome for each in recovery.resolve_own()] == ["rolled_back"]


@pytest.mark.parametrize(
    ("changes", "is_resolved"),
    [
        ({}, True),
        ({"generation": 4}, False),
        ({"generation": 5}, False),
        ({"generation": UNKNOWN_GENERATION}, False),
        ({"ranges": {"another": {"0": (0, 1)}}}, False),
        ({"transactional_id": ONE, "member": ONE}, False),
        ({"group": "another"}, False),
    ],
    ids=str,
)
def test_a_member_resolves_what_an_older_generation_left_of_its_partitions(
    world: World, changes: dict[str, Any], is_resolved: bool
):
    told = msgspec.structs.replace(world.attestation(TWO), **changes)
    world.prepare(told)
    recovery = world.recovery(ONE)
    assert recovery.resolve_assigned([(world.topic, 1)], generation=4) == []
    assert recovery.resolve_assigned([(world.topic, 0)], generation=UNKNOWN_GENERATION) == []
    resolved = recovery.resolve_assigned([(world.topic, 1), (world.topic, 0)], generation=4)
    assert [each.outcome for each in resolved] == (["rolled_back"] if is_resolved else [])


def test_a_commit_that_another_member_began_is_seen_by_its_successor(world: World):
    """The fetch of stable offsets waits for the open transaction; what it then reads decides the batch."""
    first = join(world)
    generation = metadata.generation_of(first)
    told = world.attestation(TWO, generation=generation)
    producer, prepared = world.producer(TWO), world.prepare(told)
    producer.begin()
    producer.send_offsets([TopicPartition(world.topic, 0, 1)], first.consumer_group_metadata())
    producer.produce(world.checkpoints.topic, key=TWO, value=checkpoint_record(prepared), partition=0)
    producer.flush()
    first.close()
    second = join(world)
    assert metadata.generation_of(second) > generation
    committing = threading.Timer(1.0, producer.commit)
    committing.start()
    began = time.monotonic()
    [committed] = second.committed([TopicPartition(world.topic, 0)], timeout=30)
    assert time.monotonic() - began > 0.5
    assert committed.offset == 1
    recovery = world.recovery(ONE)
    [resolved] = recovery.resolve_assigned([(world.topic, 0)], generation=metadata.generation_of(second))
    assert resolved.outcome == "committed"
    committing.join()
    second.close()


def join(world: World) -> Consumer:
    """A consumer that has both partitions."""
    consumer = Consumer(processor_consumer_config(world.conf, ignore))
    assert metadata.generation_of(consumer) == UNKNOWN_GENERATION
    consumer.subscribe([world.topic])
    for _ in patiently("an assignment"):
        consumer.poll(0.1)
        if len(consumer.assignment()) == 2:
            return consumer
    raise AssertionError


def test_a_clean_commit_is_recorded_with_where_its_record_would_be(world: World):
    told = world.attestation()
    producer, prepared = world.producer(), world.prepare(told)
    world.show(producer, prepared)
    producer.commit()
    world.enforcer.log.wait_durable(world.recovery().committed(prepared, told.shown()))
    assert world.states() == ["committed"]
    [outcome] = world.outcomes()
    assert outcome["shown"] == {"cluster": told.cluster, "topic": world.checkpoints.topic, "partition": 0, "from": 0}


def test_a_clean_abort_is_recorded(world: World):
    told = world.attestation()
    prepared = world.prepare(told)
    world.enforcer.log.wait_durable(world.recovery().rolled_back(prepared, told.shown()))
    assert world.states() == ["rolled_back"]


def test_an_outcome_that_kafka_contradicts_is_recorded_and_ends_the_work(world: World):
    told = world.attestation()
    producer, prepared = world.producer(), world.prepare(told)
    world.show(producer, prepared)
    world.enforcer.log.wait_durable(world.recovery(TWO).rolled_back(prepared, told.shown()))
    producer.commit()
    with pytest.raises(ContradictionError, match="is `rolled_back` there and `committed` in Kafka"):
        world.recovery(ONE).committed(prepared, told.shown())
    assert world.states() == ["committed"]
    assert [(each["outcome"], each.get("contradicts")) for each in world.outcomes()] == [
        ("rolled_back", None),
        ("committed", "rolled_back"),
    ]
    verify(world.log.path, TrustFile.of(world.enforcer.log.public_key))


def test_what_somebody_else_resolved_meanwhile_is_not_recorded_twice(world: World, monkeypatch: pytest.MonkeyPatch):
    world.producer()
    told = world.attestation()
    prepared = world.prepare(told)
    recovery = world.recovery()
    find = Checkpoints.find

    def find_later(*arguments: Any, **named: Any) -> dict[str, int]:
        world.enforcer.log.wait_durable(world.recovery(TWO).rolled_back(prepared, told.shown()))
        return find(*arguments, **named)

    monkeypatch.setattr(Checkpoints, "find", find_later)
    assert [each.outcome for each in recovery.resolve_own()] == ["rolled_back"]
    assert len(world.outcomes()) == 1


def test_attestations_are_canonical_and_read_back():
    told = Attestation(
        cluster="c",
        group='gr"üppe\n',
        generation=3,
        member="m",
        transactional_id="t",
        ranges=Attestation.ranges_of({("b", 10): (1, 2), ("b", 9): (3, 4), ("a", 0): (5, 6)}),
        checkpoint_topic="k",
        checkpoint_partition=0,
        high_watermark=7,
    )
    text = told.to_json()
    assert text == rfc8785.dumps(msgspec.json.decode(text))
    assert Attestation.from_json(text) == told
    assert told.covers([("b", 9)])
    assert not told.covers([("b", 0), ("c", 9)])
    with pytest.raises(CheckpointsError, match="not the attestation"):
        Attestation.from_json(b"{}")

"""The checkpoint topic tells what was committed, says so when it cannot, and is refused where it would forget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from chio_fast.errors import CheckpointsError, CheckpointsTrimmed, ChioConfigError
from chio_fast.kafka import checkpoints as module
from chio_fast.kafka.checkpoints import Checkpoints, checkpoint_record, read_record
from chio_fast.kafka.transaction import Transaction
from chio_fast.topics import RECORD_KEEPING, RECORD_KEEPING_PARTITIONS
from chio_fast.verify import hashing
from tests.kafka.broker import Broker, Cluster
from tests.kafka.patience import patiently
from tests.kafka.transactions import ignore, write

ID = "group-one"


def signed(name: str) -> Any:
    """What a batch's checkpoint is: its text here is a name."""
    checkpoint_hash = hashing.keyed(hashing.CHECKPOINT, name.encode()).hex()
    return SimpleNamespace(text=name, hash=checkpoint_hash, signature=f"signature of {name}", batch=1)


def record(*names: str) -> bytes:
    """The value of a record that shows these checkpoints."""
    return checkpoint_record([signed(name) for name in names])


def find(checkpoints: Checkpoints, names: Iterable[str], *places: int, **named: Any) -> dict[str, int]:
    """Where the records of these checkpoints are, by name."""
    asked = {signed(name).hash: name for name in names}
    found = checkpoints.find({key: signed(name).signature for key, name in asked.items()}, *places, **named)
    return {asked[key]: offset for key, offset in found.items()}


@pytest.fixture
def topic(new_topic: Callable[..., str]) -> str:
    """A checkpoint topic of one partition."""
    return new_topic(config=RECORD_KEEPING)


@pytest.fixture
def checkpoints(conf: dict[str, Any], topic: str) -> Checkpoints:
    """What reads it."""
    return Checkpoints(conf, topic)


@pytest.fixture
def transactions(conf: dict[str, Any], start_transaction: Callable[..., Transaction]) -> Callable[..., Transaction]:
    """Starts a producer of transactions by its id."""

    def start(transactional_id: str = ID) -> Transaction:
        return start_transaction(conf, transactional_id)

    return start


def show(transaction: Transaction, topic: str, *names: str) -> None:
    """Writes one record that shows these checkpoints, in a transaction that stays open."""
    write(transaction, topic, record(*names), key=ID, partition=0)


def test_committed_records_are_found_where_they_are(
    checkpoints: Checkpoints, transactions: Callable[..., Transaction], topic: str
):
    transaction, start = transactions(), checkpoints.high_watermark(0)
    show(transaction, topic, "aa", "ab")
    transaction.commit()
    show(transaction, topic, "b0")
    transaction.abort()
    show(transaction, topic, "cc")
    middle = checkpoints.high_watermark(0) - 1
    transaction.commit()
    bound = checkpoints.high_watermark(0)
    assert find(checkpoints, ["aa", "ab", "b0", "cc"], 0, start, bound) == {"aa": 0, "ab": 0, "cc": middle}
    assert find(checkpoints, ["cc", "aa"], 0, middle, bound) == {"cc": middle}
    assert find(checkpoints, ["zz"], 0, bound, bound) == {}
    # The log ends with the marker of a commit, which is no record: the end counts, not the last record.
    assert find(checkpoints, ["zz"], 0, start, bound) == {}


def test_the_high_watermark_is_above_records_of_open_transactions(
    checkpoints: Checkpoints, transactions: Callable[..., Transaction], topic: str, conf: dict[str, Any]
):
    show(transactions(), topic, "aa")
    reader = Consumer({**conf, "isolation.level": "read_committed"})
    _, last_stable = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    reader.close()
    assert last_stable == 0
    assert checkpoints.high_watermark(0) == 1
    assert checkpoints.low_watermark(0) == 0


def test_an_open_transaction_is_waited_for_whoever_opened_it(
    checkpoints: Checkpoints,
    transactions: Callable[..., Transaction],
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
):
    other, transaction = transactions("group-two"), transactions()
    show(other, topic, "other")
    show(transaction, topic, "aa")
    transaction.commit()
    bound = checkpoints.high_watermark(0)
    monkeypatch.setattr(module, "READ_SECONDS", 1.0)
    with pytest.raises(CheckpointsError, match="still open"):
        find(checkpoints, ["aa"], 0, 0, bound)
    monkeypatch.undo()
    aborting = threading.Timer(0.5, other.abort)
    aborting.start()
    assert find(checkpoints, ["aa", "other"], 0, 0, bound) == {"aa": 1}
    aborting.join()


def test_what_is_no_checkpoint_record_is_passed_over(
    checkpoints: Checkpoints, transactions: Callable[..., Transaction], topic: str, conf: dict[str, Any]
):
    other_text, other_signature = forged("aa", text="bb"), forged("aa", signature="another")
    producer = Producer({"bootstrap.servers": conf["bootstrap.servers"]})
    for value in (b"", b"{}", b'{"checkpoints":[{"hash":"aa"}]}', None, other_text, other_signature):
        producer.produce(topic, value, partition=0)
    assert producer.flush(10) == 0
    assert find(checkpoints, ["aa", "bb"], 0, 0, checkpoints.high_watermark(0)) == {}
    transaction = transactions()
    show(transaction, topic, "aa")
    transaction.commit()
    assert find(checkpoints, ["aa", "bb"], 0, 0, checkpoints.high_watermark(0)) == {"aa": 6}


def forged(name: str, **changes: str) -> bytes:
    """The value of a record that shows a checkpoint, and has something else in the place of one of its parts."""
    entry = {"checkpoint": name, "hash": signed(name).hash, "signature": signed(name).signature}
    entry |= {{"text": "checkpoint"}.get(part, part): value for part, value in changes.items()}
    return msgspec.json.encode({"checkpoints": [entry], "v": 1})


def test_a_record_is_read_as_it_was_written():
    assert read_record(record("aa", "bb")) == {signed(name).hash: f"signature of {name}" for name in ("aa", "bb")}


@pytest.mark.parametrize(
    "value", [b"{}", b'{"checkpoints":[{"checkpoint":"\\ud800","hash":"","signature":""}]}'], ids=["empty", "surrogate"]
)
def test_what_has_another_form_is_no_record(value: bytes):
    with pytest.raises(CheckpointsError, match="not a checkpoint record"):
        read_record(value)


def test_a_record_with_the_hash_of_another_checkpoint_is_none():
    with pytest.raises(CheckpointsError, match=f"`{signed('aa').hash}` is not the hash of its checkpoint"):
        read_record(forged("aa", text="bb"))


def test_deleted_records_are_noticed(
    checkpoints: Checkpoints, transactions: Callable[..., Transaction], topic: str, broker: Broker
):
    transaction = transactions()
    show(transaction, topic, "aa")
    transaction.commit()
    bound = checkpoints.high_watermark(0)
    place = TopicPartition(topic, 0, bound)
    broker.admin.delete_records([place])[place].result()
    with pytest.raises(CheckpointsTrimmed, match=f"begins at offset {bound}"):
        find(checkpoints, ["aa"], 0, 0, bound)
    assert find(checkpoints, ["zz"], 0, bound, bound) == {}


def test_records_that_are_deleted_while_they_are_read_are_noticed(
    checkpoints: Checkpoints,
    transactions: Callable[..., Transaction],
    topic: str,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
):
    transaction = transactions()
    show(transaction, topic, "aa")
    transaction.commit()
    bound = checkpoints.high_watermark(0)
    read = checkpoints._read

    def delete_first(*arguments: Any) -> dict[str, int]:
        place = TopicPartition(topic, 0, bound)
        broker.admin.delete_records([place])[place].result()
        return read(*arguments)

    monkeypatch.setattr(checkpoints, "_read", delete_first)
    with pytest.raises(CheckpointsTrimmed):
        find(checkpoints, ["aa"], 0, 0, bound)


def test_what_was_committed_is_found_after_its_leader_died(cluster: Cluster):
    """The client answers a question to a dead leader with no offset and no error; that is no watermark."""
    conf = {"bootstrap.servers": cluster.bootstrap, "group.id": "group", "log_level": 0}
    topic = cluster.create_topic("checkpoints", config=RECORD_KEEPING)
    checkpoints, transaction = Checkpoints(conf, topic), Transaction(conf, ID, on_error=ignore)
    transaction.start()
    show(transaction, topic, "aa")
    transaction.commit()
    transaction.close()
    bound = checkpoints.high_watermark(0)
    cluster.leader(topic).kill9()
    assert checkpoints.high_watermark(0) >= bound
    assert checkpoints.low_watermark(0) == 0
    assert find(checkpoints, ["aa", "zz"], 0, 0, bound) == {"aa": 0}


def test_a_partition_that_has_no_leader_for_a_moment_is_asked_for_again(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
):
    ask = checkpoints._admin.list_offsets
    asked: list[object] = []

    def without_leader(wanted: dict[TopicPartition, Any], **options: Any) -> dict[TopicPartition, Future[Any]]:
        asked.append(wanted)
        if len(asked) > 1:
            return ask(wanted, **options)
        answer: Future[Any] = Future()
        answer.set_exception(KafkaException(KafkaError(KafkaError._NOENT)))
        return dict.fromkeys(wanted, answer)

    monkeypatch.setattr(checkpoints, "_admin", SimpleNamespace(list_offsets=without_leader))
    assert checkpoints.high_watermark(0) == 0
    assert len(asked) >= 2


def test_a_topic_that_has_become_shorter_tells_nothing(checkpoints: Checkpoints):
    with pytest.raises(CheckpointsTrimmed, match="ends at offset 0, where 5 once was"):
        find(checkpoints, ["aa"], 0, 5, checkpoints.high_watermark(0))


def test_a_topic_that_was_created_anew_or_deleted_is_another_one(
    checkpoints: Checkpoints, transactions: Callable[..., Transaction], topic: str, broker: Broker
):
    before = checkpoints.topic_id()
    broker.delete_topic(topic)

    def ask_until_it_is_gone() -> None:
        for _ in patiently("the partition to go"):
            checkpoints.high_watermark(0)

    with pytest.raises(CheckpointsTrimmed):
        ask_until_it_is_gone()
    broker.create_topic(topic, config=RECORD_KEEPING)
    assert checkpoints.topic_id() != before
    with pytest.raises(CheckpointsTrimmed, match="created anew"):
        find(checkpoints, ["aa"], 0, 0, 0, topic_id=before)


def test_a_missing_topic_is_created_or_its_creation_spelled_out(conf: dict[str, Any], new_topic: Callable[..., str]):
    name = f"{new_topic()}-checkpoints"
    with pytest.raises(ChioConfigError, match=r"cleanup\.policy=delete retention\.bytes=-1 retention\.ms=-1"):
        Checkpoints(conf, name).ensure(create=False)
    with pytest.raises(ChioConfigError, match="does not exist"):
        Checkpoints(conf, name).partition_of(ID)
    members = [Checkpoints(conf, name) for _ in range(3)]
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(lambda each: each.ensure(create=True), members))
    Checkpoints(conf, name).ensure(create=False)
    partitions = {str(n): members[0].partition_of(str(n)) for n in range(200)}
    assert set(partitions.values()) == set(range(RECORD_KEEPING_PARTITIONS))
    # Stable over releases: what is prepared today is looked for there tomorrow.
    assert (members[0].partition_of("group-one"), members[0].partition_of("billing-7")) == (7, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cleanup.policy": "compact"},
        {"cleanup.policy": "delete,compact"},
        {"retention.ms": 60_000},
        {"retention.bytes": 1},
    ],
    ids=str,
)
def test_a_topic_that_would_forget_is_refused(
    conf: dict[str, Any], new_topic: Callable[..., str], wrong: dict[str, str | int]
):
    name = new_topic(config=RECORD_KEEPING | wrong)
    with pytest.raises(ChioConfigError, match=rf"has {next(iter(wrong))}=.* set `cleanup\.policy=delete"):
        Checkpoints(conf, name).ensure(create=True)


def test_an_ordinary_topic_is_refused_for_its_retention(conf: dict[str, Any], new_topic: Callable[..., str]):
    with pytest.raises(ChioConfigError, match=r"retention\.ms"):
        Checkpoints(conf, new_topic(config={"retention.ms": 604_800_000})).ensure(create=False)

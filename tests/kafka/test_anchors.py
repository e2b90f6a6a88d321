"""Heads of receipt logs in a topic: a log whose end was cut off, or rewritten, is found out."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from chio_fast import ChioError, ChioProducerMiddleware, Policy, ReceiptLog
from chio_fast.errors import LogBehindError
from chio_fast.kafka import anchors
from chio_fast.verify import AnchorCheck, load_trust, read_anchor
from chio_fast.verify.__main__ import main as verify_main
from tests.kafka.patience import patiently
from tests.kafka.processor_world import World, forward, running, world

if TYPE_CHECKING:
    from collections.abc import Callable

    from chio_fast.kafka import ProducerStats
    from tests.kafka.scenario import Scenario


__all__ = ["world"]


@pytest.fixture
def topic(new_topic: Callable[..., str]) -> str:
    """A topic of anchors of the test's own."""
    return new_topic("anchors", partitions=3)


def work(scenario: Scenario, topic: str, count: int = 20) -> Any:
    """Produces and takes events, and gives the statistics after the last anchor."""
    scenario.produce(count, denied=0)
    consumer = scenario.consumer(anchor_topic=topic)
    try:
        scenario.finish(consumer)
    finally:
        consumer.close()
    return consumer.stats()


def records(scenario: Scenario, topic: str) -> list[bytes]:
    return [value for _, _, value in anchors.read_topic({"bootstrap.servers": scenario.broker.bootstrap}, topic)]


def faults(scenario: Scenario, topic: str) -> list[str]:
    """Holds the log to the anchors, and gives the faults."""
    log = ReceiptLog.open(scenario.log_path)
    check = AnchorCheck(load_trust(scenario.trust.to_json()), log_id=log.log_id)
    for value in records(scenario, topic):
        check.anchor(value)
    assert check.anchors > 0
    for batch in log.batches():
        check.batch(batch.issuer, batch.running_count, bytes.fromhex(batch.checkpoint))
    return [fault.fault for fault, _ in check.findings()]


def files_of_log(log: Path) -> list[Path]:
    """The log and what SQLite keeps beside it, without index and key."""
    return [file for file in log.parent.glob(f"{log.name}*") if file.is_file() and "key" not in file.name]


def head(world: Scenario | World) -> str:
    """The checkpoint of the last batch."""
    *_, last = ReceiptLog.open(world.log_path).batches()
    return last.checkpoint


def copy_of_log(world: Scenario | World) -> Path:
    """Keeps the log as it is now, while nobody writes it."""
    kept = world.log_path.parent / "older"
    kept.mkdir()
    for file in files_of_log(world.log_path):
        shutil.copy(file, kept)
    return kept / world.log_path.name


def put_back(world: Scenario | World, kept: Path) -> None:
    for file in files_of_log(world.log_path):
        file.unlink()
    for file in files_of_log(kept):
        shutil.copy(file, world.log_path.parent)


def cut_off(scenario: Scenario, topic: str) -> str:
    """Puts an older copy of a log back, as from a backup; gives the last of the checkpoints that are lost."""
    work(scenario, topic)
    kept = copy_of_log(scenario)
    work(scenario, topic)
    lost = head(scenario)
    put_back(scenario, kept)
    return lost


def invent(scenario: Scenario, topic: str) -> None:
    """Adds an anchor of the log that its key did not sign."""
    last = read_anchor(records(scenario, topic)[-1])
    invented = json.loads(last.text) | {"running_count": 10_000, "count": 1}
    text = json.dumps(invented, sort_keys=True, separators=(",", ":"))
    value = json.dumps({"checkpoint": text, "signature": "00" * 64}).encode()
    [first, *_] = scenario.read(topic)
    scenario.raw_produce(value, topic=topic, partition=first.partition(), key=first.key())


class TestPublishing:
    def test_the_last_anchor_is_the_head_of_the_closed_log(self, scenario: Scenario, topic: str) -> None:
        stats = work(scenario, topic)
        last = head(scenario)
        found = [read_anchor(value) for value in records(scenario, topic)]
        assert found[-1].checkpoint_hash.hex() == last
        assert stats.anchors == len(found)
        assert stats.anchor_failures == 0
        assert faults(scenario, topic) == []

    def test_a_new_epoch_begins_with_the_head_of_the_former(self, scenario: Scenario, topic: str) -> None:
        work(scenario, topic)
        last = head(scenario)
        before = len(records(scenario, topic))
        work(scenario, topic)
        assert read_anchor(records(scenario, topic)[before]).checkpoint_hash.hex() == last

    def test_a_missing_topic_is_one_warning_and_is_not_created(
        self, scenario: Scenario, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "chio_fast.kafka"):
            for _ in range(2):
                assert work(scenario, "no-such-anchors").anchors == 0
        assert sum("there is no topic `no-such-anchors`" in message for message in caplog.messages) == 1
        producer = Producer({"bootstrap.servers": scenario.broker.bootstrap})
        assert "no-such-anchors" not in producer.list_topics(timeout=10).topics

    def test_a_topic_that_refuses_is_counted_and_disturbs_nobody(
        self, scenario: Scenario, new_topic: Callable[..., str]
    ) -> None:
        stats = work(scenario, new_topic("small", config={"max.message.bytes": 100}))
        assert (stats.anchors, stats.handed_out) == (0, 20)
        assert stats.anchor_failures > 0


def test_a_processor_publishes_and_is_refused_alike(world: World, topic: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(anchors, "EVERY", 0.1)
    conf = {"bootstrap.servers": world.broker.bootstrap}

    def process(count: int) -> None:
        world.produce(*[{"n": n} for n in range(count)])
        processor = world.processor(forward(world.target), anchor_topic=topic)
        with running(processor):
            for _ in patiently("transactions and anchors"):
                with suppress(ChioError):  # it has not started
                    stats = processor.stats()
                    if stats.committed == count and stats.anchors > 0:
                        break

    process(20)
    last = head(world)
    *_, anchored = anchors.read_topic(conf, topic)
    assert read_anchor(anchored[2]).checkpoint_hash.hex() == last
    kept = copy_of_log(world)
    process(20)
    put_back(world, kept)
    with pytest.raises(LogBehindError), running(world.processor(forward(world.target), anchor_topic=topic)):
        pass


def write_once(scenario: Scenario, topic: str) -> ProducerStats:
    """Has a producer send a message, and gives its statistics after the last anchor."""
    policy = 'chio: policy/v1\nidentities:\n  writers:\n    capabilities: ["events:produce:*"]\n'
    with ChioProducerMiddleware.from_config(
        {"bootstrap.servers": scenario.broker.bootstrap},
        scope_map={scenario.topic: "events:produce:x"},
        identity="writers",
        policy=Policy.from_yaml(policy),
        receipt_log=scenario.log_path,
        signer=scenario.key_path,
        anchor_topic=topic,
    ) as producer:
        producer.produce(scenario.topic, b"value")
    return producer.stats()


def test_a_producer_publishes_alike(scenario: Scenario, topic: str) -> None:
    stats = write_once(scenario, topic)
    assert read_anchor(records(scenario, topic)[-1]).checkpoint_hash.hex() == head(scenario)
    assert (stats.anchors, stats.anchor_failures) == (len(records(scenario, topic)), 0)


def test_heads_of_a_producer_that_are_refused_are_counted(scenario: Scenario, new_topic: Callable[..., str]) -> None:
    stats = write_once(scenario, new_topic("small", config={"max.message.bytes": 100}))
    assert (stats.sent, stats.anchors) == (1, 0)
    assert stats.anchor_failures > 0


class TestStarting:
    def test_a_log_that_was_cut_off_is_refused(self, scenario: Scenario, topic: str) -> None:
        lost = cut_off(scenario, topic)
        with pytest.raises(LogBehindError, match=lost) as refused:
            scenario.consumer(anchor_topic=topic)
        assert f"{anchors.ACCEPT}={lost}" in str(refused.value)
        assert faults(scenario, topic) != []
        assert set(faults(scenario, topic)) == {"truncated"}

    def test_an_accepted_loss_is_recorded_and_stays_visible(
        self, scenario: Scenario, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lost = cut_off(scenario, topic)
        monkeypatch.setenv(anchors.ACCEPT, lost)
        work(scenario, topic, 40)
        told = [dict(message.headers() or []) for message in scenario.read(topic)]
        assert [headers[anchors.HEADER_ACCEPTED].decode() for headers in told if headers] == [lost]
        assert "fork" in faults(scenario, topic)
        monkeypatch.delenv(anchors.ACCEPT)
        work(scenario, topic)

    def test_a_log_that_was_rewritten_is_refused(self, scenario: Scenario, topic: str) -> None:
        cut_off(scenario, topic)
        scenario.produce(200, denied=0)
        with scenario.consumer(anchor_topic=None) as consumer:
            scenario.finish(consumer)
        with pytest.raises(LogBehindError):
            scenario.consumer(anchor_topic=topic)
        assert set(faults(scenario, topic)) == {"fork"}

    def test_an_anchor_that_another_key_signed_refuses_nothing(
        self, scenario: Scenario, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        work(scenario, topic)
        invent(scenario, topic)
        with caplog.at_level(logging.WARNING, "chio_fast.kafka"):
            work(scenario, topic)
        assert any("may be invented" in message for message in caplog.messages)
        assert faults(scenario, topic) == []

    @pytest.mark.parametrize("window", [1, 1000])
    def test_an_anchor_that_another_key_signed_hides_no_other(
        self, scenario: Scenario, topic: str, monkeypatch: pytest.MonkeyPatch, window: int
    ) -> None:
        lost = cut_off(scenario, topic)
        invent(scenario, topic)
        monkeypatch.setattr(anchors, "FIRST_WINDOW", window)
        with pytest.raises(LogBehindError, match=lost):
            scenario.consumer(anchor_topic=topic)

    def test_a_new_log_under_a_known_name_is_told_of(
        self, scenario: Scenario, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        work(scenario, topic)
        for file in files_of_log(scenario.log_path):
            file.unlink()
        with caplog.at_level(logging.WARNING, "chio_fast.kafka"):
            work(scenario, topic)
        assert any("was anchored with another receipt log" in message for message in caplog.messages)


class TestTheIndependentVerifier:
    def test_finds_a_cut_off_log_by_a_file_of_anchors(
        self, scenario: Scenario, topic: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work(scenario, topic)
        kept = copy_of_log(scenario)
        work(scenario, topic)
        anchored, trusted = scenario.directory / "anchors.jsonl", scenario.directory / "trust.json"
        anchored.write_bytes(b"\n".join(records(scenario, topic)))
        scenario.trust.save(trusted)

        def verify(log: Path) -> int:
            frames = log.with_suffix(".frames")
            ReceiptLog.open(log).export_log(frames)
            return verify_main([str(frames), "--trust", str(trusted), "--anchors", str(anchored)])

        assert verify(scenario.log_path) == 0
        assert "anchors, 0 more that no trusted key signed" in capsys.readouterr().out
        assert verify(kept) == 1
        assert "truncated" in capsys.readouterr().out

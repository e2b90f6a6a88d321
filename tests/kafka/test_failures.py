"""What goes wrong is said, once and clearly, and loses nothing."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from chio_fast import Policy
from chio_fast.errors import ChioAutoCommitError, ChioConfigError, LogError
from chio_fast.kafka import ChioConsumerMiddleware, landing, tripwire
from chio_fast.kafka.landing import Landing
from tests.kafka.patience import patiently
from tests.kafka.scenario import IDENTITY, OPEN_POLICY, Scenario


def around(scenario: Scenario, **conf: object) -> ChioConsumerMiddleware:
    """A consumer as the documentation builds it: around a Consumer that the application configured."""
    raw = Consumer(
        {
            "bootstrap.servers": scenario.broker.bootstrap,
            "group.id": scenario.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **conf,
        }
    )
    return ChioConsumerMiddleware(
        raw,
        scope_map={topic: f"events:consume:{topic}" for topic in scenario.topics},
        identity=IDENTITY,
        dlq_topic=scenario.dlq,
        policy=Policy.from_yaml(scenario.policy),
        receipt_log=scenario.log_path,
        signer=scenario.key_path,
    )


def work_slowly(consumer: ChioConsumerMiddleware) -> None:
    """Takes events one by one until a call raises."""
    for _ in patiently("an exception", 20):
        if consumer.poll(0.1) is not None:
            time.sleep(0.05)


def test_an_auto_commit_that_was_left_on_is_noticed(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    scenario.produce(300, seed=41, denied=0)
    conf = {"enable.auto.commit": True, "auto.commit.interval.ms": 100}
    consumer = around(scenario, **conf)
    with pytest.raises(ChioAutoCommitError, match=r"enable\.auto\.commit=false"):
        work_slowly(consumer)
    with pytest.raises(ChioAutoCommitError):
        consumer.commit()
    with pytest.raises(ChioAutoCommitError):
        consumer.close()


def test_a_group_that_only_the_wrapper_commits_for_never_trips_it(scenario: Scenario):
    scenario.produce(2_000, seed=42)
    with around(scenario) as consumer:
        scenario.finish(consumer)
        ending = time.monotonic() + 4
        while time.monotonic() < ending:
            assert consumer.poll(0.2) is None
    scenario.audit()


def test_an_unknown_topic_raises(scenario: Scenario):
    scenario.topics = ["never-made"]
    with scenario.consumer() as consumer, pytest.raises(KafkaException) as raised:
        consumer.poll(30)
    assert raised.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@contextlib.contextmanager
def full_disk(log: Path) -> Iterator[None]:
    """Lets no file grow beyond the largest one of the receipt log, which is what a full disk does to it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(file.stat().st_size for file in log.parent.glob(f"{log.name}*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_log_that_cannot_be_written_stops_the_consumer_before_any_commit(scenario: Scenario):
    scenario.produce(2_000, seed=43)
    consumer = scenario.consumer()
    with full_disk(scenario.log_path), pytest.raises(LogError):
        scenario.finish(consumer)
    with pytest.raises(LogError):
        consumer.poll(1)
    with pytest.raises(LogError):
        consumer.commit()
    with pytest.raises(LogError):
        consumer.close()
    handed = len(scenario.handed)
    assert handed < 2_000
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
    scenario.audit(duplicates=True)


def test_a_log_in_a_directory_that_is_not_there_is_refused_at_once(scenario: Scenario):
    with pytest.raises(LogError):
        scenario.consumer(receipt_log=scenario.directory / "nowhere" / "receipts.db")


def test_a_callback_that_raises_is_heard_and_loses_no_event(scenario: Scenario):
    scenario.produce(500, seed=44)

    def on_assign(_consumer: object, _partitions: object) -> None:
        raise ZeroDivisionError

    with scenario.consumer(on_assign=on_assign) as consumer:
        with pytest.raises(ZeroDivisionError):
            scenario.finish(consumer)
        scenario.finish(consumer)
    scenario.audit()


def test_a_signal_handler_that_raises_inside_the_client_loses_no_event(scenario: Scenario):
    """The client throws away what it was about to return; the wrapper has it delivered again."""
    scenario.produce(4_000, seed=45)

    class Interrupted(Exception):  # noqa: N818 - it is no error
        """What the handler raises."""

    armed: list[bool] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        if armed:
            armed.clear()
            raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    done = threading.Event()

    def pester() -> None:
        while not done.wait(0.013):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    try:
        with scenario.consumer() as consumer:
            for _ in patiently("an assignment"):
                consumer._parts.intake.keep_alive()
                if len(consumer.stats().partitions) == 5:
                    break
            pestering = threading.Thread(target=pester)
            pestering.start()
            interrupted = 0
            for _ in patiently("interruptions"):
                try:
                    armed.append(True)
                    consumer._parts.intake.keep_alive()
                except Interrupted:
                    interrupted += 1
                armed.clear()
                if interrupted > 20:
                    break
            done.set()
            pestering.join()
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            scenario.finish(consumer)
    finally:
        done.set()
        signal.signal(signal.SIGUSR1, before)
    scenario.audit()


def test_the_outcome_of_a_commit_reaches_on_commit(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    scenario.produce(50, seed=46, denied=0)
    heard: list[tuple[KafkaError | None, list[TopicPartition]]] = []
    with scenario.consumer(on_commit=lambda error, offsets: heard.append((error, offsets))) as consumer:
        scenario.take(consumer, 50)
        consumer.commit()
        for _ in patiently("on_commit"):
            consumer.poll(0.05)
            if heard:
                break
    assert heard[0][0] is None
    assert {(part.topic, part.partition): part.offset for part in heard[-1][1]}.items() <= scenario.committed().items()


def test_a_commit_does_not_hold_up_the_application(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    scenario.produce(100, seed=47, denied=0)
    heard: list[KafkaError | None] = []
    with scenario.consumer(on_commit=lambda error, _: heard.append(error)) as consumer:
        scenario.take(consumer, 100)
        scenario.broker.freeze()
        try:
            consumer.commit()
            for _ in patiently("the commit to be sent"):
                consumer.poll(0.01)
                if consumer._parts.landing._sent:
                    break
            assert heard == []
        finally:
            scenario.broker.thaw()
        for _ in patiently("on_commit"):
            consumer.poll(0.05)
            if heard:
                break
    assert heard[0] is None
    assert scenario.lag() == 0


def test_a_commit_that_the_client_loses_is_sent_again(scenario: Scenario, monkeypatch: pytest.MonkeyPatch):
    """It can lose requests to a coordinator that dies; nothing may follow that would commit the same events."""
    lost: list[object] = []

    def lose(self: Landing) -> None:
        self._sent, self._sent_at = self._take_due(), time.monotonic()
        lost.append(self._sent)

    monkeypatch.setattr(Landing, "_send_off", lose)
    monkeypatch.setattr(landing, "TIMEOUT", 0.5)
    monkeypatch.setattr(tripwire, "FIRST_LOOKS", (0.0,))
    scenario.policy = OPEN_POLICY
    scenario.produce(50, seed=48, denied=0)
    with scenario.consumer() as consumer:
        scenario.take(consumer, 50)
        parts = consumer._parts
        # As when a commit lands while more was claimed: the commit thread is not told, and sleeps.
        with parts.assignments.lock:
            for held in parts.assignments:
                held.frontier.claim(held.position)
            parts.landing.look()
        for _ in patiently("the commit"):
            assert consumer.poll(0.05) is None
            if consumer.stats().commits:
                break
        assert lost
        assert scenario.lag() == 0


def test_brokers_that_do_not_answer_are_named_at_once():
    raw = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "enable.auto.commit": False, "log_level": 0})
    with pytest.raises(ChioConfigError, match="do not answer"):
        ChioConsumerMiddleware(raw, scope_map={"t": "events:consume:t"}, identity="w", dlq_topic="d")

"""The documented surface, and every public method of the client: delegated, governed or refused with a reason."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from chio_fast import Event
from chio_fast.errors import ChioConfigError, ChioError
from chio_fast.kafka import ChioConsumerMiddleware, constructor_arguments, surface
from tests.kafka.patience import patiently
from tests.kafka.scenario import OPEN_POLICY, Scenario

DELEGATED = frozenset({
    "assignment", "cluster_id", "committed", "get_watermark_offsets", "list_topics", "memberid", "offsets_for_times",
    "set_sasl_credentials", "unsubscribe",
})  # fmt: skip
GOVERNED = frozenset({
    "assign", "close", "commit", "consume", "incremental_assign", "incremental_unassign", "pause", "poll", "position",
    "resume", "seek", "subscribe", "unassign",
})  # fmt: skip


def test_every_public_method_of_the_client_has_its_place():
    methods = {name for name in dir(Consumer) if not name.startswith("_")}
    assert methods == DELEGATED | GOVERNED | surface.REFUSED.keys()
    for name in methods:
        assert callable(getattr(ChioConsumerMiddleware, name)), name
        assert inspect.getdoc(getattr(ChioConsumerMiddleware, name)), name


def test_what_is_refused_says_why(scenario: Scenario):
    with scenario.consumer() as consumer:
        with pytest.raises(ChioError, match=r"use `commit\(\)`"):
            consumer.store_offsets(offsets=[])
        with pytest.raises(ChioError, match="at your own risk"):
            consumer.consumer_group_metadata()


def test_what_is_delegated_answers(scenario: Scenario):
    with scenario.consumer() as consumer:
        for _ in patiently("an assignment"):
            assert consumer.poll(0.1) is None
            if len(consumer.assignment()) == 5:
                break
        partition = TopicPartition(scenario.topic, 0)
        assert consumer.memberid()
        assert consumer.cluster_id(10) == scenario.broker.cluster_id
        assert consumer.committed([partition], 10)[0].offset == -1001
        assert consumer.get_watermark_offsets(partition, 10) == (0, 0)
        assert scenario.topic in consumer.list_topics(timeout=10).topics
        assert consumer.offsets_for_times([TopicPartition(scenario.topic, 0, 0)], 10)[0].offset == -1
        consumer.unsubscribe()
        for _ in patiently("no assignment"):
            assert consumer.poll(0.1) is None
            if not consumer.stats().partitions:
                break


def test_the_documented_example_runs_but_for_its_import_line(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    scenario.topics = scenario.topics[:1]
    scenario.raw_produce(b'{"n": 1}')
    policy = tmp_path / "policy.yaml"
    policy.write_text(OPEN_POLICY)
    monkeypatch.setenv("CHIO_POLICY", str(policy))
    monkeypatch.setenv("CHIO_RECEIPT_LOG", str(scenario.log_path))
    monkeypatch.setattr(constructor_arguments, "_sidecar_warned", False)

    consumer = Consumer(
        {
            "bootstrap.servers": scenario.broker.bootstrap,
            "group.id": scenario.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    with pytest.warns(UserWarning, match="decisions are made in this process"):
        chio_consumer = ChioConsumerMiddleware(
            consumer=consumer,
            sidecar_url="http://127.0.0.1:9090",
            scope_map={scenario.topic: "events:consume:orders"},
            identity="workers",
            dlq_topic=scenario.dlq,
        )
    for _ in patiently("the event"):
        event = chio_consumer.poll(timeout=1.0)
        if event is None:
            continue
        assert isinstance(event, Event)
        assert (event.chio_receipt_id or "").startswith("rcpt_")
        chio_consumer.commit(event)
        break
    chio_consumer.close()
    assert scenario.committed()[scenario.topic, 0] == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constructor_arguments.warn_of_sidecar("http://127.0.0.1:9090")


def test_without_a_policy_nothing_is_built(scenario: Scenario, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CHIO_POLICY", raising=False)
    with pytest.raises(ChioConfigError, match="nothing passes unevaluated"):
        scenario.consumer(policy=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope_map": {}}, "scope_map="),
        ({"scope_map": {"^all.*": "events:consume:all"}}, "pattern"),
        ({"evidence": "never"}, "before_commit"),
        ({"batch_size": 0}, "batch_size"),
        ({"identity": None}, "identity="),
    ],
)
def test_arguments_that_make_no_sense_are_refused_with_what_to_write(
    scenario: Scenario, arguments: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("CHIO_IDENTITY", raising=False)
    with pytest.raises(ChioConfigError, match=message):
        scenario.consumer(**arguments)


def test_a_topic_without_a_scope_cannot_be_subscribed(scenario: Scenario):
    with scenario.consumer() as consumer:
        with pytest.raises(ChioConfigError, match="has no scope"):
            consumer.subscribe(["elsewhere"])
        with pytest.raises(ChioConfigError, match="has no scope"):
            consumer.assign([TopicPartition("elsewhere", 0)])


def test_iteration_and_context_manager(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    scenario.produce(20, seed=71, denied=0)
    with scenario.consumer() as consumer:
        for seen, event in enumerate(consumer, 1):
            scenario.note([event])
            if seen == 20:
                break
        consumer.commit()
    with pytest.raises(RuntimeError):
        consumer.poll(0)
    consumer.close()
    assert scenario.lag() == 0
    scenario.audit()


def await_assignment(consumer: ChioConsumerMiddleware, *, of: int) -> None:
    """Poll until so many partitions are assigned."""
    for _ in patiently(f"{of} partitions"):
        assert consumer.poll(0.05) is None
        if len(consumer.assignment()) == of:
            break


def test_partitions_can_be_assigned_by_hand(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    scenario.topics = scenario.topics[:1]
    places = [scenario.raw_produce(b"%d" % n, partition=n % 3) for n in range(30)]
    with scenario.consumer(scenario.conf(auto_offset_reset="latest")) as consumer:
        # What was subscribed to comes and goes inside `poll`, and takes what was assigned by hand meanwhile along.
        await_assignment(consumer, of=3)
        consumer.unsubscribe()
        await_assignment(consumer, of=0)
        consumer.assign([TopicPartition(scenario.topic, 1, 2)])
        events = scenario.take(consumer, 8)
        assert [(event.partition(), event.offset()) for event in events] == [(1, offset) for offset in range(2, 10)]
        assert consumer.poll(0.3) is None
        consumer.unassign()
        assert consumer.stats().partitions == []
    assert len(places) == 30


def test_stats_count(scenario: Scenario):
    scenario.produce(200, seed=72)
    with scenario.consumer() as consumer:
        scenario.finish(consumer)
        stats = consumer.stats()
    denied = sum(scenario.fates.values())
    assert (stats.handed_out, stats.denied, stats.dead_letters) == (200 - denied, denied, denied)
    assert (stats.buffered, stats.backlog, stats.commit_failures) == (0, 0, 0)
    assert stats.receipts_durable == stats.receipts_issued == 200
    assert sum(part.committed for part in stats.partitions if part.committed > 0) == 200

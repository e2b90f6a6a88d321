"""`reconcile` finds what does not balance between receipts and topics, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from chio_fast import Enforcer, Policy, ReceiptLog
from chio_fast.kafka.reconcile import reconcile
from tests.kafka.scenario import IDENTITY, OPEN_POLICY

if TYPE_CHECKING:
    from chio_fast.kafka.reconciliation import Reconciliation
    from tests.kafka.scenario import Scenario


def compare(scenario: Scenario, **arguments: Any) -> Reconciliation:
    conf = {"bootstrap.servers": scenario.broker.bootstrap}
    arguments.setdefault("dlq_topics", [scenario.dlq])
    return reconcile(conf, [ReceiptLog.open(scenario.log_path)], scenario.group, **arguments)


def whats(findings: list[Any]) -> set[str]:
    return {finding.what for finding in findings}


def move_offsets(scenario: Scenario, offsets: dict[tuple[str, int], int]) -> None:
    """Commits offsets as an operator does, while nobody is in the group."""
    operator = Consumer({"bootstrap.servers": scenario.broker.bootstrap, "group.id": scenario.group})
    parts = [TopicPartition(*key, offset) for key, offset in offsets.items()]
    try:
        operator.commit(offsets=parts, asynchronous=False)
    finally:
        operator.close()


class TestOfAConsumer:
    """At least once: every event below the committed offset has a receipt, every denial a DLQ record."""

    def test_balances_after_an_ordinary_run(self, scenario: Scenario) -> None:
        scenario.produce(300)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        found = compare(scenario)
        assert found.is_balanced, (found.discrepancies, found.unverifiable)
        assert sum(part.events for part in found.partitions) == 300
        assert sum(part.receipts for part in found.partitions) == 300
        assert found.dead_letters == sum(part.denied for part in found.partitions) == sum(scenario.fates.values())

    def test_balances_while_the_consumer_is_running(self, scenario: Scenario) -> None:
        scenario.produce(200)
        with scenario.consumer() as consumer:
            scenario.take(consumer, 50)
            consumer.commit(asynchronous=False)
            scenario.take(consumer, 50)
            found = compare(scenario)
            assert found.discrepancies == [], found.discrepancies
            scenario.finish(consumer)

    def test_finds_events_that_were_skipped(self, scenario: Scenario) -> None:
        scenario.produce(100, topic=scenario.topic, denied=0)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        scenario.produce(50, topic=scenario.topic, denied=0)
        ends = {(t, p): 1 + max(o for a, b, o in scenario.fates if (a, b) == (t, p)) for t, p, _ in scenario.fates}
        move_offsets(scenario, ends)
        found = compare(scenario)
        assert whats(found.discrepancies) == {"missing_receipt"}
        assert found.discrepancies_found == 50

    def test_finds_denials_without_dlq_record(self, scenario: Scenario, new_topic: Any) -> None:
        scenario.produce(60, denied=0.5)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        found = compare(scenario, dlq_topics=[new_topic("other-dlq")])
        assert whats(found.discrepancies) == {"dead_letters"}
        assert found.discrepancies_found == sum(scenario.fates.values())

    def test_finds_dlq_records_without_receipt(self, scenario: Scenario) -> None:
        scenario.produce(20)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        forged = [
            ("X-Chio-Receipt", b"rcpt_00000000000000000000000000"),
            ("X-Chio-Original-Topic", scenario.topic.encode()),
            ("X-Chio-Request", f"chio-kafka-{scenario.topic}-0-3".encode()),
        ]
        scenario.raw_produce(b"{}", topic=scenario.dlq, headers=forged)
        found = compare(scenario)
        assert whats(found.discrepancies) == {"letter_without_receipt"}

    def test_says_what_retention_makes_unverifiable(self, scenario: Scenario) -> None:
        scenario.produce(80, topic=scenario.topic, denied=0)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        admin = AdminClient({"bootstrap.servers": scenario.broker.bootstrap})
        place = TopicPartition(scenario.topic, 0, 5)
        admin.delete_records([place])[place].result()
        earliest = admin.list_offsets({TopicPartition(scenario.topic, 0): OffsetSpec.earliest()})
        assert [future.result().offset for future in earliest.values()] == [5]
        found = compare(scenario)
        assert found.discrepancies == []
        assert whats(found.unverifiable) == {"deleted_events"}

    def test_needs_every_log_of_the_group(self, scenario: Scenario) -> None:
        first = scenario.log_path
        scenario.produce(40)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        scenario.produce(30)
        second = scenario.directory / "second.db"
        with scenario.consumer(receipt_log=second) as consumer:
            scenario.finish(consumer)
        assert compare(scenario).discrepancies_found >= 30
        conf, logs = {"bootstrap.servers": scenario.broker.bootstrap}, [ReceiptLog.open(first), ReceiptLog.open(second)]
        assert reconcile(conf, logs, scenario.group, dlq_topics=[scenario.dlq]).is_balanced

    def test_finds_events_that_are_not_those_of_their_receipts(self, scenario: Scenario) -> None:
        events = [(scenario.topic, 0, offset) for offset in range(3)]
        for _ in events:
            scenario.raw_produce(b"{}", headers=[("source", b"here")], timestamp=1_700_000_000_000)
        messages = scenario.read(scenario.topic)
        messages[1].set_value(b'{"other": 1}')
        with Enforcer(
            Policy.from_yaml(OPEN_POLICY), receipt_log=scenario.log_path, signer=scenario.key_path, identity=IDENTITY
        ) as enforcer:
            partition = enforcer.gate.partition(
                scenario.topic, 0, scope="events:consume:x", identity=IDENTITY, group=scenario.group
            )
            admitted, _, _ = enforcer.gate.admit(messages, {(scenario.topic, 0): partition})
            enforcer.gate.issue(admitted)
        move_offsets(scenario, {(scenario.topic, 0): 3})
        [changed] = compare(scenario).discrepancies
        assert (changed.what, changed.place) == ("changed_event", f"{scenario.topic}/0/1")

    def test_says_what_cannot_be_told_without_the_dlq(self, scenario: Scenario) -> None:
        scenario.produce(40, denied=0.5)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        found = compare(scenario, dlq_topics=[])
        assert whats(found.unverifiable) == {"denials"}

    def test_refuses_a_group_of_which_the_logs_hold_nothing(self, scenario: Scenario) -> None:
        scenario.produce(5, topic=scenario.topic)
        with scenario.consumer() as consumer:
            scenario.finish(consumer)
        with pytest.raises(ValueError, match="hold nothing of group `nobody`"):
            reconcile({"bootstrap.servers": scenario.broker.bootstrap}, [ReceiptLog.open(scenario.log_path)], "nobody")

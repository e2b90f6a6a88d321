"""`evidence="before_action"`: no event is handed out before its receipt is durable."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition

from chio_fast import ReceiptLog
from tests.kafka import receipts
from tests.kafka.scenario import OPEN_POLICY, Scenario


@pytest.fixture
def attested(scenario: Scenario) -> Scenario:
    """Sixty allowed events."""
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    for n in range(60):
        scenario.fates[scenario.raw_produce(b"%d" % n)] = False
    return scenario


def test_every_event_has_a_durable_receipt_when_it_is_handed_out(attested: Scenario):
    with attested.consumer(evidence="before_action") as consumer:
        for _ in range(60):
            [event] = attested.take(consumer, 1)
            assert event.ordinal is not None
            assert consumer.stats().receipts_durable >= event.ordinal
        consumer.commit(asynchronous=False)
    assert {receipt.evidence for receipt in ReceiptLog.open(attested.log_path).query(kind="consume")} == {
        "before_action"
    }
    attested.audit()


def test_what_was_attested_and_not_handed_out_is_taken_back(attested: Scenario):
    with attested.consumer(evidence="before_action") as consumer:
        events = attested.take(consumer, 5, batch=1)
        assert [part.offset for part in consumer.position([TopicPartition(attested.topic, 0)])] == [5]
        consumer.commit(asynchronous=False)
    assert attested.committed()[attested.topic, 0] == 5
    issued = set(receipts.consume_receipts(attested.log_path))
    handed = {event.chio_receipt_id for event in events}
    assert receipts.rolled_back(attested.log_path) == issued - handed
    assert len(issued) > len(handed)


def test_a_seek_takes_back_what_waited(attested: Scenario):
    with attested.consumer(evidence="before_action") as consumer:
        attested.take(consumer, 5, batch=1)
        consumer.seek(TopicPartition(attested.topic, 0, 0))
        assert [event.offset() for event in attested.take(consumer, 60)] == list(range(60))
        consumer.commit(asynchronous=False)
    assert attested.committed()[attested.topic, 0] == 60
    assert receipts.rolled_back(attested.log_path)
    attested.audit(duplicates=True)

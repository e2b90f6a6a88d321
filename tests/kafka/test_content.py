"""Whatever bytes a record holds, it is decided, handed out or dead-lettered as it is."""

from __future__ import annotations

import pytest

from chio_fast.kafka import envelope
from tests.kafka.scenario import CLOSED_POLICY, OPEN_POLICY, Scenario, letter_place
from tests.kafka.topics import place

RECORDS: dict[str, dict[str, object]] = {
    "tombstone": {"value": None, "key": b"k"},
    "empty value": {"value": b""},
    "null key": {"value": b"v", "key": None},
    "empty key": {"value": b"v", "key": b""},
    "binary key": {"value": b"v", "key": b"\xff\x00\xfe"},
    "binary value": {"value": bytes(range(256))},
    "duplicate headers": {"value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("b", None), ("a", b"")]},
    "headers that are not UTF-8": {"value": b"v", "headers": [("a", b"\xff\xfe"), ("é", "é".encode())]},
    "one megabyte": {"value": b"m" * 1_000_000},
    "not JSON": {"value": b'{"secret": tr'},
    "duplicate members": {"value": b'{"secret": false, "secret": true}'},
    "own headers": {"value": b"v", "headers": [("X-Chio-Receipt", b"nonsense"), ("X-Chio-Receipt", b"\xff")]},
}

pytestmark = pytest.mark.usefixtures("either_road")


@pytest.fixture
def filled(scenario: Scenario) -> Scenario:
    """A scenario with one record of each kind."""
    scenario.topics = scenario.topics[:1]
    for record in RECORDS.values():
        scenario.raw_produce(**record)  # type: ignore[arg-type]
    return scenario


def test_allowed_records_are_handed_out_as_they_are(filled: Scenario):
    filled.policy = OPEN_POLICY
    filled.fates = dict.fromkeys(((filled.topic, 0, offset) for offset in range(len(RECORDS))), False)
    with filled.consumer() as consumer:
        events = filled.take(consumer, len(RECORDS))
        consumer.commit(asynchronous=False)
    for event, (name, record) in zip(events, RECORDS.items(), strict=True):
        assert event.value() == record["value"], name
        assert event.key() == record.get("key"), name
        assert (event.headers() or []) == record.get("headers", []), name
        assert event.raw.value() == record["value"], name
    filled.audit()


def test_denied_records_come_back_from_the_dlq_byte_for_byte(filled: Scenario):
    filled.policy = CLOSED_POLICY
    filled.fates = dict.fromkeys(((filled.topic, 0, offset) for offset in range(len(RECORDS))), True)
    with filled.consumer() as consumer:
        filled.finish(consumer)
    letters = {letter_place(letter)[2]: letter for letter in filled.dead_letters()}
    for offset, (name, record) in enumerate(RECORDS.items()):
        letter = letters[offset]
        if name == "one megabyte":
            assert letter.original_value_omitted
        else:
            assert envelope.restore(letter.original_value, letter.original_value_encoding) == record["value"], name
        assert envelope.restore(letter.original_key, letter.original_key_encoding) == record.get("key"), name
        headers = [(head.name, envelope.restore(head.value, head.encoding)) for head in letter.original_headers]
        assert headers == record.get("headers", []), name
    filled.audit()


def test_a_condition_on_the_value_denies_what_it_cannot_read(filled: Scenario):
    """The policy's only deny rule errs on everything but the records without trouble, so it denies."""
    with filled.consumer() as consumer:
        filled.await_dead_letters(consumer, len(RECORDS))
    reasons = {letter.chio_denial.rule for letter in filled.dead_letters()}
    assert reasons == {"no-secrets"}


def test_an_empty_topic_gives_nothing_and_commits_nothing(scenario: Scenario):
    with scenario.consumer() as consumer:
        assert consumer.poll(1.5) is None
        assert consumer.consume(10, 0.1) == []
        assert consumer.commit(asynchronous=False) == []
    assert set(scenario.committed().values()) == {-1001}


def test_events_of_several_partitions_keep_their_order(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    scenario.produce(1_000, seed=51, denied=0)
    with scenario.consumer() as consumer:
        events = scenario.take(consumer, 1_000, batch=7)
    last: dict[tuple[str, int], int] = {}
    for event in events:
        topic, partition, offset = place(event)
        assert last.get((topic, partition), -1) < offset
        last[topic, partition] = offset

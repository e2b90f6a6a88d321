"""The DLQ record gives back what went in, whatever bytes that was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest
from confluent_kafka import Message as ClientMessage
from hypothesis import given
from hypothesis import strategies as st

from chio_fast import Enforcer, Policy
from chio_fast.kafka import envelope
from chio_fast.kafka.envelope import Form


@dataclass
class Verdict:
    """The documented fields of a decision."""

    receipt_id: str = "rcpt_1"
    reason: str = "no rule allows it"
    scope: str = "events:consume:orders"
    identity: str = "workers"
    guards: tuple[str, ...] = ("pii",)
    timestamp: int = 1_700_000_000_000
    verdict: str = "deny"


@dataclass
class Message:
    """A record with the accessors of a confluent Message."""

    the_key: bytes | None = b"k"
    the_value: bytes | None = b"v"
    the_headers: list[tuple[str, bytes | None]] | None = field(default_factory=list)

    def topic(self) -> str:
        """Name."""
        return "orders"

    def partition(self) -> int:
        """Number."""
        return 2

    def offset(self) -> int:
        """Offset."""
        return 41

    def timestamp(self) -> tuple[int, int]:
        """Creation time."""
        return 1, 1_699_999_999_999

    def key(self) -> bytes | None:
        """Key."""
        return self.the_key

    def value(self) -> bytes | None:
        """Value."""
        return self.the_value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Headers."""
        return self.the_headers


content = st.none() | st.binary(max_size=60)
headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), content), max_size=5)


@given(content, content, headers)
def test_key_value_and_headers_come_back_byte_for_byte(
    key: bytes | None, value: bytes | None, given_headers: list[tuple[str, bytes | None]]
):
    record = envelope.json_record(Message(key, value, given_headers), Verdict(), attempt=3, form=Form.FULL)
    letter = envelope.decode(record.value or b"")
    assert record.key == key
    assert envelope.restore(letter.original_key, letter.original_key_encoding) == key
    assert envelope.restore(letter.original_value, letter.original_value_encoding) == value
    restored = [(header.name, envelope.restore(header.value, header.encoding)) for header in letter.original_headers]
    assert restored == given_headers
    assert (letter.request, letter.attempt) == ("chio-kafka-orders-2-41", 3)


def test_the_documented_fields_are_there_under_their_documented_names():
    record = envelope.json_record(Message(), Verdict(), attempt=1, form=Form.FULL)
    document = json.loads(record.value or b"")
    assert {"original_topic", "original_key", "original_value", "original_timestamp", "chio_denial"} <= document.keys()
    assert document["chio_denial"] | {"verdict": "deny", "rule": None} == {
        "receipt_id": "rcpt_1",
        "verdict": "deny",
        "reason": "no rule allows it",
        "scope_requested": "events:consume:orders",
        "identity": "workers",
        "rule": None,
        "guards_evaluated": ["pii"],
        "timestamp": 1_700_000_000_000,
    }
    assert dict(record.headers) == {
        "X-Chio-Receipt": b"rcpt_1",
        "X-Chio-Denial-Reason": b"no rule allows it",
        "X-Chio-Original-Topic": b"orders",
        "X-Chio-Request": b"chio-kafka-orders-2-41",
    }


def test_a_tombstone_and_an_empty_value_differ():
    tombstone = envelope.build(Message(the_value=None), Verdict(), attempt=1, form=Form.FULL)
    empty = envelope.build(Message(the_value=b""), Verdict(), attempt=1, form=Form.FULL)
    assert (tombstone.original_value, tombstone.original_value_digest) == (None, None)
    assert empty.original_value == ""
    assert empty.original_value_digest is not None


def test_without_the_value_its_digest_stays():
    full = envelope.build(Message(the_value=b"secret"), Verdict(), attempt=1, form=Form.FULL)
    cut = envelope.build(Message(the_value=b"secret"), Verdict(), attempt=1, form=Form.WITHOUT_VALUE)
    assert (cut.original_value, cut.original_value_omitted) == (None, True)
    assert cut.original_value_digest == full.original_value_digest


@given(content, content, headers)
def test_exact_mode_repeats_the_record_and_adds_headers(
    key: bytes | None, value: bytes | None, given_headers: list[tuple[str, bytes | None]]
):
    record = envelope.exact_record(Message(key, value, given_headers), Verdict(), attempt=2, form=Form.FULL)
    assert (record.key, record.value) == (key, value)
    assert record.headers[: len(given_headers)] == given_headers
    added = dict(record.headers[len(given_headers) :])
    assert msgspec.json.decode(added["X-Chio-Denial"] or b"")["attempt"] == 2
    assert added["X-Chio-Original-Topic"] == b"orders"


@pytest.mark.parametrize("value", [b"", b"{}", b'{"original_topic": 3}', b"\xff"])
def test_what_is_no_dead_letter_is_not_read_as_one(value: bytes):
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        envelope.decode(value)


@pytest.fixture(scope="module")
def enforcer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enforcer]:
    policy = Policy.from_yaml("chio: policy/v1\nidentities: {workers: {}}\n")
    with Enforcer(policy, receipt_log=tmp_path_factory.mktemp("envelope") / "log.chio", identity="workers") as enforcer:
        yield enforcer


@given(content, content, headers, st.sampled_from(Form), st.none() | st.integers(1, 9), st.sampled_from([0, 1]))
def test_an_event_spells_its_own_record_as_the_envelope_does(
    enforcer: Enforcer,
    key: bytes | None,
    value: bytes | None,
    given_headers: list[tuple[str, bytes | None]],
    form: Form,
    attempt: int | None,
    kind: int,
):
    gate = enforcer.gate
    at = gate.partition("orders", 2, scope="events:consume:orders", identity="workers", stamp=1)
    message = ClientMessage(
        topic="orders", partition=2, offset=41, key=key, value=value, headers=given_headers, timestamp=(kind, 1_699)
    )
    [event], _, _ = gate.admit([message], {("orders", 2): at})
    _, [denied], _ = gate.issue([event])
    own = envelope.json_record(denied, None, attempt=attempt, form=form)
    other = envelope.json_record(denied, denied.chio_decision, attempt=attempt, form=form)
    assert (own.key, own.headers) == (other.key, other.headers)
    assert envelope.decode(own.value or b"") == envelope.decode(other.value or b"")
    assert list(json.loads(own.value or b"")) == list(json.loads(other.value or b""))


@pytest.mark.parametrize("value", [b"v", b"\xff"], ids=["text", "binary"])
def test_what_was_set_since_is_not_taken_for_the_original(enforcer: Enforcer, value: bytes):
    gate = enforcer.gate
    at = gate.partition("orders", 2, scope="events:consume:orders", identity="workers", stamp=1)
    message = ClientMessage(
        topic="orders", partition=2, offset=41, key=b"k", value=value, headers=[("a", b"1")], timestamp=(1, 1_699)
    )
    [event], _, _ = gate.admit([message], {("orders", 2): at})
    _, [denied], _ = gate.issue([event])
    spellings = (envelope.json_record, envelope.exact_record)
    before = [spell(denied, None, attempt=1, form=Form.FULL) for spell in spellings]
    denied.set_topic("other")
    denied.set_key(b"K")
    denied.set_value(b"V")
    denied.set_headers([("b", b"2")])
    assert [spell(denied, None, attempt=1, form=Form.FULL) for spell in spellings] == before

"""The fast road to a client's message and its accessors give the same, on messages that came from a broker."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer

from chio_fast import _native

HEADERS: list[list[tuple[str, bytes | None]] | None] = [
    None,
    [],
    [("a", b"1")],
    [("a", b"1"), ("b", None), ("a", b""), ("ü", b"\xff\x00")],
    [(f"h{i}", bytes(i)) for i in range(40)],
]
COUNT = 500


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """Messages that librdkafka's own mock cluster served, none of whose headers was looked at; the last is an end of
    partition."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = producer.list_topics(timeout=10).brokers.values()
    for i in range(COUNT):
        producer.produce(
            "topic",
            partition=0,
            key=None if i % 3 == 0 else b"k" * (i % 3),
            value=None if i % 7 == 0 else b"v" * i,
            headers=HEADERS[i % len(HEADERS)],  # type: ignore[arg-type]
            timestamp=1_000_000 + i,
        )
    assert producer.flush(30) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers),
            "group.id": "roads",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        from confluent_kafka import TopicPartition

        consumer.assign([TopicPartition("topic", 0, 0)])
        found: list[Message] = []
        while len(found) < COUNT + 1:
            found += consumer.consume(COUNT + 1 - len(found), 10)
        return found
    finally:
        consumer.close()


def test_the_fast_road_is_open_for_the_pinned_client() -> None:
    assert _native.slow_road_reason() is None


def test_both_roads_agree_on_messages_of_a_broker(messages: list[Message]) -> None:
    for i, message in enumerate(messages):
        fast, slow = _native.read_by_both_roads(message)
        assert fast == slow, i
        assert (slow[0], slow[1], slow[3]) == (i == COUNT, "topic", i)
        if i < COUNT:
            expected = [(name.encode(), value) for name, value in HEADERS[i % len(HEADERS)] or []]
            assert slow[7] == expected
            assert slow[6] == 1_000_000 + i


def test_they_agree_again_when_the_client_has_converted_the_headers(messages: list[Message]) -> None:
    for message in messages:
        message.headers()
        fast, slow = _native.read_by_both_roads(message)
        assert fast == slow


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"topic": "t", "partition": -1, "offset": -1001},
        {"topic": "t", "key": "text", "value": "text", "timestamp": (0, 5)},
        {"topic": "t", "timestamp": (2, -1), "headers": [("a", None)]},
        {"topic": "t", "headers": {"a": b"1"}},
        {"topic": "t", "key": {"an": "object"}, "value": 5},
    ],
)
def test_both_roads_agree_on_messages_that_python_made(members: dict[str, Any]) -> None:
    fast, slow = _native.read_by_both_roads(Message(**members))
    assert fast is not None
    absent = {None, -1, -1001}
    for quick, steady in zip(fast, slow, strict=True):
        is_absent = all(isinstance(value, int | None) and value in absent for value in (quick, steady))
        assert quick == steady or is_absent, members


def test_a_subclass_of_a_message_goes_by_its_own_accessors() -> None:
    class Own:
        def __init__(self, inner: Message) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def value(self) -> bytes:
            return b"own"

    fast, slow = _native.read_by_both_roads(Own(Message(topic="t", value=b"inner")))  # type: ignore[arg-type]
    assert slow[5] == b"own"
    assert fast is None or fast[5] == b"own"

"""Messages that come past the client's Python objects are what the client gives, and arrive as reliably."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from chio_fast import Enforcer, Event
from chio_fast._native import Inlet
from chio_fast.kafka.inflow import Inflow
from chio_fast.kafka.mock import MockCluster
from tests.core.conftest import IDENTITY

TOPIC = "tasks"
HEADERS: list[list[tuple[str, bytes | None]] | None] = [
    None,
    [],
    [("a", b"1")],
    [("a", b"1"), ("b", None), ("a", b""), ("ü", b"\xff\x00")],
    [(f"h{i}", bytes(i)) for i in range(40)],
    [("long", b"x" * 70_000), ("", b"")],
]
COUNT = 300
ACCESSORS = (
    "topic", "partition", "offset", "key", "value", "timestamp", "headers", "error", "latency", "leader_epoch",
    "delivery_count",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Brokers of librdkafka's own, with one topic."""
    with MockCluster() as running:
        for compression in ("none", "gzip", "lz4"):
            _fill(running.bootstrap_servers, compression)
        yield running.bootstrap_servers


def _fill(servers: str, compression: str) -> None:
    producer = Producer({"bootstrap.servers": servers, "compression.type": compression, "log_level": 0})
    for i in range(COUNT):
        producer.produce(
            TOPIC,
            partition=0,
            key=None if i % 3 == 0 else b"k" * (i % 3 - 1),
            value=None if i % 7 == 0 else b"v" * (i % 50),
            headers=HEADERS[i % len(HEADERS)],  # type: ignore[arg-type]
            timestamp=1_000_000 + i,
        )
    assert producer.flush(30) == 0


@pytest.fixture
def consumer(cluster: str) -> Iterator[Consumer]:
    """A consumer that nothing is assigned to yet."""
    made = _consumer(cluster)
    yield made
    made.close()


def _consumer(servers: str, **settings: Any) -> Consumer:
    conf = {"bootstrap.servers": servers, "group.id": "inlet", "auto.offset.reset": "earliest", "log_level": 0}
    return Consumer({**conf, "enable.partition.eof": True, **settings})


def _led_in(consumer: Consumer) -> Inlet:
    inlet = Inlet(consumer)
    inlet.lead_in(TOPIC, 0)
    consumer.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    return inlet


class Reader:
    """Admits what an inlet gives."""

    def __init__(self, consumer: Consumer, inlet: Inlet, enforcer: Enforcer) -> None:
        self._consumer, self._inlet, self._gate = consumer, inlet, enforcer.gate
        self._partitions = {
            (TOPIC, 0): self._gate.partition(TOPIC, 0, scope=f"events:consume:{TOPIC}", identity=IDENTITY)
        }
        self.events: list[Event] = []
        self.errors: list[Message] = []

    def read(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not enough():
            assert time.monotonic() < deadline, f"{len(self.events)} events, {len(self.errors)} errors"
            assert self._consumer.consume(1, 0.0 if self._inlet.has_news else 0.1) == []
            if self._inlet.take(100)[0]:
                events, errors, strays = self._gate.admit(self._inlet, self._partitions)
                assert strays == []
                self.events += events
                self.errors += errors


def _read_by_the_client(cluster: str, count: int) -> list[Message]:
    consumer = _consumer(cluster)
    try:
        consumer.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
        found: list[Message] = []
        while len(found) < count:
            found += consumer.consume(count - len(found), 10)
        return found
    finally:
        consumer.close()


def test_every_accessor_gives_what_the_clients_message_gives(
    cluster: str, consumer: Consumer, enforcer: Enforcer
) -> None:
    inlet = _led_in(consumer)
    reader = Reader(consumer, inlet, enforcer)
    reader.read(lambda: bool(reader.errors))
    inlet.close()
    theirs = _read_by_the_client(cluster, 3 * COUNT + 1)
    assert len(reader.events) == 3 * COUNT
    for event, message in zip(reader.events, theirs[:-1], strict=True):
        for name in ACCESSORS:
            assert getattr(event, name)() == getattr(message, name)(), (name, event)
        for name in ACCESSORS:
            assert getattr(event.raw, name)() == getattr(message, name)(), (name, event)
        assert len(event) == len(message)
        assert event.raw is event.raw
    [end], last = reader.errors, theirs[-1]
    assert (end.topic(), end.partition(), end.offset()) == (last.topic(), last.partition(), last.offset())
    ours, other = end.error(), last.error()
    assert ours is not None
    assert other is not None
    assert (ours.code(), ours.str(), ours.fatal()) == (KafkaError._PARTITION_EOF, other.str(), False)


def test_what_is_set_is_seen_and_what_came_is_kept(consumer: Consumer, enforcer: Enforcer) -> None:
    reader = Reader(consumer, inlet := _led_in(consumer), enforcer)
    reader.read(lambda: len(reader.events) > 4)
    inlet.close()
    event = reader.events[4]
    before = (event.headers(), event.value())
    event.set_headers([("other", b"1")])
    event.set_value(b"other")
    assert (event.headers(), event.value(), event.raw.value()) == ([("other", b"1")], b"other", b"other")
    assert event.admitted()[2:] == (before[1], before[0])


def test_names_are_read_up_to_a_nul_as_the_client_reads_them(
    cluster: str, consumer: Consumer, enforcer: Enforcer
) -> None:
    """Were they not, a policy could know a header by another name than the application."""
    given = [(b"X-Chio-Receipt\0x", b"1"), (b"\xff\xfe", b"2"), (b"\0", None), (b"after", b"\0")]
    offset = _produce_natively(cluster, given)
    inlet = Inlet(consumer)
    inlet.lead_in(TOPIC, 0)
    consumer.assign([TopicPartition(TOPIC, 0, offset)])
    reader = Reader(consumer, inlet, enforcer)
    reader.read(lambda: bool(reader.events))
    inlet.close()
    expected = [("X-Chio-Receipt", b"1"), ("\ufffd\ufffd", b"2"), ("", None), ("after", b"\0")]
    assert reader.events[0].headers() == expected
    assert reader.events[0].raw.headers() == expected


def _produce_natively(servers: str, headers: list[tuple[bytes, bytes | None]]) -> int:
    """Produce a record whose headers the Python client cannot name; gives its offset, the end of the topic."""
    mapped = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next(line.split()[-1] for line in mapped if "librdkafka" in line))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    conf, error = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers.encode(), error, ctypes.c_size_t(512))
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, error, ctypes.c_size_t(512)))
    made = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
    for name, value in headers:
        sizes = (ctypes.c_ssize_t(len(name)), ctypes.c_ssize_t(len(value or b"")))
        library.rd_kafka_header_add(made, name, sizes[0], value, sizes[1])
    topic, partition, content, flags, with_headers, end = 1, 3, 4, 7, 10, 0
    arguments: list[Any] = [topic, TOPIC.encode(), partition, ctypes.c_int32(0), content, b"v", ctypes.c_size_t(1)]
    assert library.rd_kafka_producev(client, *arguments, flags, 2, with_headers, made, end) == 0
    assert library.rd_kafka_flush(client, 10_000) == 0
    library.rd_kafka_destroy(client)
    reader = _consumer(servers)
    try:
        watermarks = reader.get_watermark_offsets(TopicPartition(TOPIC, 0), 10)
        assert watermarks is not None
        return watermarks[1] - 1
    finally:
        reader.close()


def test_what_was_taken_and_not_admitted_is_given_up(consumer: Consumer, enforcer: Enforcer) -> None:
    """An exception may come in between; what was lost is sought then, and must not come twice."""
    inlet = _led_in(consumer)
    while inlet.take(5)[0] < 5:
        consumer.consume(1, 0.1)
    consumer.seek(TopicPartition(TOPIC, 0, 0))
    reader = Reader(consumer, inlet, enforcer)
    reader.read(lambda: len(reader.events) > 10)
    inlet.close()
    assert [event.offset() for event in reader.events[:10]] == list(range(10))


def test_a_seek_makes_what_waits_void(consumer: Consumer, enforcer: Enforcer) -> None:
    inlet = _led_in(consumer)
    reader = Reader(consumer, inlet, enforcer)
    reader.read(lambda: len(reader.events) > 10)
    consumer.seek(TopicPartition(TOPIC, 0, 2 * COUNT))
    again = Reader(consumer, inlet, enforcer)
    again.read(lambda: bool(again.events))
    inlet.close()
    assert again.events[0].offset() == 2 * COUNT


def test_a_message_ends_the_wait_inside_the_client(cluster: str, consumer: Consumer) -> None:
    inlet = Inlet(consumer)
    inlet.lead_in("quiet", 0)
    producer = Producer({"bootstrap.servers": cluster, "linger.ms": 0, "log_level": 0})
    producer.produce("quiet", b"first", partition=0)
    assert producer.flush(10) == 0
    consumer.assign([TopicPartition("quiet", 0, OFFSET_BEGINNING)])
    waits = []
    for _ in range(10):
        began = time.monotonic()
        while not inlet.has_news:
            assert consumer.consume(1, 0.19) == []
        waits.append(time.monotonic() - began)
        while inlet.take(10)[0]:
            pass
        producer.produce("quiet", b"next", partition=0)
        producer.flush(10)
    inlet.close()
    assert min(waits) < 0.15, waits


def test_it_says_why_it_cannot_be_opened(cluster: str) -> None:
    class Own(Consumer):
        pass

    own = Own({"bootstrap.servers": cluster, "group.id": "own", "log_level": 0})
    with pytest.raises(TypeError, match="Own is not the client's own Consumer"):
        Inlet(own)
    assert Inflow(own).inlet is None
    own.close()
    closed = _consumer(cluster)
    closed.close()
    with pytest.raises(RuntimeError, match="was closed"):
        Inlet(closed)


def test_nothing_is_taken_once_it_is_closed(cluster: str, consumer: Consumer) -> None:
    inlet = _led_in(consumer)
    while not inlet.has_news:
        consumer.consume(1, 0.1)
    inlet.take(5)
    inlet.close()
    with pytest.raises(RuntimeError, match="the inlet was closed"):
        inlet.take(1)
    assert not inlet.has_news
    inlet.close()


def test_nothing_is_taken_once_the_client_is_closed(cluster: str) -> None:
    consumer = _consumer(cluster)
    inlet = Inlet(consumer)
    consumer.close()
    with pytest.raises(RuntimeError, match="the Consumer was closed"):
        inlet.take(1)
    with pytest.raises(RuntimeError, match="the Consumer was closed"):
        inlet.lead_in(TOPIC, 0)
    assert not inlet.has_news
    inlet.close()


def test_whoever_is_dropped_first_nothing_breaks(cluster: str) -> None:
    """Neither order may end the process, and neither may hang."""
    for drop_client_first in (True, False):
        consumer: Consumer | None = _consumer(cluster)
        assert consumer is not None
        inlet: Inlet | None = _led_in(consumer)
        assert inlet is not None
        while not inlet.has_news:
            consumer.consume(1, 0.1)
        inlet.take(5)
        if drop_client_first:
            consumer = None
            gc.collect()
            inlet = None
        else:
            inlet = None
            gc.collect()
            consumer = None
        gc.collect()


def test_another_thread_ends_the_stay_in_the_client(consumer: Consumer) -> None:
    inflow = Inflow(consumer)
    threading.Timer(0.2, inflow.wake).start()
    entered = time.monotonic()
    assert inflow.enter(1, 30.0) == []
    assert time.monotonic() - entered < 15
    inflow.close()
    inflow.wake()


def test_who_is_closed_wakes_nobody(cluster: str) -> None:
    consumer = _consumer(cluster)
    inlet = Inlet(consumer)
    consumer.close()
    with pytest.raises(RuntimeError, match="closed"):
        inlet.wake()

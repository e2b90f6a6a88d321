"""A producer may name headers as it likes, and the client ends the process over names that are not UTF-8."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from chio_fast import Policy
from chio_fast._native import headers_of
from chio_fast.kafka import digests, envelope
from chio_fast.kafka.mock import MockCluster
from tests.core.conftest import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chio_fast import Enforcer, Event

HEADERS = [(b"plain", b"1"), (b"\xff\xfe", b"2"), (b"\xed\xa0\x80", None), (b"after", b"3")]
SHOWN = [("plain", b"1"), ("\ufffd\ufffd", b"2"), ("\ufffd\ufffd\ufffd", None), ("after", b"3")]
TOPIC, PARTITION, VALUE, FLAGS, HEADER, END = 1, 3, 4, 7, 9, 0
COPY = 2


def _produce(servers: str, topic: str) -> None:
    """Produce one record with `HEADERS`, of which the Python client can name only some, and wait for its delivery."""
    mapped = Path("/proc/self/maps").read_text().splitlines()
    path = next(line.split()[-1] for line in mapped if "librdkafka" in line)
    library, error = ctypes.CDLL(path), ctypes.create_string_buffer(512)
    for name in ("rd_kafka_conf_new", "rd_kafka_new"):
        getattr(library, name).restype = ctypes.c_void_p
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers.encode(), error, ctypes.c_size_t(512))
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, error, ctypes.c_size_t(512)))
    arguments: list[Any] = [TOPIC, topic.encode(), PARTITION, ctypes.c_int32(0), VALUE, b"v", ctypes.c_size_t(1)]
    arguments += [FLAGS, COPY]
    for header, value in HEADERS:
        arguments += [HEADER, header, value, ctypes.c_ssize_t(len(value or b""))]
    assert library.rd_kafka_producev(client, *arguments, END) == 0
    assert library.rd_kafka_flush(client, 10_000) == 0
    library.rd_kafka_destroy(client)


@pytest.fixture
def message() -> Iterator[Callable[[], Message]]:
    """Fetches the record anew whenever it is called, so that nobody has asked the client for its headers."""
    with MockCluster() as cluster:
        _produce(cluster.bootstrap_servers, "tasks")

        def fetch() -> Message:
            conf = {"bootstrap.servers": cluster.bootstrap_servers, "group.id": "g", "log_level": 0}
            consumer = Consumer({**conf, "auto.offset.reset": "earliest"})
            try:
                consumer.assign([TopicPartition("tasks", 0, 0)])
                [fetched] = consumer.consume(1, 10)
            finally:
                consumer.close()
            return fetched

        yield fetch


def admitted(enforcer: Enforcer, message: Message) -> Event:
    partition = enforcer.gate.partition("tasks", 0, scope="events:consume:tasks", identity=IDENTITY)
    [event], _, _ = enforcer.admit([message], {("tasks", 0): partition})
    enforcer.issue([event])
    return event


def test_they_are_read_as_conditions_see_them(
    enforcers: Callable[..., Enforcer], message: Callable[[], Message]
) -> None:
    policy = {
        "chio": "policy/v1",
        "identities": {IDENTITY: {"capabilities": ["events:consume:*"]}},
        "rules": [
            {
                "id": "marked",
                "effect": "deny",
                "identities": ["*"],
                "scopes": ["**"],
                "when": "event.headers['\ufffd\ufffd'] == '2'",
            }
        ],
    }
    enforcer = enforcers(Policy.from_dict(policy))
    event = admitted(enforcer, message())
    assert event.chio_decision.rule == "marked"
    assert event.headers() == SHOWN
    assert event.headers() == SHOWN
    assert headers_of(message()) == SHOWN
    assert enforcer.check("events:consume:tasks", event=message()).rule == "marked"


def test_a_denied_or_failed_event_with_them_can_be_written_down(
    enforcer: Enforcer, message: Callable[[], Message]
) -> None:
    for build in (envelope.json_record, envelope.exact_record):
        event = admitted(enforcer, message())
        record = build(event, None, attempt=1, form=envelope.Form.FULL)
        kept = [(head.name, envelope.restore(head.value, head.encoding)) for head in _original(record).original_headers]
        assert SHOWN in (kept, record.headers[: len(SHOWN)])


def test_an_auditor_reads_them_too(message: Callable[[], Message]) -> None:
    assert digests.header_pairs(message()) == SHOWN


def test_what_the_client_has_spoilt_is_refused(enforcer: Enforcer, message: Callable[[], Message]) -> None:
    event = admitted(enforcer, message())
    with pytest.raises(SystemError):
        event.raw.headers()
    for _ in range(2):
        with pytest.raises(ValueError, match="not UTF-8"):
            event.headers()


def _original(record: envelope.Record) -> envelope.DeadLetter:
    denial = dict(record.headers).get(envelope.HEADER_DENIAL)
    return envelope.decode(denial or record.value or b"")

"""The events of the end-to-end benches, and the policies that deny a known share of them.

Every value is a JSON object of exactly 200 bytes; every event has a key and three headers, one of which is the receipt
id of its parent. The field `risk` takes each of 0…99 equally often, in a seeded order, so that `risk < 10` denies
exactly a tenth.
"""

from __future__ import annotations

import json
import random
from typing import Any

from confluent_kafka import Producer

from chio_fast import Policy
from tests.kafka.broker import Broker

VALUE_BYTES = 200
PARTITIONS = 4
SEED = 20_260
IDENTITY = "bench-agents"
SCOPE = "events:consume:bench"
SHAPE = f"{VALUE_BYTES}-byte JSON value, 9-byte key, 3 headers (one a parent id), {PARTITIONS} partitions"

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def policy(denied_percent: int | None) -> Policy:
    """The policy of consumers: None has no condition, otherwise this share of the events is denied by their content."""
    deny_when = None if denied_percent is None else f"event.value.risk < {denied_percent}"
    return granting(IDENTITY, SCOPE, deny_when=deny_when)


def granting(identity: str, *scopes: str, deny_when: str | None = None) -> Policy:
    """A policy that grants an identity these scopes, but denies the events for which the condition holds, if any."""
    document: dict[str, Any] = {"chio": "policy/v1", "identities": {identity: {"capabilities": list(scopes)}}}
    if deny_when is not None:
        rule = {"id": "too-risky", "effect": "deny", "identities": [identity], "scopes": list(scopes)}
        document["rules"] = [rule | {"when": deny_when, "reason": "the risk is on the wrong side of the line"}]
    return Policy.from_dict(document)


def fill(broker: Broker, topic: str, count: int) -> None:
    """Creates the topic and writes `count` events into it (a multiple of 100), acknowledged by the broker."""
    if count % 100:
        raise ValueError(f"`{count}` events do not divide into the 100 values of `risk`; use a multiple of 100")
    broker.create_topic(topic, partitions=PARTITIONS, config={"segment.bytes": 1 << 30})
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "acks": "all",
            "linger.ms": 20,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    failures: list[object] = []
    random_source = random.Random(SEED)
    risks = list(range(100))
    for number in range(count):
        if number % 100 == 0:
            random_source.shuffle(risks)
        value, key, headers = event(number, risks[number % 100])
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    key,
                    partition=number % PARTITIONS,
                    headers=headers,
                    on_delivery=lambda error, _: failures.append(error) if error else None,
                )
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120.0) or failures:
        raise RuntimeError(f"the topic could not be filled: {failures[:1] or 'no acknowledgement within 120 s'}")


def event(number: int, risk: int) -> tuple[bytes, bytes, list[tuple[str, str | bytes | None]]]:
    """Value, key and headers of an event."""
    body = {"id": f"evt-{number:09}", "agent": f"agent-{number % 97:02}", "amount": number % 5_000, "risk": risk}
    bare = len(json.dumps(body | {"note": ""}, separators=(",", ":")))
    value = json.dumps(body | {"note": "x" * (VALUE_BYTES - bare)}, separators=(",", ":")).encode()
    headers: list[tuple[str, str | bytes | None]] = [
        ("X-Chio-Receipt", parent_id(number)),
        ("traceparent", f"00-{number:032x}-{number:016x}-01"),
        ("content-type", "application/json"),
    ]
    return value, f"agent-{number % 997:03}".encode(), headers


def parent_id(number: int) -> str:
    """A well-formed receipt id: 48 bits of time, 32 bits of tag, 48 bits of counter, in Crockford's base 32."""
    value = 1_700_000_000_000 << 80 | 0xC0FFEE << 48 | number
    return "rcpt_" + "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))

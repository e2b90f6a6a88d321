"""A producer at a steady pace, in a process of its own so that it shares no interpreter lock with the consumer.

Usage: python -m benches.kafka.pace BOOTSTRAP TOPIC RATE COUNT

Every value starts with the time at which it was sent, as a decimal number of CLOCK_MONOTONIC in ns, which all processes
of a machine share.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer

from benches.kafka.raw import PATIENCE_S
from benches.kafka.workload import PARTITIONS, VALUE_BYTES
from tests.kafka.broker import Broker

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def paced(broker: Broker, topic: str, rate: int, count: int) -> Iterator[None]:
    """Have `count` events sent, `rate` of them per second; returns when all are."""
    command = [sys.executable, "-m", __name__, broker.bootstrap, topic, str(rate), str(count)]
    process = subprocess.Popen(command, cwd=ROOT)
    yield
    assert process.wait(PATIENCE_S) == 0


def age(value: bytes | None, now: int) -> float:
    """Seconds since an event was sent; `now` is `time.monotonic_ns()`."""
    return (now - int((value or b"0 ").split(b" ", 1)[0])) / 1e9


def main() -> None:
    """Produces COUNT events, RATE of them per second."""
    bootstrap, topic, rate, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0})
    producer.list_topics(topic, timeout=30.0)
    interval, due = 1_000_000_000 // rate, time.monotonic_ns()
    for number in range(count):
        due += interval
        while (left := due - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
        # The value is stamped when it is sent: a late wake-up of this process is not the consumer's latency.
        value = b"%d " % time.monotonic_ns()
        producer.produce(topic, value.ljust(VALUE_BYTES, b"x"), b"key", partition=number % PARTITIONS)
        producer.poll(0)
    producer.flush(30.0)


if __name__ == "__main__":
    main()

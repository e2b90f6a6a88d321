"""What the tests of commands at work share: events for a gateway, those it has to refuse, and talking to a process."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

if TYPE_CHECKING:
    import subprocess

    from tests.kafka.broker import Broker

# A run that is idle so long has everything: the time counts from its assignment on, and what is there comes within
# milliseconds. After a kill, transactions of the dead process are looked into first.
WHEN_IDLE = ("--idle-exit", "2")
WHEN_IDLE_AFTER_A_KILL = ("--idle-exit", "8")
EVENTS = 60
LARGE = {5, 17, 29}
SECRET = {7, 8}
BROKEN = {11}


def fill(broker: Broker, topic: str, numbers: range = range(EVENTS)) -> None:
    """Write events, each with its number as key."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for number in numbers:
        body: dict[str, Any] = {"number": number, "amount": 2000 if number in LARGE else 10}
        if number in SECRET:
            body["secret"] = "x"
        value = b"{broken" if number in BROKEN else json.dumps(body).encode()
        producer.produce(topic, key=str(number), value=value, headers=[("kept", b"\xff")])
    assert producer.flush(30) == 0


def await_line(process: subprocess.Popen[str], text: str) -> None:
    """Wait until a process writes a line with this text to its standard error."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"`{text}` was never written")


def end(process: subprocess.Popen[str], by: signal.Signals = signal.SIGTERM) -> dict[str, Any]:
    """End a process by a signal, as its supervisor would; give the summary that it prints."""
    process.send_signal(by)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary

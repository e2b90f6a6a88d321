"""A handler's tool calls without a broker: events of one partition, delivered as often as a test likes.

Run as a program it is a process that dies in the middle: `python -m tests.core.calling FOLDER MOMENT`, where the moment
is `during`, inside the tool, or `after`, when the handler has the result.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

from chio_fast import Enforcer, Policy
from chio_fast.kafka.calls import ToolCaller
from chio_fast.kafka.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chio_fast import Event
    from chio_fast.kafka.calls import EventCalls

IDENTITY = "agent"
POLICY = """
chio: policy/v1
identities:
  agent:
    capabilities: [events:consume:orders, "tools:*"]
  other:
    capabilities: [events:consume:orders, "tools:*"]
"""
SEARCH_ONLY = POLICY.replace('"tools:*"', '"tools:search"')
"""What denies the call `CHARGE`."""
CHARGE = ("charge", "tools:charge", {"amount": 5})
"""Tool, scope and arguments of the call that most tests make."""


class Member:
    """One member of a group, from its start to its end."""

    def __init__(self, folder: Path, *, policy: str = POLICY, identity: str = IDENTITY, **options: Any) -> None:
        self.enforcer = Enforcer(Policy.from_yaml(policy), receipt_log=folder / "receipts.db", identity=identity)
        self.journal = Journal.beside(self.enforcer.receipt_log.path)
        self.stopped: list[BaseException] = []
        self.caller = ToolCaller(self.enforcer, identity, self.journal, stop=self.stopped.append, **options)

    def tool(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        self.enforcer.tools.register(name, function, **options)

    def deliver(self, offset: int = 0, value: bytes = b"{}") -> Event:
        """Deliver one event, as it is after an assignment."""
        self.partition = self.enforcer.gate.partition(
            "orders",
            0,
            scope="events:consume:orders",
            identity=self.caller.identity,
            cluster="cluster",
            topic_id="id of orders",
            group="group",
            stamp=1,
        )
        message = Message(topic="orders", partition=0, offset=offset, value=value, timestamp=(1, 1000))
        events, _, _ = self.enforcer.admit([message], {("orders", 0): self.partition})
        [event], _ = self.enforcer.issue(events)
        return event

    def attempt(self, offset: int = 0, value: bytes = b"{}") -> EventCalls:
        """Begin to handle an event."""
        return self.again(self.deliver(offset, value))

    def again(self, event: Event) -> EventCalls:
        """Begin another attempt at an event."""
        return self.caller.of(event, lambda: None)

    def revoke(self) -> None:
        """Take the partition of the last event away."""
        self.partition.stamp += 1

    def effects(self) -> list[Any]:
        """The receipts of what became of calls so far, in order."""
        self.enforcer.seal()
        return list(self.enforcer.receipt_log.query(kind="effect"))

    def close(self) -> None:
        self.journal.close()
        self.enforcer.close()


@contextmanager
def member(folder: Path, **options: Any) -> Iterator[Member]:
    """A member that ends in order."""
    made = Member(folder, **options)
    try:
        yield made
    finally:
        made.close()


class Counter:
    """The system behind a tool: it notes every call in a file, with the idempotency key."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "calls"

    def charge(self, amount: int, idempotency_key: str) -> dict[str, Any]:
        with self.path.open("a") as file:
            file.write(f"{amount} {idempotency_key}\n")
        return {"charged": amount}

    @property
    def calls(self) -> list[list[str]]:
        """Amount and key of every call."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []


def charge_once(folder: Path, counter: Counter) -> Any:
    """A member makes the call `CHARGE` for its first event and ends; gives the result."""
    with member(folder) as running:
        running.tool("charge", counter.charge)
        return running.attempt().invoke(*CHARGE)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, moment: str) -> None:
    counter = Counter(folder)

    def charge(amount: int, idempotency_key: str) -> Any:
        result = counter.charge(amount, idempotency_key)
        if moment == "during":
            die()
        return result

    running = Member(folder)
    running.tool("charge", charge)
    running.attempt().invoke(*CHARGE)
    die()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

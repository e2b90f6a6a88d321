"""Outputs of an event that is part of a trace, with their receipts, and what became of them in a topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from chio_fast import Enforcer, Event, Policy
from chio_fast._native import Check, Run, Stretch, Work
from chio_fast.kafka.assignment import Assigned
from tests.kafka.broker import Broker
from tests.kafka.topics import read

POLICY = """
chio: policy/v1
identities:
  writers:
    capabilities: ["events:consume:*", "events:produce:*"]
"""
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Outputs = Callable[[str, list[dict[str, Any]]], list[Check]]
"""Makes outputs to a topic from the arguments of `Gate.output`."""


@pytest.fixture
def enforcer(tmp_path: Path) -> Iterator[Enforcer]:
    """Somebody who may produce to every topic."""
    with Enforcer(Policy.from_yaml(POLICY), receipt_log=tmp_path / "log", identity="writers") as made:
        yield made


@pytest.fixture
def outputs(enforcer: Enforcer) -> Outputs:
    """Makes outputs that have their receipts."""
    partition = enforcer.gate.partition("source", 0, scope="events:consume:source", identity="writers", stamp=1)
    message = Message(topic="source", partition=0, offset=5, headers=[("traceparent", TRACE)])
    events, _, _ = enforcer.gate.admit([message], {("source", 0): partition})
    [event], _ = enforcer.issue(events)

    def make(topic: str, given: list[dict[str, Any]]) -> list[Check]:
        scope = f"events:produce:{topic}"
        outlet = enforcer.gate.outlet(topic, scope=scope, identity="writers", carries_trace=True)
        usual = {"key": None, "headers": None, "event": event}
        checks = [enforcer.gate.output(outlet, **usual | each) for each in given]
        assert enforcer.gate.issue_checks(checks) == []
        return checks

    return make


def stretch(enforcer: Enforcer, checks: list[Check]) -> Stretch:
    """Make what a transaction covers of outputs, each of a work of its own."""
    partition = enforcer.gate.partition("source", 0, scope="events:consume:source", identity="writers", stamp=1)
    held = Assigned(("source", 0), partition, None)
    run = Run(held, print, 0, is_async=False, unproven=0, generation=1)
    works: list[Work] = []
    for check in checks:
        assert isinstance(check.event, Event)
        work = Work(check.event, run)
        work.keep(check)
        works.append(work)
    return Stretch(run, works, 5, 6)


def records(broker: Broker, checks: list[Check]) -> list[Message]:
    """What outputs to one topic have become, in their order."""
    topic = checks[0].scope.rpartition(":")[2]
    found = {dict(record.headers() or [])["X-Chio-Receipt"]: record for record in read(broker.bootstrap, topic)}
    return [found.pop(str(check.receipt_id).encode()) for check in checks]

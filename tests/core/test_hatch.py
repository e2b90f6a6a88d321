"""`Hatch`: the next event with its receipt in one call, or nothing at all was done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from chio_fast import Enforcer, Event, Policy, ReceiptLog
from chio_fast._native import Gate, Hatch, Log
from chio_fast.errors import LogClosedError
from chio_fast.kafka.trouble import Trouble
from tests.core.conftest import IDENTITY
from tests.core.test_gate import Watch, admitted, assigned, message

Make = Callable[..., Enforcer]


class Source(NamedTuple):
    """Decides, and where its receipts go."""

    gate: Gate
    log: Log


class Opened:
    """A hatch with what it hands out, open for a minute."""

    def __init__(self, enforcer: Enforcer | Source, *values: bytes) -> None:
        self.partitions = assigned(enforcer, "tasks")
        self.trouble = Trouble()
        messages = [message(offset, value=value) for offset, value in enumerate(values)]
        self.given = admitted(enforcer, messages, self.partitions)
        self.ready: deque[Event] = deque(self.given)
        self.hatch = Hatch(enforcer.gate, self.trouble, self.ready)
        self.hatch.open_for(60)

    def assert_hands_out_nothing(self, enforcer: Enforcer) -> None:
        issued = enforcer.log.issued
        assert self.hatch.next() is None
        assert list(self.ready) == self.given, "what is not handed out stays, in its order"
        assert (enforcer.log.issued, self.hatch.handed_out) == (issued, 0)


def test_events_are_handed_out_in_order_each_with_its_receipt(enforcer: Enforcer) -> None:
    opened = Opened(enforcer, b"{}", b"{}", b"{}")
    handed = [opened.hatch.next() for _ in range(3)]
    assert handed == opened.given
    assert opened.hatch.next() is None
    assert [event.ordinal for event in opened.given] == [1, 2, 3]
    assert (opened.hatch.handed_out, len(opened.ready)) == (3, 0)
    [partition] = opened.partitions.values()
    assert (partition.handed, partition.position) == (3, 3)
    enforcer.seal()
    assert [receipt.id for receipt in enforcer.receipt_log.query()] == [event.chio_receipt_id for event in opened.given]


def test_it_is_open_for_a_time_and_not_before_it_is_told_so(enforcer: Enforcer) -> None:
    opened = Opened(enforcer, b"{}")
    opened.hatch.open_for(0.02)
    assert not opened.hatch.is_over
    time.sleep(0.03)
    assert opened.hatch.is_over
    opened.assert_hands_out_nothing(enforcer)
    fresh = Hatch(enforcer.gate, opened.trouble, opened.ready)
    assert fresh.is_over
    assert fresh.next() is None
    fresh.open_for(60)
    assert fresh.next() is opened.given[0]
    with pytest.raises(ValueError, match="-1"):
        fresh.open_for(-1)


def test_nothing_is_handed_out_while_it_is_shut_or_something_is_to_be_raised(enforcer: Enforcer) -> None:
    opened = Opened(enforcer, b"{}", b"{}")
    opened.hatch.is_shut = True
    opened.assert_hands_out_nothing(enforcer)
    opened.hatch.is_shut = False
    opened.trouble.raise_once(RuntimeError("first this"))
    opened.assert_hands_out_nothing(enforcer)
    with pytest.raises(RuntimeError, match="first this"):
        opened.trouble.deliver()
    assert opened.hatch.next() is opened.given[0]


def test_what_is_not_simply_allowed_is_left_to_the_long_way(enforcer: Enforcer) -> None:
    denied = Opened(enforcer, b'{"secret": 1}', b"{}")
    denied.assert_hands_out_nothing(enforcer)
    void = Opened(enforcer, b"{}", b"{}")
    [partition] = void.partitions.values()
    partition.stamp += 1
    void.assert_hands_out_nothing(enforcer)


def test_a_guard_that_is_due_is_not_passed_by(enforcers: Make) -> None:
    enforcer = enforcers(guards=[Watch()])
    Opened(enforcer, b"{}").assert_hands_out_nothing(enforcer)


def test_an_event_that_an_older_policy_decided_is_not_handed_out(enforcer: Enforcer) -> None:
    opened = Opened(enforcer, b"{}", b"{}")
    assert opened.hatch.next() is opened.given.pop(0)
    other = {"chio": "policy/v1", "identities": {IDENTITY: {"capabilities": ["tools:*"]}}}
    enforcer.gate.set_policy(Policy.from_dict(other))
    assert opened.hatch.next() is None
    assert list(opened.ready) == opened.given


def test_a_log_without_room_and_a_closed_one_are_left_to_the_long_way(tmp_path: Path, policy: Policy) -> None:
    log = ReceiptLog.open(tmp_path / "receipts.db").issuing(max_unsealed_bytes=1, linger_ms=60_000)
    source = Source(Gate(log, policy), log)
    opened = Opened(source, b"{}", b"{}", b"{}")
    assert opened.hatch.next() is opened.given[0]
    assert opened.hatch.next() is None, "a single receipt fills this log"
    assert list(opened.ready) == opened.given[1:]
    assert log.wait_durable(log.seal())
    assert opened.hatch.next() is opened.given[1]
    log.close()
    assert opened.hatch.next() is None
    assert list(opened.ready) == opened.given[2:]
    with pytest.raises(LogClosedError):
        source.gate.issue(opened.given[2:])

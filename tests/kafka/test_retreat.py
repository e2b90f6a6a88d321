"""The exactly-once processor on the real broker: what follows a failed transaction."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer

from chio_fast import Event
from chio_fast.errors import Unclean
from chio_fast.kafka import failpoint
from chio_fast.kafka.intake import Intake
from chio_fast.kafka.metadata import UNKNOWN_GENERATION
from chio_fast.kafka.recovery import Recovery, Resolved
from chio_fast.kafka.transaction import Transaction
from tests.kafka.patience import patiently
from tests.kafka.processor_world import World, forward, running, world

__all__ = ["world"]


@pytest.mark.usefixtures("either_road")
def test_what_was_fetched_before_its_partition_went_back_is_not_taken_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed transaction may seek back while what comes next is between the client and the buffer."""
    awaited, fetched, enter = threading.Event(), threading.Event(), Intake._enter

    def enter_late(intake: Any, count: int, timeout: float) -> Any:
        messages = enter(intake, count, timeout)
        is_there = any(message.offset() == 1 for message in messages)
        if awaited.is_set() and not fetched.is_set() and (is_there or intake._inlet is not None):
            for _ in patiently("the event, before anybody can take it out of the inlet"):
                if is_there or intake._inlet.has_news:
                    break
                time.sleep(0.001)
            fetched.set()
            for _ in patiently("the failed transaction to ask for the way back"):
                if intake._commit._errands.waiting:
                    break
                time.sleep(0.001)
        return messages

    def fail_once(step: int) -> None:
        if step == 6 and not fetched.is_set():
            awaited.set()
            world.produce({"n": 1})
            assert fetched.wait(60)
            raise failpoint.FailpointError

    monkeypatch.setattr(Intake, "_enter", enter_late)
    monkeypatch.setattr(failpoint, "reach", fail_once)
    world.produce({"n": 0})
    processor = world.processor(forward(world.target))
    with running(processor):
        assert world.await_outputs(2) == [{"n": 0}, {"n": 1}]
    assert processor.stats().aborts == 1
    world.assert_processed_once(2)


def test_what_another_member_found_committed_is_not_processed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who took over one partition of a transaction may resolve its batch before the member that holds the others."""

    def resolve_and_fail(step: int) -> None:
        if step == 7 and not resolved:
            enforcer, checkpoints = processor.enforcer, processor._processing._checkpoints
            other = Recovery(
                enforcer.receipt_log, enforcer.gate, checkpoints, group=world.group, transactional_id="another"
            )
            resolved.extend(other.resolve_assigned([(world.source, 0)], generation=UNKNOWN_GENERATION - 1))
            raise failpoint.FailpointError

    resolved: list[Resolved] = []
    monkeypatch.setattr(failpoint, "reach", resolve_and_fail)
    world.produce({"n": 0})
    processor = world.processor(forward(world.target))
    with running(processor):
        for _ in patiently("the end of the transaction"):
            if resolved and processor.stats().transactions + processor.stats().aborts:
                break
            time.sleep(0.01)
        world.produce({"n": 1})
        assert world.await_outputs(2) == [{"n": 0}, {"n": 1}]
    assert [each.outcome for each in resolved] == ["committed"]
    assert processor.stats().aborts == 0
    world.assert_processed_once(2)


def test_nothing_is_resolved_before_the_transaction_is_known_to_have_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that was given up aborts nothing: only its successor has ended what it began."""
    done: list[str] = []
    abort, renew, resolve_own = Transaction.abort, Transaction.renew, Recovery.resolve_own

    def fail_once(step: int) -> None:
        if step == 5 and "failed" not in done:
            done.append("failed")
            raise failpoint.FailpointError

    def abort_in_vain(transaction: Transaction) -> None:
        done.append("abort")
        if done.count("abort") == 1:
            raise Unclean("the producer is to be renewed")
        abort(transaction)

    def renew_late(transaction: Transaction) -> None:
        done.append("renew")
        if done.count("renew") == 1:
            transaction.close()
            raise Unclean("the coordinator is not there")
        renew(transaction)

    def resolve(recovery: Recovery) -> list[Resolved]:
        done.append("resolve")
        return resolve_own(recovery)

    monkeypatch.setattr(failpoint, "reach", fail_once)
    monkeypatch.setattr(Transaction, "abort", abort_in_vain)
    monkeypatch.setattr(Transaction, "renew", renew_late)
    monkeypatch.setattr(Recovery, "resolve_own", resolve)
    world.produce({"n": 0})
    processor = world.processor(forward(world.target))
    with running(processor):
        assert world.await_outputs(1) == [{"n": 0}]
    assert done == ["resolve", "failed", "abort", "renew", "renew", "resolve"]
    world.assert_processed_once(1)


def test_who_is_no_member_any_longer_commits_nothing(world: World) -> None:
    """From a transaction that names no member a broker takes the offsets of every partition."""
    world.produce({"n": 0})
    entered, go_on = threading.Event(), threading.Event()

    def handle(event: Event, ctx: Any) -> None:
        entered.set()
        assert go_on.wait(60)
        ctx.produce(topic=world.target, value=event.value())

    stranger = Consumer({"bootstrap.servers": world.broker.bootstrap, "group.id": world.group})
    processor = world.processor(handle)
    with running(processor):
        assert entered.wait(60)
        [track] = processor._processing.exactly_once.tracks
        member, track._raw = track._raw, stranger
        go_on.set()
        for _ in patiently("the transaction to be refused"):
            if track.aborts:
                break
            assert not track.transactions
            time.sleep(0.01)
        track._raw = member
        assert world.await_outputs(1) == [{"n": 0}]
    stranger.close()
    world.assert_processed_once(1)

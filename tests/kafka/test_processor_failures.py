"""The exactly-once processor on the real broker: what becomes of events when something fails."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import Any

import msgspec
import pytest

from chio_fast import ChioRevoked, Event, Policy
from chio_fast._native import Stretch
from chio_fast.errors import ChioDeadLetterError, ChioDeliveryError, ChioDenied, ChioError, ChioHandlerError
from chio_fast.kafka import config, failpoint, roads, track, transaction
from chio_fast.kafka.processor import ChioTransactionalProcessor
from tests.kafka.patience import patiently
from tests.kafka.processor_worker import SHORT_SESSION
from tests.kafka.processor_world import POLICY, World, forward, running, world

__all__ = ["world"]


def test_a_handler_that_raises_once_is_tried_again_and_nothing_is_lost(world: World) -> None:
    world.produce(*({"n": n} for n in range(5)))
    failed: list[int] = []

    def handle(event: Event, ctx: Any) -> None:
        ctx.produce(topic=world.target, value=event.value())
        if event.offset() == 1 and not failed:
            failed.append(1)
            raise RuntimeError("once")

    processor = world.processor(handle)
    with running(processor):
        found = world.await_outputs(5)
    assert [value["n"] for value in found] == list(range(5))
    assert processor.stats().retried == 1
    attempts = [receipt.batch.state for receipt in world.receipts(kind="consume", offset=1)]
    assert attempts.count("committed") == 1
    assert "attempt" in attempts
    [committed] = world.receipts(kind="consume", offset=1, state="committed")
    assert committed.attempt == 2


def test_a_handler_that_always_raises_sends_its_event_to_the_error_topic(world: World) -> None:
    world.produce({"n": 0}, {"n": 1, "poison": True}, {"n": 2})

    def handle(event: Event, ctx: Any) -> None:
        if msgspec.json.decode(event.value()).get("poison"):
            raise ValueError("cannot be read")
        ctx.produce(topic=world.target, value=event.value())

    with running(world.processor(handle, max_attempts=2)):
        found = world.await_outputs(2)
    assert [value["n"] for value in found] == [0, 2]
    [failed] = world.outputs(world.errors)
    assert failed["original_offset"] == 1
    assert failed["chio_error"]["type"] == "ValueError"
    assert failed["chio_error"]["message"] == "cannot be read"
    assert failed["chio_error"]["attempts"] == 2
    [committed] = world.receipts(kind="consume", offset=1, state="committed")
    assert failed["chio_error"]["receipt_id"] == committed.id
    assert world.outputs(world.dlq) == []


def test_without_an_error_topic_the_processor_stops_and_commits_nothing_beyond(world: World) -> None:
    world.produce({"n": 0}, {"n": 1}, {"n": 2})

    def handle(event: Event, ctx: Any) -> None:
        if event.offset() == 1:
            raise ValueError("no")
        ctx.produce(topic=world.target, value=event.value())

    processor = world.processor(handle, on_handler_error="stop")
    with pytest.raises(ChioHandlerError, match="ValueError"), running(processor) as thread:
        thread.join(30)
    assert world.committed() <= 1
    assert [value["n"] for value in world.outputs()] in ([], [0])


def test_an_event_that_is_not_ours_any_longer_can_do_nothing(world: World) -> None:
    world.produce({"n": 0})
    entered, go_on = threading.Event(), threading.Event()
    said: list[BaseException] = []

    def handle(event: Event, ctx: Any) -> None:
        if not entered.is_set():
            entered.set()
            go_on.wait(60)
            for attempt in (
                lambda: ctx.produce(topic=world.target, value=b"{}"),
                lambda: ctx.chio.invoke("price", "tools:orders:price"),
            ):
                try:
                    attempt()
                except ChioRevoked as error:
                    said.append(error)
                    continue
                raise AssertionError("nothing was raised")
            raise said[0]
        ctx.produce(topic=world.target, value=event.value())

    processor = world.processor(handle)
    with running(processor):
        assert entered.wait(60)
        # What follows the failure of a transaction that covered the event.
        processing = processor._processing
        run = processing.runs.get((world.source, 0))
        assert run is not None
        processing._errands.ask(lambda: processing.exactly_once._rewind([Stretch(run, [], 0, 1)]))
        go_on.set()
        assert world.await_outputs(1) == [{"n": 0}]
    assert len(said) == 2


def test_what_may_not_be_produced_is_refused_at_once(world: World) -> None:
    world.produce({"n": 0})
    said: list[Exception] = []

    def handle(event: Event, ctx: Any) -> None:
        for topic, value in (("nowhere", b"{}"), (world.target, b"x" * 5000), (world.errors + "-closed", b"{}")):
            try:
                ctx.produce(topic=topic, value=value)
            except Exception as error:  # noqa: BLE001 - looked at below
                said.append(error)
        ctx.produce(topic=world.target, value={"ok": True})

    closed = f"{world.errors}-closed"
    world.broker.create_topic(closed)
    scopes = {world.target: "events:produce:results", closed: "events:produce:secrets"}
    with running(world.processor(handle, produce_scope_map=scopes)):
        assert world.await_outputs(1) == [{"ok": True}]
    assert [type(error) for error in said] == [ChioDenied, ChioDeliveryError, ChioDenied]
    denied = world.receipts(kind="produce", verdict="deny")
    assert [receipt.batch.state for receipt in denied] == ["recorded", "recorded"]
    told = [error.decision for error in said if isinstance(error, ChioDenied)]
    assert [decision.receipt_id for decision in told] == [receipt.id for receipt in denied]
    assert "produce_scope_map" in told[0].reason


@pytest.mark.parametrize("reason", ["topic", "partition", "size"])
@pytest.mark.parametrize("road", ["fast", "ordinary"])
def test_an_output_that_the_cluster_refuses_fails_its_event_and_no_other(
    world: World, road: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if road == "ordinary":
        monkeypatch.setattr(roads, "fast", lambda _producer: None)
    world.produce(*({"n": n} for n in range(6)))
    gone = f"{world.errors}-gone"
    refused: dict[str, Any] = {
        "topic": {"topic": gone},
        "partition": {"topic": world.target, "partition": 7},
        # The topic takes less, compressed; what headers add is not looked at before.
        "size": {"topic": world.target, "headers": [("padding", random.Random(1).randbytes(6000))]},
    }[reason]

    def handle(event: Event, ctx: Any) -> None:
        more = refused if event.offset() == 3 else {"topic": world.target}
        ctx.produce(**more, value=event.value())

    scopes = {world.target: "events:produce:results", gone: "events:produce:results"}
    began = time.monotonic()
    with running(world.processor(handle, produce_scope_map=scopes)):
        found = world.await_outputs(5)
    # What waits beside the refused record, such as that of the checkpoint, would do so until it expires.
    assert time.monotonic() - began < config.TUNED_TRANSACTION["transaction.timeout.ms"] / 1000
    assert [value["n"] for value in found] == [0, 1, 2, 4, 5]
    [failed] = world.outputs(world.errors)
    assert failed["original_offset"] == 3
    states = Counter(receipt.batch.state for receipt in world.receipts(kind="consume", offset=0))
    assert states["rolled_back"] >= 1
    assert states["committed"] == 1
    world.assert_processed_once(6)


@pytest.mark.parametrize("step", range(3, 8))
def test_a_transaction_that_fails_is_resolved_and_its_events_are_processed_again(
    world: World, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoint, "_plan", {step: ("raise", 2)})
    monkeypatch.setattr(failpoint, "_reached", {})
    world.produce(*({"n": n} for n in range(400)), partition=0)
    world.produce(*({"n": n} for n in range(400, 800)), partition=1)
    processor = world.processor(forward(world.target), batch_size=50)
    with running(processor):
        found = world.await_outputs(800)
    assert sorted(value["n"] for value in found) == list(range(800))
    world.assert_processed_once(800)
    # After step 7 the cluster has committed, which reading shows.
    assert processor.stats().aborts == (0 if step == 7 else 1)
    assert step == 7 or world.receipts(kind="consume", state="rolled_back", limit=1)


def test_a_missing_dlq_topic_stops_the_processor(world: World) -> None:
    world.produce({"n": 0, "secret": True})
    processor = world.processor(forward(world.target), dlq_topic=f"{world.dlq}-missing")
    with pytest.raises(ChioDeadLetterError), running(processor) as thread:
        thread.join(60)
    assert world.committed() <= 0


def process_poison(arguments: dict[str, Any], source: str, target: str, policy: str) -> None:
    """Process in a process of its own, which events of two kinds kill."""
    failed: set[int] = set()

    def handle(event: Event, ctx: Any) -> None:
        if b"slow poison" in event.value() and event.offset() not in failed:
            failed.add(event.offset())
            raise LookupError("no such order")
        if b"poison" in event.value():
            os.kill(os.getpid(), signal.SIGKILL)
        ctx.produce(topic=target, value=event.value())

    processor = ChioTransactionalProcessor(**arguments, policy=Policy.from_yaml(policy))
    processor.register(source, handle)
    processor.run()


@pytest.mark.parametrize("kind", ["poison", "slow poison"])
def test_an_event_that_ends_the_process_is_given_up_and_those_beside_it_are_not(world: World, kind: str) -> None:
    """At the first attempt of each life, or at the second, after one that failed."""
    world.produce(*({"n": n} for n in range(5)), {"n": 5, "kind": kind}, *({"n": n} for n in range(6, 10)))
    arguments = world.arguments(max_attempts=4, config=SHORT_SESSION)
    del arguments["policy"]
    spawn = multiprocessing.get_context("spawn")
    killed = 0
    for _ in patiently("the last start"):
        process = spawn.Process(target=process_poison, args=(arguments, world.source, world.target, POLICY))
        process.start()
        while process.is_alive() and len(world.outputs()) < 9:
            time.sleep(0.1)
        if process.is_alive():
            process.terminate()
            process.join(60)
            assert process.exitcode == 0
            break
        process.join()
        killed += 1
    assert killed == 4
    assert sorted(value["n"] for value in world.outputs()) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    [failed] = world.outputs(world.errors)
    assert (failed["original_offset"], failed["chio_error"]["type"]) == (5, "ProcessEnded")
    assert not world.receipts(state="prepared")
    world.verify()


def test_an_event_that_failed_in_every_life_is_given_up_for_its_own_error(world: World) -> None:
    """However often it was tried before, it did not end the process: its handler raised."""
    world.produce({"n": 0})
    raised = threading.Event()

    def handle(_event: Event, _ctx: Any) -> None:
        raised.set()
        raise LookupError("no such order")

    for _ in range(3):
        raised.clear()
        with running(world.processor(handle, max_attempts=50, drain_timeout=0.1)):
            assert raised.wait(60)
    with running(world.processor(handle, max_attempts=3)):
        [failed] = world.await_outputs(1, world.errors)
    assert max(receipt.attempt or 0 for receipt in world.receipts(kind="consume", offset=0)) > 3
    assert (failed["chio_error"]["type"], failed["chio_error"]["message"]) == ("LookupError", "no such order")
    world.verify()


def test_a_call_that_does_not_return_keeps_its_thread_and_not_the_processor(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that comes back from it later must not touch the transactions of the one that went on."""
    kept: list[threading.Thread] = []

    def freeze_at_first(step: int) -> None:
        if step == 3 and not kept:
            kept.append(threading.current_thread())
            world.broker.freeze()

    monkeypatch.setattr(transaction, "LATE", 0.5 - transaction.SEND_SLICE)
    monkeypatch.setattr(failpoint, "reach", freeze_at_first)
    world.produce(*({"n": n} for n in range(20)))
    with running(world.processor(forward(world.target))):
        for _ in patiently("another thread to go on"):
            if "another thread goes on" in caplog.text:
                break
            time.sleep(0.05)
        world.broker.thaw()
        assert sorted(value["n"] for value in world.await_outputs(20)) == list(range(20))
        kept[0].join(60)
        assert not kept[0].is_alive()
        world.produce({"n": 20})
        assert world.await_outputs(21)[-1] == {"n": 20}
    world.assert_processed_once(21)


def test_a_client_that_keeps_every_thread_stops_the_processor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "MAX_KEPT", 0)
    monkeypatch.setattr(transaction, "LATE", 0.5 - transaction.SEND_SLICE)
    monkeypatch.setattr(failpoint, "reach", lambda step: world.broker.freeze() if step == 3 else None)
    world.produce({"n": 0})
    processor = world.processor(forward(world.target))
    said: list[BaseException] = []

    def run() -> None:
        try:
            processor.run()
        except ChioError as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    for _ in patiently("the processor to stop"):
        if processor._processing is not None and processor._processing.trouble.failure is not None:
            break
        time.sleep(0.05)
    world.broker.thaw()
    thread.join(60)
    processor.close()
    assert "does not return from `send_offsets_to_transaction`" in str(said[0])
    monkeypatch.undo()
    with running(world.processor(forward(world.target))):
        assert world.await_outputs(1) == [{"n": 0}]

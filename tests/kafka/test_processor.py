"""The exactly-once processor on the real broker: what its transactions hold, and what becomes of what fails."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from chio_fast import ChioRevoked, Enforcer, Event, Policy, Receipt, ReceiptLog, Signer, TrustFile
from chio_fast.errors import (
    ChioConfigError,
    ChioDeadLetterError,
    ChioDeliveryError,
    ChioDenied,
    ChioError,
    ChioHandlerError,
)
from chio_fast.kafka import envelope, failpoint
from chio_fast.kafka.processor import ChioTransactionalProcessor
from chio_fast.kafka.runs import Stretch
from tests.conftest import require_broker
from tests.kafka.broker import Broker
from tests.kafka.factory import Factory
from tests.kafka.scenario import patiently

POLICY = """
chio: policy/v1
identities:
  order-processor:
    capabilities: ["events:consume:*", "events:produce:results", "tools:orders:*"]
rules:
  - id: no-secrets
    effect: deny
    identities: [order-processor]
    scopes: ["events:consume:*"]
    when: has(event.value.secret)
    reason: secrets stay where they are
"""


class World:
    """Topics of a test's own, and processors over them."""

    def __init__(self, broker: Broker, directory: Path, new_topic: Callable[..., str]) -> None:
        self.broker = broker
        self.source = new_topic("source", partitions=2)
        self.target = new_topic("target", config={"max.message.bytes": 5000})
        self.dlq = new_topic("dlq")
        self.errors = new_topic("errors")
        self.group = f"group-{self.source}"
        self.log_path = directory / "receipts.db"
        self.key_path = directory / "signing.key"
        Signer.generate(self.key_path)
        self.factory = Factory(
            broker.bootstrap, directory, self.source, self.target, self.dlq, self.errors, group=self.group
        )

    def processor(self, handler: Callable[..., Any], **changes: Any) -> ChioTransactionalProcessor:
        """A processor with one handler."""
        processor = ChioTransactionalProcessor(**self.arguments(**changes))
        processor.register(self.source, handler)
        return processor

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What a processor of this world is told."""
        return {
            "bootstrap_servers": self.broker.bootstrap,
            "group_id": self.group,
            "consume_topics": [self.source],
            "produce_scope_map": {self.target: "events:produce:results"},
            "identity": "order-processor",
            "policy": Policy.from_yaml(POLICY),
            "receipt_log": self.log_path,
            "signer": self.key_path,
            "dlq_topic": self.dlq,
            "error_topic": self.errors,
            "max_batch_ms": 20,
            "config": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
            **changes,
        }

    def produce(self, *values: Any, key: str | None = None, partition: int = 0, **more: Any) -> None:
        """Write events."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for value in values:
            producer.produce(self.source, msgspec.json.encode(value), key, partition, **more)
        assert producer.flush(30) == 0

    def outputs(self, topic: str | None = None) -> list[Any]:
        """Values of the committed records of a topic, by default the target."""
        return [msgspec.json.decode(message.value()) for message in self.factory.read(topic or self.target)]

    def await_outputs(self, count: int, topic: str | None = None) -> list[Any]:
        """Wait for so many committed records."""
        for _ in patiently(f"{count} outputs"):
            found = self.outputs(topic)
            if len(found) >= count:
                assert len(found) == count
                return found
        raise AssertionError

    def receipts(self, **filters: Any) -> list[Receipt]:
        """Receipts of the log."""
        return list(ReceiptLog.open(self.log_path).query(**filters))

    def verify(self) -> None:
        """The whole log verifies."""
        ReceiptLog.open(self.log_path).verify(TrustFile.of(Signer.from_file(self.key_path).public_key))


@pytest.fixture
def world(broker: Broker, new_topic: Callable[..., str], tmp_path: Path) -> World:
    return World(broker, tmp_path, new_topic)


@contextmanager
def running(processor: ChioTransactionalProcessor) -> Iterator[threading.Thread]:
    """Run a processor in a thread; stop it at the end, and raise what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            processor.run()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        processor.stop()
        thread.join(60)
        assert not thread.is_alive()
        processor.close()
    if errors:
        raise errors[0]


def forward(target: str) -> Callable[..., None]:
    """A handler that produces what it gets."""

    def handle(event: Any, ctx: Any) -> None:
        ctx.produce(topic=target, value=event.value(), key=event.key())

    return handle


DOCUMENTED = """
from chio_streaming.kafka import ChioTransactionalProcessor

processor = ChioTransactionalProcessor(
    bootstrap_servers=BOOTSTRAP,
    group_id="order-processor",
    consume_topics=["orders"],
    sidecar_url="http://127.0.0.1:9090",
    consume_scope="events:consume:orders",
    produce_scope_map={"results": "events:produce:results"},
)

async def handle_order(event, ctx):
    result = await ctx.chio.invoke(
        tool="price_order",
        scope="tools:orders:price",
        arguments={"order": event.value().decode()},
    )
    await ctx.produce(topic="results", value=result)

processor.register("orders", handle_order)
processor.run()
"""


@pytest.fixture
def empty_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own: documented topics have names that other documents use too."""
    require_broker(request.config)
    with Broker(tmp_path / "broker") as running:
        yield running


def test_the_documented_example_runs_verbatim(
    empty_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = empty_broker
    for topic in ("orders", "results", "chio-dlq"):
        broker.create_topic(topic)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("has(event.value.secret)", "event.size > 1000"))
    monkeypatch.setenv("CHIO_POLICY", str(policy))
    monkeypatch.setenv("CHIO_RECEIPT_LOG", str(tmp_path / "receipts.db"))
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce("orders", b"two apples")
    producer.flush()
    made: list[ChioTransactionalProcessor] = []

    class Watched(ChioTransactionalProcessor):
        def run(self) -> Any:
            made.append(self)
            self.tool("price_order", lambda order: {"order": order, "price": 2})
            return super().run()

    text = DOCUMENTED.replace("from chio_streaming.kafka import ChioTransactionalProcessor", "")
    names = {"BOOTSTRAP": broker.bootstrap, "ChioTransactionalProcessor": Watched}
    thread = threading.Thread(target=exec, args=(text, names))
    thread.start()
    factory = Factory(broker.bootstrap, tmp_path, "orders", "results", "chio-dlq", "", group="order-processor")
    for _ in patiently("the result"):
        if found := factory.read("results"):
            break
    made[0].stop()
    thread.join(60)
    made[0].close()
    assert msgspec.json.decode(found[0].value()) == {"order": "two apples", "price": 2}
    log = ReceiptLog.open(tmp_path / "receipts.db")
    [produced] = log.query(kind="produce")
    kinds = [log.get(parent).kind for parent in produced.parents]
    assert sorted(kinds) == ["consume", "invoke"]
    assert produced.batch.state == "committed"


def test_outputs_offsets_and_receipts_commit_together(world: World) -> None:
    world.produce(*({"n": n} for n in range(20)), key="k", headers={"traceparent": "00-ab-cd-01"})
    processor = world.processor(forward(world.target))
    with running(processor):
        found = world.await_outputs(20)
    assert [value["n"] for value in found] == list(range(20))
    consumed = {receipt.id: receipt for receipt in world.receipts(kind="consume")}
    produced = {receipt.id: receipt for receipt in world.receipts(kind="produce")}
    for message in world.factory.read(world.target):
        headers = dict(message.headers())
        receipt = produced[headers[envelope.HEADER_RECEIPT].decode()]
        assert headers[envelope.HEADER_SCOPE] == b"events:produce:results"
        assert headers["traceparent"] == b"00-ab-cd-01"
        assert receipt.batch.state == "committed"
        assert [consumed[parent].batch.state for parent in receipt.parents] == ["committed"]
    assert processor.stats().committed == 20
    world.verify()


def test_denied_events_go_to_the_dlq_in_the_same_transaction(world: World) -> None:
    world.produce(*({"n": n, **({"secret": True} if n % 2 else {})} for n in range(10)))
    processor = world.processor(forward(world.target))
    with running(processor):
        found = world.await_outputs(5)
    letters = [envelope.decode(message.value()) for message in world.factory.read(world.dlq)]
    assert [value["n"] for value in found] == [0, 2, 4, 6, 8]
    assert [letter.original_offset for letter in letters] == [1, 3, 5, 7, 9]
    receipts = {receipt.id: receipt for receipt in world.receipts(kind="consume", state="committed")}
    assert len(receipts) == 10
    for letter in letters:
        assert letter.attempt == 1
        assert receipts[letter.chio_denial.receipt_id or ""].verdict == "deny"


def test_async_handlers_run_at_the_same_time(world: World) -> None:
    for n in range(8):
        world.produce({"n": n}, key=str(n))
    waiting = 0
    all_there = asyncio.Event()

    async def handle(event: Event, ctx: Any) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 8:
            all_there.set()
        await all_there.wait()
        await ctx.produce(topic=world.target, value=event.value())

    with running(world.processor(handle, concurrency=8)):
        world.await_outputs(8)


def test_events_of_a_key_are_handled_in_order_one_after_the_other(world: World) -> None:
    for n in range(60):
        world.produce({"n": n}, key=str(n % 3))
    running_now: Counter[bytes] = Counter()
    seen: dict[bytes, list[int]] = {}

    def handle(event: Event, ctx: Any) -> None:
        running_now[event.key()] += 1
        assert running_now[event.key()] == 1
        time.sleep(0.001)
        seen.setdefault(event.key(), []).append(msgspec.json.decode(event.value())["n"])
        running_now[event.key()] -= 1
        ctx.produce(topic=world.target, value=event.value(), key=event.key())

    with running(world.processor(handle)):
        world.await_outputs(60)
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert sum(map(len, seen.values())) == 60


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
    assert world.factory._committed().get(0, 0) <= 1
    assert [value["n"] for value in world.outputs()] in ([], [0])


def test_a_slow_event_of_one_partition_does_not_hold_the_others(world: World) -> None:
    world.produce({"n": -1, "slow": True}, *({"n": -2} for _ in range(30)), partition=0)
    go_on = threading.Event()

    def handle(event: Event, ctx: Any) -> None:
        if msgspec.json.decode(event.value()).get("slow"):
            go_on.wait(60)
        ctx.produce(topic=world.target, value=event.value())

    with running(world.processor(handle, max_in_flight=20, batch_size=10, concurrency=4)):
        world.produce(*({"n": n} for n in range(50)), partition=1)
        assert [value["n"] for value in world.await_outputs(50)] == list(range(50))
        go_on.set()
        world.await_outputs(81)


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


def test_an_output_that_the_cluster_refuses_fails_its_event_and_no_other(world: World) -> None:
    world.produce(*({"n": n} for n in range(6)))
    gone = f"{world.errors}-gone"

    def handle(event: Event, ctx: Any) -> None:
        ctx.produce(topic=gone if event.offset() == 3 else world.target, value=event.value())

    scopes = {world.target: "events:produce:results", gone: "events:produce:results"}
    with running(world.processor(handle, produce_scope_map=scopes)):
        found = world.await_outputs(5)
    assert [value["n"] for value in found] == [0, 1, 2, 4, 5]
    [failed] = world.outputs(world.errors)
    assert failed["original_offset"] == 3
    states = Counter(receipt.batch.state for receipt in world.receipts(kind="consume", offset=0))
    assert states["rolled_back"] >= 1
    assert states["committed"] == 1
    world.verify()


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
    committed = world.receipts(kind="consume", state="committed")
    assert len({(receipt.target.partition, receipt.target.offset) for receipt in committed}) == len(committed) == 800
    assert not world.receipts(state="prepared")
    # After step 7 the cluster has committed, which reading shows.
    assert processor.stats().aborts == (0 if step == 7 else 1)
    assert step == 7 or world.receipts(kind="consume", state="rolled_back", limit=1)
    world.verify()


def test_a_missing_dlq_topic_stops_the_processor(world: World) -> None:
    world.produce({"n": 0, "secret": True})
    processor = world.processor(forward(world.target), dlq_topic=f"{world.dlq}-missing")
    with pytest.raises(ChioDeadLetterError), running(processor) as thread:
        thread.join(60)
    assert world.factory._committed().get(0, 0) <= 0


def holds(processor: ChioTransactionalProcessor) -> int:
    """How many partitions a processor has; none before it has started."""
    try:
        return len(processor.stats().partitions)
    except ChioError:
        return 0


def process_poison(arguments: dict[str, Any], source: str, target: str, policy: str) -> None:
    """Process in a process of its own, which events of one kind kill."""

    def handle(event: Event, ctx: Any) -> None:
        if b"poison" in event.value():
            os.kill(os.getpid(), signal.SIGKILL)
        ctx.produce(topic=target, value=event.value())

    processor = ChioTransactionalProcessor(**arguments, policy=Policy.from_yaml(policy))
    processor.register(source, handle)
    processor.run()


def test_an_event_that_ends_the_process_is_given_up_and_those_beside_it_are_not(world: World) -> None:
    world.produce(*({"n": n} for n in range(5)), {"n": 5, "poison": True}, *({"n": n} for n in range(6, 10)))
    arguments = world.arguments(max_attempts=4)
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


def test_members_share_partitions_and_every_event_is_processed_once(world: World) -> None:
    def handle(event: Event, ctx: Any) -> None:
        time.sleep(0.002)
        ctx.produce(topic=world.target, value=event.value())

    def produce(numbers: range) -> None:
        for n in numbers:
            world.produce({"n": n}, partition=n % 2)

    produce(range(100))
    first = world.processor(handle, member="first", batch_size=20, max_in_flight=40)
    with running(first):
        second = world.processor(handle, member="second", batch_size=20, max_in_flight=40)
        with running(second):
            for _ in patiently("both to have a partition"):
                if holds(first) == holds(second) == 1:
                    break
                time.sleep(0.05)
            produce(range(100, 200))
            world.await_outputs(200)
        produce(range(200, 250))
        found = world.await_outputs(250)
    assert sorted(value["n"] for value in found) == list(range(250))
    committed = world.receipts(kind="consume", state="committed")
    assert len({(receipt.target.partition, receipt.target.offset) for receipt in committed}) == len(committed) == 250
    assert not world.receipts(state="prepared")


def test_stop_finishes_what_is_in_flight(world: World) -> None:
    world.produce(*({"n": n} for n in range(10)), partition=0)
    begun = threading.Event()

    def handle(event: Event, ctx: Any) -> None:
        begun.set()
        time.sleep(0.1)
        ctx.produce(topic=world.target, value=event.value())

    processor = world.processor(handle)
    with running(processor):
        assert begun.wait(60)
    done = len(world.outputs())
    assert done >= 1
    assert world.factory._committed()[0] == done


def test_run_may_be_awaited(world: World) -> None:
    world.produce({"n": 0})

    async def main() -> None:
        processor = world.processor(forward(world.target))
        task = asyncio.ensure_future(processor.run())
        while not await asyncio.to_thread(world.outputs):
            await asyncio.sleep(0.05)
        processor.stop()
        await task
        processor.close()

    asyncio.run(main())
    assert world.outputs() == [{"n": 0}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error_topic": "dlq", "dlq_topic": "dlq"}, "both DLQ and error topic"),
        ({"on_handler_error": "error_topic", "error_topic": None}, "nowhere to go"),
        ({"produce_scope_map": {"chio-checkpoints": "events:produce:x"}}, "written by the processor itself"),
        ({"batch_size": 5, "max_in_flight": 4}, "no more than may be in flight"),
        ({"consume_scope": {"other": "events:consume:other"}}, "has no scope"),
        ({"order": "none"}, "write `key` or `partition`"),
        ({"config": {"isolation.level": "read_uncommitted"}}, "isolation.level"),
        ({"config": {"transactional.id": "mine"}}, "transactional.id"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(world: World, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ChioConfigError, match=message), world.processor(forward("x"), **changes) as processor:
        processor.run()


def test_receipts_that_do_not_survive_a_crash_are_refused(world: World) -> None:
    with (
        Enforcer(Policy.from_yaml(POLICY), receipt_log=world.log_path, identity="a", durability="relaxed") as enforcer,
        pytest.raises(ChioConfigError, match="durability"),
    ):
        world.processor(forward("x"), enforcer=enforcer, policy=None, receipt_log=None, signer=None)

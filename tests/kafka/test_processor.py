"""The exactly-once processor on the real broker: what its transactions hold, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition

from chio_fast import Enforcer, Event, Policy, ReceiptLog
from chio_fast.errors import ChioConfigError, ChioError
from chio_fast.kafka import envelope, inheritance
from chio_fast.kafka.processor import ChioTransactionalProcessor
from chio_fast.kafka.recovery import Recovery, Resolved
from tests.conftest import require_broker
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.kafka.patience import patiently
from tests.kafka.processor_world import POLICY, World, forward, running, world

__all__ = ["world"]


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
    for _ in patiently("the result"):
        if found := list(topics.read(broker.bootstrap, "results")):
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
    for message in world.read(world.target):
        headers = dict(message.headers())
        receipt = produced[headers[envelope.HEADER_RECEIPT].decode()]
        assert headers[envelope.HEADER_SCOPE] == b"events:produce:results"
        assert headers["traceparent"] == b"00-ab-cd-01"
        assert receipt.batch.state == "committed"
        assert [consumed[parent].batch.state for parent in receipt.parents] == ["committed"]
    assert processor.stats().committed == 20
    world.verify()


def test_a_client_that_goes_back_by_itself_has_nothing_processed_twice(world: World) -> None:
    world.produce(*({"n": n} for n in range(100)))
    processor = world.processor(forward(world.target))
    with running(processor):
        world.await_outputs(100)
        processing = processor._processing
        assert processing is not None
        processing._errands.ask(lambda: processing._raw.seek(TopicPartition(world.source, 0, 0)))
        world.produce({"n": 100})
        assert [value["n"] for value in world.await_outputs(101)] == list(range(101))
        assert processor.stats().aborts == 0
    world.assert_processed_once(101)


def test_denied_events_go_to_the_dlq_in_the_same_transaction(world: World) -> None:
    world.produce(*({"n": n, **({"secret": True} if n % 2 else {})} for n in range(10)))
    processor = world.processor(forward(world.target))
    with running(processor):
        found = world.await_outputs(5)
    letters = [envelope.decode(message.value()) for message in world.read(world.dlq)]
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


def holds(processor: ChioTransactionalProcessor) -> int:
    """How many partitions a processor has; none before it has started."""
    try:
        return len(processor.stats().partitions)
    except ChioError:
        return 0


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
    world.assert_processed_once(250)


def test_the_last_outcome_is_in_the_log_when_the_processor_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes ride with the next batch; whoever ends the process right after `run` leaves nothing open."""
    issuing = ReceiptLog.issuing
    monkeypatch.setattr(ReceiptLog, "issuing", lambda log, **named: issuing(log, **named | {"linger_ms": 60_000}))
    world.produce({"n": 0})
    processor = world.processor(forward(world.target), anchor_topic=None)
    thread = threading.Thread(target=processor.run)
    thread.start()
    world.await_outputs(1)
    processor.stop()
    thread.join(60)
    assert not thread.is_alive()
    world.assert_processed_once(1)
    processor.close()


def test_stop_does_not_wait_for_the_transactions_of_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hide the end of the checkpoint topic from whoever looks what became of a former holder's batch."""
    looks, go_on = threading.Event(), threading.Event()

    def resolve(*_arguments: Any, **_named: Any) -> list[Resolved]:
        looks.set()
        assert go_on.wait(60)
        return []

    monkeypatch.setattr(inheritance, "GRACE", 0.1)
    monkeypatch.setattr(Recovery, "resolve_assigned", resolve)
    with running(world.processor(forward(world.target))) as thread:
        assert looks.wait(60)
    assert not go_on.is_set()
    assert not thread.is_alive()
    go_on.set()


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
    assert world.committed() == done


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

"""`AsyncChioConsumer`: the same promises, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from chio_fast import Allow, AsyncChioConsumer, AsyncChioProducer, Deny, Enforcer, GuardContext, Policy
from chio_fast.context import current_event
from chio_fast.errors import ChioConfigError, ChioError, ChioRevoked
from tests.kafka import receipts
from tests.kafka.scenario import IDENTITY, OPEN_POLICY, Scenario


def build(scenario: Scenario, conf: dict[str, Any] | None = None, **more: Any) -> AsyncChioConsumer:
    """An asyncio consumer of all topics."""
    arguments: dict[str, Any] = {
        "scope_map": {topic: f"events:consume:{topic}" for topic in scenario.topics},
        "identity": IDENTITY,
        "dlq_topic": scenario.dlq,
        "policy": Policy.from_yaml(scenario.policy),
        "receipt_log": scenario.log_path,
        "signer": scenario.key_path,
    }
    return AsyncChioConsumer.from_config(conf or scenario.conf(), **(arguments | more))


@contextlib.asynccontextmanager
async def consuming(
    scenario: Scenario, conf: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[AsyncChioConsumer]:
    """The same, closed at the end."""
    async with build(scenario, conf, **more) as consumer:
        yield consumer


@pytest.mark.asyncio
async def test_everything_is_handed_out_or_dead_lettered_and_the_loop_keeps_turning(scenario: Scenario):
    places = await asyncio.to_thread(scenario.produce, 3_000, seed=81)
    allowed = sum(not scenario.fates[where] for where in places)
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before - 0.005)

    async with consuming(scenario) as consumer:
        watching = asyncio.create_task(watch())
        async for event in consumer:
            scenario.note([event])
            if len(scenario.handed) % 500 == 0:
                await consumer.commit(event)
            if len(scenario.handed) == allowed:
                break
        await consumer.commit(asynchronous=False)
        watching.cancel()
    gaps.sort()
    assert gaps[int(len(gaps) * 0.95)] < 0.1, "the loop was blocked"
    await asyncio.to_thread(scenario.audit)


@pytest.mark.asyncio
async def test_a_cancelled_wait_loses_no_event(scenario: Scenario):
    scenario.policy = OPEN_POLICY
    await asyncio.to_thread(scenario.produce, 300, seed=82, denied=0)
    async with consuming(scenario) as consumer:
        while len(scenario.handed) < 300:
            with contextlib.suppress(TimeoutError):
                event = await asyncio.wait_for(consumer.poll(5), 0.003)
                scenario.note([event])
        await consumer.commit(asynchronous=False)
    await asyncio.to_thread(scenario.audit)


@pytest.mark.asyncio
async def test_only_what_the_loop_took_is_committed(scenario: Scenario):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    for n in range(50):
        await asyncio.to_thread(scenario.raw_produce, b"%d" % n)
    async with consuming(scenario) as consumer:
        for _ in range(7):
            event = await consumer.poll(20)
            assert event is not None
        partition = TopicPartition(scenario.topic, 0)
        assert [part.offset for part in await consumer.position([partition])] == [7]
        await consumer.commit(asynchronous=False)
    assert scenario.committed()[scenario.topic, 0] == 7
    issued = receipts.consume_receipts(scenario.log_path)
    assert len(receipts.rolled_back(scenario.log_path)) == len(issued) - 7


@pytest.mark.asyncio
async def test_seek_and_pause_hold_for_what_was_fetched_too(scenario: Scenario):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    for n in range(40):
        await asyncio.to_thread(scenario.raw_produce, b"%d" % n)
    partition = TopicPartition(scenario.topic, 0)
    async with consuming(scenario) as consumer:
        first = await consumer.poll(20)
        assert first is not None
        await consumer.pause([partition])
        assert await consumer.poll(0.3) is None
        await consumer.resume([partition])
        second = await consumer.poll(20)
        assert second is not None
        assert second.offset() == 1
        await consumer.seek(TopicPartition(scenario.topic, 0, 0))
        with pytest.raises(ChioRevoked):
            await consumer.commit(second)
        again = [await consumer.poll(20) for _ in range(40)]
        assert [event.offset() for event in again if event is not None] == list(range(40))


@pytest.mark.asyncio
async def test_what_tasks_produce_has_the_event_of_their_own_loop_as_its_parent(
    scenario: Scenario, new_topic: Callable[..., str]
):
    """Two tasks iterate two consumers, and both have an event in hand whenever one of them produces."""
    answers, together = new_topic("answers"), asyncio.Barrier(2)
    for topic in scenario.topics[:2]:
        for n in range(3):
            await asyncio.to_thread(scenario.raw_produce, b"%d" % n, topic=topic)
    policy = Policy.from_yaml(OPEN_POLICY.replace("[", '["events:produce:*", '))
    with Enforcer(policy, receipt_log=scenario.log_path, signer=scenario.key_path, identity=IDENTITY) as enforcer:

        async def answer(topic: str, producer: AsyncChioProducer) -> None:
            """Answers each event of a topic with its receipt."""
            answered = 0
            async with AsyncChioConsumer.from_config(
                scenario.conf() | {"group.id": f"{scenario.group}-{topic}"},
                scope_map={topic: "events:consume:x"},
                dlq_topic=scenario.dlq,
                enforcer=enforcer,
            ) as consumer:
                async for event in consumer:
                    await together.wait()
                    await (await producer.produce(answers, event.chio_receipt_id))
                    await together.wait()
                    answered += 1
                    if answered == 3:
                        break
                assert current_event() is None

        async with AsyncChioProducer.from_config(
            {"bootstrap.servers": scenario.broker.bootstrap},
            scope_map={answers: "events:produce:answers"},
            enforcer=enforcer,
        ) as producer:
            await asyncio.gather(*(answer(topic, producer) for topic in scenario.topics[:2]))
        written = await asyncio.to_thread(scenario.read, answers)
        answered_by = {
            dict(message.headers())["X-Chio-Receipt"].decode(): message.value().decode() for message in written
        }
        assert len(answered_by) == 6
        parents = {receipt: enforcer.receipt_log.get(receipt).parents for receipt in answered_by}
        assert parents == {receipt: (event,) for receipt, event in answered_by.items()}


@pytest.mark.asyncio
async def test_guards_run_on_the_applications_loop(scenario: Scenario):
    loops: set[asyncio.AbstractEventLoop] = set()

    class Looking:
        name = "looking"

        async def evaluate(self, context: GuardContext) -> Allow | Deny:
            loops.add(asyncio.get_running_loop())
            return Deny("odd") if context.event.offset() % 2 else Allow()

    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    for n in range(20):
        where = await asyncio.to_thread(scenario.raw_produce, b"%d" % n)
        scenario.fates[where] = bool(where[2] % 2)
    async with consuming(scenario, guards=[Looking()]) as consumer:
        while len(scenario.handed) < 10:
            event = await consumer.poll(20)
            scenario.note([event])
        await consumer.commit(asynchronous=False)
        while consumer.stats().dead_letters < 10:
            assert await consumer.poll(0.1) is None
    assert loops == {asyncio.get_running_loop()}
    await asyncio.to_thread(scenario.audit)


@pytest.mark.asyncio
@pytest.mark.parametrize("waiting", [0, 20])
async def test_slow_handlers_keep_their_membership(scenario: Scenario, waiting: int):
    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    for n in range(1 + waiting):
        await asyncio.to_thread(scenario.raw_produce, b"%d" % n)
    lost: list[object] = []
    conf = scenario.conf(max_poll_interval_ms=6000, session_timeout_ms=6000)
    async with consuming(scenario, conf, on_lost=lambda _consumer, partitions: lost.append(partitions)) as consumer:
        assert await consumer.poll(20) is not None
        await asyncio.sleep(8)
        await asyncio.to_thread(scenario.raw_produce, b"last")
        event = await consumer.poll(20)
        assert event is not None
        assert event.offset() == 1
        await consumer.commit(event, asynchronous=False)
    assert lost == []


@pytest.mark.asyncio
async def test_unsafe_settings_are_refused_by_the_first_call(scenario: Scenario):
    consumer = AsyncChioConsumer.from_config(
        scenario.conf(enable_auto_commit=True), scope_map={"t": "events:consume:t"}, identity="w", dlq_topic="d"
    )
    with pytest.raises(ChioConfigError, match=r"enable\.auto\.commit=false"):
        await consumer.poll(0)
    await consumer.close()


@pytest.mark.asyncio
async def test_a_consumer_that_is_closed_while_it_is_built_is_closed_and_says_so(scenario: Scenario):
    consumer = build(scenario)
    first = asyncio.create_task(consumer.poll(60))
    await asyncio.sleep(0)
    await consumer.close()
    assert await asyncio.wait_for(first, 10) is None
    with pytest.raises(ChioError, match="the consumer is closed; build another one"):
        await consumer.poll(0.1)
    with pytest.raises(RuntimeError, match="closed"):
        consumer.raw.consume(1, 0)

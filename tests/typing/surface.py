"""A user's program that touches the whole surface; it is checked by mypy and never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

from chio_fast import (
    Allow,
    AsyncChioProducer,
    CheckRequest,
    ChioDenied,
    ChioProducerMiddleware,
    ChioTransactionalProcessor,
    Decision,
    Deny,
    Enforcer,
    EnforcerStats,
    Event,
    Explanation,
    Guard,
    GuardContext,
    GuardRun,
    Policy,
    PolicyWatcher,
    Receipt,
    ReceiptLog,
    RuleError,
    Signer,
    TrustFile,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from confluent_kafka import KafkaError, Message, Producer

    from chio_fast.kafka import HandlerContext, ProcessorStats, ProducerStats


class Pii:
    async def evaluate(self, context: GuardContext) -> Allow | Deny:
        assert_type(context.topic, str | None)
        return Allow() if context.has_scope("data:pii:read") else Deny("no")


class Plain:
    name = "plain"

    def evaluate(self, context: GuardContext) -> Allow | Deny:
        return Deny(context.identity)


def policies() -> Decision:
    policy = Policy.from_file(Path("policy.yaml"))
    assert_type(policy.version, str)
    assert_type(policy.guards, tuple[str, ...])
    for other in (Policy.from_yaml(""), Policy.from_json("{}"), Policy.from_dict({"chio": "policy/v1"})):
        assert_type(other, Policy)
    assert_type(policy.explain("a", "b:c"), Explanation)
    decision = policy.decide(
        "a", "b:c", kind="produce", event={"topic": "t"}, tool="x", arguments={"a": 1}, output={"topic": "u"}, now=1
    )
    assert_type(decision.errors, tuple[RuleError, ...])
    assert_type(decision.guard_runs, tuple[GuardRun, ...])
    return decision


def enforcing(message: Message) -> None:
    guards: list[Guard] = [Pii(), Plain()]
    enforcer = Enforcer("policy.yaml", receipt_log=Path("r.db"), signer="key", guards=guards, identity="me", watch=2.5)
    Enforcer(PolicyWatcher("p"), guards={"pii": Pii()}, receipt_log=ReceiptLog.open("r.db"), signer=Signer.from_env())
    assert_type(enforcer.check("a:b", event=message, parents=["rcpt_"]), Decision)
    assert_type(enforcer.check_batch([CheckRequest(scope="a:b")]), list[Decision])
    assert_type(enforcer.stats(), EnforcerStats)
    assert_type(enforcer.reload(), str)
    try:
        enforcer.invoke("tool", "a:b", {"x": 1})
    except ChioDenied as denied:
        assert_type(denied.decision, Decision)

    @enforcer.tool("named")
    def named(x: int) -> int:
        return x

    assert_type(named(3), int)
    allowed, denied_events = enforcer.issue([])
    assert_type(allowed, list[Event])
    for event in denied_events:
        with event as handled:
            assert_type(handled.chio_receipt_id, str | None)
            assert_type(handled.chio_decision, Decision)
            assert_type(handled.topic(), str)


def producing(client: Producer, enforcer: Enforcer) -> None:
    def report(error: KafkaError | None, message: Message) -> None:
        assert_type(message.topic(), str | None)

    ChioProducerMiddleware(producer=client, sidecar_url="http://sidecar", scope_map={"t": "a:b"}, policy="policy.yaml")
    producer = ChioProducerMiddleware.from_config({"client.id": "me"}, scope_map={"t": "a:b"}, enforcer=enforcer)
    with producer:
        producer.produce("t", b"value", "key", headers=[("a", b"1")], on_delivery=report, parents=["rcpt_"])
        producer.produce(topic="t", value=None, key=None, headers={"a": None}, partition=1, timestamp=1)
        assert_type(producer.produce_batch("t", [{"value": "v"}]), int)
        assert_type((producer.poll(0), producer.flush(1.0), len(producer)), tuple[int, int, int])
        assert_type(producer.stats(), ProducerStats)
    assert_type(producer.raw, Producer)


async def producing_async() -> None:
    async with AsyncChioProducer.from_config({}, scope_map={"t": "a:b"}, identity="me") as producer:
        delivery = await producer.produce("t", b"value", key=b"key", headers={"a": "b"})
        assert_type(delivery, asyncio.Future[Message])
        assert_type(await delivery, Message)
        assert_type(await producer.flush(), int)


def processing() -> None:
    processor = ChioTransactionalProcessor(
        bootstrap_servers="localhost:9092",
        group_id="writers",
        consume_topics=["t"],
        consume_scope={"t": "a:b"},
        produce_scope_map={"u": "a:c"},
        batch_size=100,
        on_handler_error="error_topic",
        error_topic="errors",
        order="partition",
        config={"client.id": "me"},
    )

    async def handle(event: Event, ctx: HandlerContext) -> None:
        assert_type((ctx.event, ctx.receipt), tuple[Event, str])
        found = await ctx.chio.invoke(tool="search", scope="tools:search", arguments={"query": "q"}, call_id="first")
        await ctx.produce(topic="u", value=found, key=event.key(), headers={"a": "b"}, partition=1, timestamp=1)

    processor.register("t", handle)
    processor.run()
    processor.stop()
    assert_type(processor.stats(), ProcessorStats)
    processor.close()


def reading(log: ReceiptLog, trust: TrustFile) -> Iterator[Receipt]:
    assert_type(log.get("rcpt_"), Receipt)
    assert_type(log.verify(trust).receipts, int)
    assert_type(log.export("rcpt_"), bytes)
    yield from log.query(verdict="deny", newest_first=True, limit=5)

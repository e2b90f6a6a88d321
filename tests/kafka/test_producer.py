"""The governed producer: nothing in a topic without its durable receipt, nothing denied in a topic."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import Producer

from chio_fast import (
    Allow,
    ChioConfigError,
    ChioDenied,
    ChioError,
    ChioProducerMiddleware,
    ChioRevoked,
    Deny,
    Enforcer,
    Policy,
)
from chio_fast.kafka import constructor_arguments
from tests.kafka.broker import Broker
from tests.kafka.patience import PATIENCE, patiently
from tests.kafka.producer_world import IDENTITY, POLICY, World, world

__all__ = ["world"]


def test_messages_arrive_in_order_each_with_its_receipt_and_the_callers_headers(world: World) -> None:
    producer = world.producer()
    for number in range(3000):
        producer.produce(
            world.topic, b'{"n": %d}' % number, key=b"k%d" % (number % 7), partition=0, headers=[("n", str(number))],
            on_delivery=world.report,
        )  # fmt: skip
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0
    assert len(producer) == 0
    assert [error for error, _ in world.reports] == [None] * 3000
    assert [message.offset() for _, message in world.reports] == list(range(3000))
    records = world.audit()
    assert [record.value() for record in records] == [b'{"n": %d}' % number for number in range(3000)]
    assert [dict(record.headers() or [])["n"] for record in records] == [str(n).encode() for n in range(3000)]
    found = world.receipts()
    assert [dict(record.headers() or [])["X-Chio-Receipt"].decode() for record in records] == list(found)
    assert producer.stats().sent == 3000


def test_what_is_denied_raises_with_its_receipt_and_is_not_sent(world: World) -> None:
    producer = world.producer()
    with pytest.raises(ChioDenied, match="secrets stay") as denied:
        producer.produce(world.topic, b'{"secret": true}')
    producer.produce(world.topic, b'{"secret": false}')
    assert producer.flush(PATIENCE) == 0
    assert [record.value() for record in world.audit()] == [b'{"secret": false}']
    receipt = world.receipts()[denied.value.decision.receipt_id or ""]
    assert (receipt.verdict, receipt.rule, receipt.identity) == ("deny", "no-secrets", IDENTITY)
    assert producer.stats().denied == 1


def test_a_topic_without_a_scope_is_denied_with_a_receipt_whatever_the_policy_says(world: World) -> None:
    producer = world.producer(scope_map={"other": "events:produce:other"})
    with pytest.raises(ChioDenied, match="has no scope: write `scope_map=") as denied:
        producer.produce(world.topic, b"{}")
    producer.close()
    receipt = world.receipts()[denied.value.decision.receipt_id or ""]
    assert (receipt.verdict, receipt.rule, receipt.target.topic) == ("deny", "guard:outlet", world.topic)
    assert world.records() == []


def test_a_batch_is_sent_whole_or_not_at_all(world: World) -> None:
    producer = world.producer()
    with pytest.raises(ChioDenied):
        producer.produce_batch(world.topic, [{"value": b"{}"}, {"value": b'{"secret": true}'}])
    assert [receipt.verdict for receipt in world.settled(producer)] == ["deny"]
    batch = [{"value": b'{"n": %d}' % n, "headers": {"n": str(n)}, "partition": 0} for n in range(100)]
    assert producer.produce_batch(world.topic, batch, on_delivery=world.report) == 100
    producer.flush(PATIENCE)
    assert [record.value() for record in world.audit()] == [message["value"] for message in batch]
    assert len(world.reports) == 100


def test_callbacks_run_where_the_application_polls(world: World) -> None:
    threads: list[threading.Thread] = []
    producer = world.producer()
    producer.produce(world.topic, b"{}", on_delivery=lambda *_: threads.append(threading.current_thread()))
    producer.produce("nowhere", b"{}", on_delivery=lambda *_: threads.append(threading.current_thread()))
    for _ in patiently("two callbacks"):
        producer.poll(0.1)
        if len(threads) == 2:
            break
    assert set(threads) == {threading.current_thread()}


@pytest.mark.parametrize(
    ("identity", "environment", "client_id", "expected"),
    [
        ("writers", "workers", "nobody", "writers"),
        (None, "workers", "writers", "workers"),
        (None, None, "writers", "writers"),
    ],
)
def test_who_produces_is_the_argument_the_environment_or_the_client_id(
    world: World, monkeypatch: pytest.MonkeyPatch, identity: str, environment: str, client_id: str, expected: str
) -> None:
    if environment:
        monkeypatch.setenv("CHIO_IDENTITY", environment)
    producer = world.producer({"client.id": client_id}, identity=identity)
    producer.produce(world.topic, b"{}")
    producer.close()
    assert [receipt.identity for receipt in world.receipts().values()] == [expected]


def test_nobody_may_produce_anything(world: World) -> None:
    with pytest.warns(UserWarning, match="nobody produces outside of handlers: give `identity=`"):
        producer = world.producer(identity=None)
    with pytest.raises(ChioDenied, match="CHIO_IDENTITY") as denied:
        producer.produce(world.topic, b"{}")
    producer.close()
    assert (world.receipts()[denied.value.decision.receipt_id or ""]).verdict == "deny"
    assert world.records() == []


def test_guards_look_at_what_is_produced(world: World) -> None:
    class NoTrace:
        async def evaluate(self, context: Any) -> Any:
            assert context.kind == "produce"
            return Allow() if context.output["headers"] else Deny("no trace")

    producer = world.producer(guards=[NoTrace()])
    with pytest.raises(ChioDenied, match="no trace"):
        producer.produce(world.topic, b"{}")
    assert [receipt.rule for receipt in world.settled(producer)] == ["guard:NoTrace"]


def test_outputs_of_a_handled_event_name_it_and_its_tool_calls(world: World) -> None:
    enforcer = Enforcer(
        Policy.from_yaml(POLICY),
        receipt_log=world.scenario.log_path,
        signer=world.scenario.key_path,
        identity="workers",
    )
    enforcer.tool("look", lambda: 1)
    world.scenario.raw_produce(b"{}", headers=[("traceparent", b"trace")])
    world.scenario.raw_produce(b"{}", partition=1)
    out = world.scenario.topics[1]
    producer = world.producer(enforcer=enforcer, identity=None)
    with world.scenario.consumer(enforcer=enforcer, identity="workers") as consumer:
        handled = []
        for event in consumer:
            handled.append(event)
            enforcer.invoke("look", "tools:look:up")
            producer.produce(out, b"{}", key=str(event.partition()))
            if len(handled) == 2:
                break
        producer.produce(out, b"{}", key="after")
        with handled[0]:
            producer.produce(out, b"{}", key="again")
    with handled[0], pytest.raises(ChioRevoked, match=f"nothing was produced to `{out}`"):
        producer.produce(out, b"{}")
    producer.close()
    calls = list(world.receipts("invoke").values())
    outputs = list(world.receipts().values())
    for event, call, output in zip(handled, calls, outputs[:2], strict=True):
        assert call.parents == (event.chio_receipt_id,)
        assert output.parents == (event.chio_receipt_id, call.id)
        assert output.correlation == ("trace" if event.partition() == 0 else None)
        assert output.identity == "workers"
    assert (outputs[2].parents, outputs[3].parents) == ((), (handled[0].chio_receipt_id,))
    enforcer.close()


def test_close_sends_what_waits_and_ends_the_producer(world: World) -> None:
    producer = world.producer({"linger.ms": 200})
    for _ in range(500):
        producer.produce(world.topic, b"{}")
    producer.close()
    producer.close()
    assert len(world.audit()) == 500
    with pytest.raises(ChioError, match="closed"):
        producer.produce(world.topic, b"{}")


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"transactional.id": "x"}, "outside transactions"),
        ({"acks": 1}, "acks=all"),
        ({"enable.idempotence": False}, "off"),
    ],
)
def test_unsafe_settings_are_refused(world: World, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ChioConfigError, match=message):
        world.producer(conf)


def test_a_producer_of_ones_own_is_governed_as_well(
    world: World, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constructor_arguments, "_sidecar_warned", False)  # said once per process
    raw = Producer({"bootstrap.servers": broker.bootstrap})
    with pytest.warns(UserWarning, match="is not asked"):
        producer = ChioProducerMiddleware(
            producer=raw,
            sidecar_url="http://127.0.0.1:9090",
            **world.arguments(),
        )
    with producer:
        producer.produce(topic=world.topic, value=b"{}")
    assert len(world.audit()) == 1

"""The governed producer: nothing in a topic without its durable receipt, nothing denied in a topic."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from chio_fast import (
    Allow,
    AsyncChioProducer,
    ChioConfigError,
    ChioDenied,
    ChioError,
    ChioProducerMiddleware,
    ChioRevoked,
    Deny,
    Enforcer,
    LogError,
    Policy,
    ReceiptLog,
    Signer,
)
from chio_fast.kafka import wiring
from tests.kafka import receipts
from tests.kafka.broker import Broker
from tests.kafka.scenario import PATIENCE, Scenario, patiently
from tests.kafka.test_failures import full_disk

IDENTITY = "writers"
POLICY = """
chio: policy/v1
identities:
  writers:
    capabilities: ["events:produce:*"]
  workers:
    capabilities: ["events:consume:*", "events:produce:*", "tools:look:*"]
rules:
  - id: no-secrets
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:*"]
    when: has(output.value.secret) && output.value.secret == true
    reason: secrets stay where they are
"""


class World:
    """One topic, a receipt log, and governed producers on them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.topic = scenario.topic
        self.bootstrap = scenario.broker.bootstrap
        self.producers: list[ChioProducerMiddleware] = []
        self.reports: list[tuple[KafkaError | None, Message]] = []

    def producer(self, conf: dict[str, Any] | None = None, **arguments: Any) -> ChioProducerMiddleware:
        arguments = {"scope_map": self.scopes, "identity": IDENTITY} | arguments
        if "enforcer" not in arguments:
            arguments |= {"policy": Policy.from_yaml(POLICY), "receipt_log": self.scenario.log_path}
            arguments |= {"signer": self.scenario.key_path}
        made = ChioProducerMiddleware.from_config(self.conf() | (conf or {}), **arguments)
        self.producers.append(made)
        return made

    def conf(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, "log_level": 2}

    @property
    def scopes(self) -> dict[str, str]:
        return {topic: f"events:produce:{topic}" for topic in [*self.scenario.topics, "nowhere"]}

    def report(self, error: KafkaError | None, message: Message) -> None:
        self.reports.append((error, message))

    def receipts(self, kind: str = "produce") -> dict[str, Any]:
        return {receipt.id: receipt for receipt in ReceiptLog.open(self.scenario.log_path).query(kind=kind)}

    def records(self) -> list[Message]:
        return self.scenario.broker_messages(self.topic)

    def audit(self) -> list[Message]:
        """Verifies the log with both verifiers, and that every record has its receipt; gives the records."""
        receipts.verify(self.scenario.log_path, Signer.from_file(self.scenario.key_path).public_key)
        found, records = self.receipts(), self.records()
        for record in records:
            own = [value for name, value in record.headers() or [] if name == "X-Chio-Receipt"]
            assert len(own) == 1, record.headers()
            receipt = found[own[0].decode()]
            assert (receipt.verdict, receipt.target.topic) == ("allow", self.topic)
            assert ("X-Chio-Scope", receipt.scope.encode()) in (record.headers() or [])
        ids = [value for record in records for name, value in record.headers() or [] if name == "X-Chio-Receipt"]
        assert len(set(ids)) == len(ids)
        return records


@pytest.fixture
def world(scenario: Scenario) -> Iterator[World]:
    """A world whose producers are closed at the end."""
    made = World(scenario)
    yield made
    for producer in made.producers:
        producer.close(10)


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
    assert [receipt.verdict for receipt in _settled(producer, world)] == ["deny"]
    batch = [{"value": b'{"n": %d}' % n, "headers": {"n": str(n)}, "partition": 0} for n in range(100)]
    assert producer.produce_batch(world.topic, batch, on_delivery=world.report) == 100
    producer.flush(PATIENCE)
    assert [record.value() for record in world.audit()] == [message["value"] for message in batch]
    assert len(world.reports) == 100


def _settled(producer: ChioProducerMiddleware, world: World) -> list[Any]:
    producer.enforcer.seal()
    return list(world.receipts().values())


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


def test_an_unknown_topic_and_what_the_broker_refuses_reach_on_delivery(
    world: World, new_topic: Callable[..., str]
) -> None:
    small = new_topic("small", config={"max.message.bytes": 2000})
    scopes = {"nowhere": "events:produce:nowhere", small: "events:produce:small"}
    producer = world.producer(scope_map=scopes)
    producer.produce("nowhere", b"{}", on_delivery=world.report)
    producer.produce(small, os.urandom(5000).hex().encode().join([b'{"pad": "', b'"}']), on_delivery=world.report)
    assert producer.flush(PATIENCE) == 0
    codes = {message.topic(): error.code() for error, message in world.reports if error is not None}
    assert codes == {"nowhere": KafkaError.UNKNOWN_TOPIC_OR_PART, small: KafkaError.MSG_SIZE_TOO_LARGE}


def test_what_is_too_large_for_the_client_is_refused_before_it_is_decided(world: World) -> None:
    producer = world.producer({"message.max.bytes": 5000})
    with pytest.raises(KafkaException) as refused:
        producer.produce(world.topic, b"x" * 5001)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert _settled(producer, world) == []


def test_what_the_client_refuses_after_the_receipt_is_reported_and_its_receipt_taken_back(world: World) -> None:
    producer = world.producer({"message.max.bytes": 5000})
    # With key, value and headers it is larger than the client takes, which only the client knows exactly.
    producer.produce(world.topic, b'{"pad": "%s"}' % (b"x" * 4900), headers={"h": b"y" * 200}, on_delivery=world.report)
    producer.produce(world.topic, b"{}", partition=77, on_delivery=world.report)
    producer.produce(world.topic, b"{}", on_delivery=world.report)
    assert producer.flush(PATIENCE) == 0
    by_size = {len(message.value() or b""): error for error, message in world.reports}
    assert by_size.pop(4911).code() == KafkaError.MSG_SIZE_TOO_LARGE
    producer.close()
    assert len(world.audit()) == 1
    taken_back = [receipt.rollback for receipt in world.receipts("rollback").values()]
    assert taken_back[0] == next(iter(world.receipts()))


def test_a_full_queue_raises_and_poll_makes_room(world: World) -> None:
    producer = world.producer({"queue.buffering.max.messages": 100, "linger.ms": 500})
    producer.outbox._max_messages = 300
    sent = 0
    for _ in patiently("a full queue"):
        try:
            producer.produce(world.topic, b'{"n": %d}' % sent, partition=0)
            sent += 1
        except BufferError:
            break
    assert 300 <= len(producer) <= 400
    for _ in patiently("1000 messages"):
        try:
            producer.produce(world.topic, b'{"n": %d}' % sent, partition=0)
            sent += 1
        except BufferError:
            producer.poll(0.1)
        if sent == 1000:
            break
    assert producer.flush(PATIENCE) == 0
    assert [record.value() for record in world.audit()] == [b'{"n": %d}' % n for n in range(1000)]
    assert len(world.receipts()) == 1000


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
    assert [receipt.rule for receipt in _settled(producer, world)] == ["guard:NoTrace"]


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


def test_what_cannot_be_sent_in_time_is_reported_and_taken_back(world: World) -> None:
    producer = world.producer({"bootstrap.servers": "127.0.0.1:9", "queue.buffering.max.messages": 10})
    for _ in range(50):
        producer.produce(world.topic, b"{}", on_delivery=world.report)
    with pytest.raises(ChioError, match="not acknowledged"):
        producer.close(0.5)
    codes = [error.code() for error, _ in world.reports if error is not None]
    assert set(codes) <= {KafkaError._PURGE_QUEUE, KafkaError._QUEUE_FULL}
    assert len(codes) == 40
    assert len(world.receipts("rollback")) == 40


def test_nothing_is_sent_once_receipts_cannot_be_made_durable(world: World) -> None:
    producer = world.producer()
    producer.produce(world.topic, b'{"n": 0}', partition=0, on_delivery=world.report)
    producer.flush(PATIENCE)
    with full_disk(world.scenario.log_path):
        with pytest.raises(LogError):
            _produce_on(producer, world)
        assert producer.flush(PATIENCE) == 0
    with pytest.raises(LogError):
        producer.produce(world.topic, b"{}")
    with pytest.raises(LogError):
        producer.close()
    world.producers.clear()
    delivered = [message.value() for error, message in world.reports if error is None]
    failed = [error for error, _ in world.reports if error is not None]
    assert delivered == [b'{"n": %d}' % n for n in range(len(delivered))]
    assert [record.value() for record in world.audit()] == delivered
    assert failed
    assert {error.code() for error in failed} == {KafkaError._FAIL}


def _produce_on(producer: ChioProducerMiddleware, world: World) -> None:
    for number in range(1, 100_000):
        producer.produce(world.topic, b'{"n": %d}' % number, partition=0, on_delivery=world.report)
        producer.poll(0)


def test_a_forked_child_sends_nothing(world: World) -> None:
    producer = world.producer()
    producer.produce(world.topic, b"{}")
    producer.flush(PATIENCE)
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: producer.produce(world.topic, b"{}"), lambda: producer.poll(0), producer.flush):
            try:
                call()
            except ChioError:
                refused += 1
        producer.close()
        os._exit(0 if refused == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    producer.produce(world.topic, b"{}")
    assert producer.flush(PATIENCE) == 0
    assert len(world.audit()) == 2


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


KILLED = """
import sys
from chio_fast import ChioProducerMiddleware, Policy
bootstrap, topic, log, key = sys.argv[1:]
producer = ChioProducerMiddleware.from_config(
    {"bootstrap.servers": bootstrap}, scope_map={topic: f"events:produce:{topic}"}, identity="writers",
    policy=Policy.from_yaml(sys.stdin.read()), receipt_log=log, signer=key)
number = 0
while True:
    producer.produce(topic, b'{"n": %d}' % number, partition=0)
    number += 1
    if producer.poll(0):
        print(number, flush=True)
"""


@pytest.mark.parametrize("reports", [1, 40])
def test_every_record_of_a_killed_process_has_a_durable_receipt(world: World, reports: int) -> None:
    arguments = [world.bootstrap, world.topic, str(world.scenario.log_path), str(world.scenario.key_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(POLICY.encode())
    process.stdin.close()
    for _ in range(reports):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    records = world.audit()
    assert records
    assert [record.value() for record in records] == [b'{"n": %d}' % n for n in range(len(records))]


def test_a_producer_of_ones_own_is_governed_as_well(
    world: World, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "_sidecar_warned", False)  # said once per process
    raw = Producer({"bootstrap.servers": broker.bootstrap})
    with pytest.warns(UserWarning, match="is not asked"):
        producer = ChioProducerMiddleware(
            producer=raw,
            sidecar_url="http://127.0.0.1:9090",
            scope_map=world.scopes,
            identity=IDENTITY,
            policy=Policy.from_yaml(POLICY),
            receipt_log=world.scenario.log_path,
            signer=world.scenario.key_path,
        )
    with producer:
        producer.produce(topic=world.topic, value=b"{}")
    assert len(world.audit()) == 1


def test_asyncio_gives_a_future_of_each_delivery(world: World) -> None:
    async def main() -> None:
        async with AsyncChioProducer.from_config(
            world.conf(),
            scope_map=world.scopes,
            identity=IDENTITY,
            policy=Policy.from_yaml(POLICY),
            receipt_log=world.scenario.log_path,
            signer=world.scenario.key_path,
        ) as producer:
            deliveries = [await producer.produce(world.topic, b'{"n": %d}' % n, partition=0) for n in range(1000)]
            with pytest.raises(ChioDenied):
                await producer.produce(world.topic, b'{"secret": true}')
            lost = await producer.produce("nowhere", b"{}")
            messages = await asyncio.gather(*deliveries)
            assert [message.offset() for message in messages] == list(range(1000))
            with pytest.raises(KafkaException, match="UNKNOWN_TOPIC"):
                await lost
            last = await producer.produce(world.topic, b"{}")
            assert await producer.flush(PATIENCE) == 0
            assert (await last).error() is None

    asyncio.run(main())
    assert len(world.audit()) == 1001


def test_asyncio_waits_for_guards_and_room_without_blocking_the_loop(world: World) -> None:
    turns = 0

    class Slow:
        async def evaluate(self, _context: Any) -> Any:
            await asyncio.sleep(0.001)
            return Allow()

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> int:
        turning = asyncio.create_task(turn())
        producer = AsyncChioProducer.from_config(
            world.conf(),
            scope_map=world.scopes,
            identity=IDENTITY,
            policy=Policy.from_yaml(POLICY),
            receipt_log=world.scenario.log_path,
            signer=world.scenario.key_path,
            guards=[Slow()],
        )
        async with producer:
            started = await producer._start()
            started.outbox._max_messages = 3
            before = turns
            deliveries = [await producer.produce(world.topic, b"{}") for _ in range(30)]
            await asyncio.gather(*deliveries)
            turning.cancel()
            return turns - before

    assert asyncio.run(main()) > 30
    assert len(world.audit()) == 30

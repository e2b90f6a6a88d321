"""`reconcile` over the transactions of a processor: exactly one of everything, and every way in which it can fail."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from chio_fast import ChioError, Enforcer, Policy, ReceiptLog, topics
from chio_fast.kafka.attestation import Attestation
from chio_fast.kafka.checkpoints import Checkpoints, checkpoint_record
from chio_fast.kafka.reconcile import reconcile
from chio_fast.kafka.scan import read, spans
from tests.kafka.patience import patiently
from tests.kafka.processor_world import POLICY, World, forward, running, world

if TYPE_CHECKING:
    from collections.abc import Callable

    from chio_fast._native import SignedCheckpoint
    from chio_fast.kafka.processor import ChioTransactionalProcessor
    from chio_fast.kafka.reconciliation import Reconciliation
    from chio_fast.kafka.recovery import Outcome

__all__ = ["world"]

EVENTS = 60
DENIED = 6


def process(world: World, count: int, handler: Callable[..., None] | None = None, **changes: Any) -> None:
    """Runs a processor until so many events are committed."""
    processor = world.processor(handler or forward(world.target), **changes)
    with running(processor):
        for _ in patiently(f"{count} events"):
            if committed(processor) >= count:
                return


def committed(processor: ChioTransactionalProcessor) -> int:
    """How many events it has committed; none before it runs."""
    try:
        return processor.stats().committed
    except ChioError:
        return 0


def fill(world: World, count: int = EVENTS) -> None:
    for partition in (0, 1):
        values = [{"n": n} | ({"secret": True} if n % 10 == 3 else {}) for n in range(count // 2)]
        world.produce(*values, partition=partition)


def compare(world: World, **arguments: Any) -> Reconciliation:
    arguments.setdefault("dlq_topics", [world.dlq])
    arguments.setdefault("error_topics", [world.errors])
    conf = {"bootstrap.servers": world.broker.bootstrap}
    return reconcile(conf, [ReceiptLog.open(world.log_path)], world.group, **arguments)


def whats(findings: list[Any]) -> set[str]:
    return {finding.what for finding in findings}


def copy_first(world: World, topic: str) -> None:
    """Writes the first record of a topic once more."""
    conf = {"bootstrap.servers": world.broker.bootstrap}
    message = next(iter(read(conf, spans(conf, [topic], "read_committed"), "read_committed")))
    producer = Producer(conf)
    producer.produce(topic, message.value(), message.key(), headers=message.headers())
    assert producer.flush(30) == 0


def commit_as_operator(world: World, offsets: dict[int, int]) -> None:
    operator = Consumer({"bootstrap.servers": world.broker.bootstrap, "group.id": world.group})
    try:
        parts = [TopicPartition(world.source, number, offset) for number, offset in offsets.items()]
        for _ in patiently("an empty group"):
            try:
                operator.commit(offsets=parts, asynchronous=False)
            except Exception:  # noqa: BLE001 - the last member has not left yet
                time.sleep(0.1)
            else:
                return
    finally:
        operator.close()


def test_the_books_of_a_processor_balance(world: World) -> None:
    fill(world)
    process(world, EVENTS)
    found = compare(world)
    assert found.is_balanced, (found.discrepancies, found.unverifiable)
    assert found.prepared == []
    assert (found.outputs, found.produce_receipts, found.dead_letters) == (EVENTS - DENIED, EVENTS - DENIED, DENIED)
    assert [(part.events, part.receipts, part.generations) for part in found.partitions] == [(30, 30, 1)] * 2
    assert sum(part.ranges for part in found.partitions) >= found.committed > 0


def test_they_balance_while_it_is_running(world: World) -> None:
    fill(world, 2000)
    processor = world.processor(forward(world.target))
    with running(processor):
        for _ in patiently("the first transactions"):
            if committed(processor) > 0:
                break
        for _ in range(3):
            found = compare(world)
            assert found.discrepancies == []
            assert found.unverifiable == []


def test_handlers_that_fail_are_accounted_for_in_the_error_topic(world: World) -> None:
    def handle(event: Any, ctx: Any) -> None:
        raise ValueError("never")

    fill(world, 20)
    process(world, 20, handle, on_handler_error="error_topic")
    found = compare(world)
    assert found.is_balanced, (found.discrepancies, found.unverifiable)
    assert (found.failed_events, found.outputs) == (18, 0)


def test_a_replay_is_another_generation(world: World) -> None:
    fill(world)
    process(world, EVENTS)
    commit_as_operator(world, {0: 10, 1: 0})
    process(world, 50)
    found = compare(world)
    assert found.is_balanced, (found.discrepancies, found.unverifiable)
    assert [part.generations for part in found.partitions] == [2, 2]
    receipts = [receipt for receipt in world.receipts(kind="consume") if receipt.batch.state == "committed"]
    first = {receipt.request: receipt.id for receipt in receipts if not receipt.parents}
    again = [receipt for receipt in receipts if receipt.parents]
    assert (len(first), len(again)) == (EVENTS, 50)
    assert all(receipt.parents == (first[receipt.request],) for receipt in again)


def test_offsets_that_an_operator_moved_forward_are_a_gap(world: World) -> None:
    fill(world)
    process(world, EVENTS)
    fill(world, 20)
    commit_as_operator(world, {0: 35})
    found = compare(world)
    [gap] = found.discrepancies
    assert (gap.what, gap.place) == ("gap", f"{world.source}/0/30")
    assert "5 events" in gap.detail


@pytest.mark.parametrize(("topic", "what"), [("target", "outputs"), ("dlq", "dead_letters")])
def test_a_record_that_is_there_twice_is_found(world: World, topic: str, what: str) -> None:
    fill(world)
    process(world, EVENTS)
    copy_first(world, getattr(world, topic))
    found = compare(world)
    assert whats(found.discrepancies) == {what}
    assert found.discrepancies[0].detail.startswith("2 ")


def test_records_that_are_gone_are_found(world: World, new_topic: Callable[..., str]) -> None:
    fill(world)
    process(world, EVENTS)
    found = compare(world, dlq_topics=[new_topic("empty")])
    assert whats(found.discrepancies) == {"dead_letters"}
    assert found.discrepancies_found == DENIED


class TestByHand:
    """Transactions that a broken processor could make: attested, and committed in Kafka, by the test."""

    @pytest.fixture
    def attest(self, world: World) -> Callable[..., None]:
        def attest(
            first: int,
            end: int,
            *,
            holding: int,
            shown: Callable[[list[SignedCheckpoint]], bytes] | None = checkpoint_record,
            outcome: Outcome | None = "committed",
        ) -> None:
            """Attests `[first, end)` of partition 0, with the receipts of the first `holding` events of it."""
            conf = {"bootstrap.servers": world.broker.bootstrap}
            span = {(world.source, 0): spans(conf, [world.source], "read_committed")[world.source, 0]}
            messages = list(read(conf, span, "read_committed"))[first : first + holding]
            with Enforcer(
                Policy.from_yaml(POLICY), receipt_log=world.log_path, signer=world.key_path, identity="order-processor"
            ) as enforcer:
                gate = enforcer.gate
                partition = gate.partition(
                    world.source, 0, scope="events:consume:x", identity="order-processor", group=world.group
                )
                events, _, _ = gate.admit(messages, {(world.source, 0): partition})
                gate.take(events)
                attestation = Attestation(
                    cluster="c",
                    group=world.group,
                    generation=1,
                    member="m",
                    transactional_id=f"{world.group}-m",
                    ranges=Attestation.ranges_of({(world.source, 0): (first, end)}),
                    checkpoint_topic=topics.CHECKPOINTS,
                    checkpoint_partition=0,
                    high_watermark=0,
                )
                ordinals = gate.attest(
                    events,
                    [],
                    group=world.group,
                    transactional_id=attestation.transactional_id,
                    attestation=attestation.to_json(),
                )
                enforcer.log.wait_durable(max(ordinals))
                checkpoints = [enforcer.log.checkpoint(ordinal) for ordinal in ordinals]
                if shown is not None:
                    producer = Producer(conf)
                    producer.produce(topics.CHECKPOINTS, shown(checkpoints), attestation.transactional_id)
                    assert producer.flush(30) == 0
                if outcome is not None:
                    issuer = enforcer.log.issuer
                    resolved = [(checkpoint.hash, issuer, outcome, {}, None) for checkpoint in checkpoints]
                    enforcer.log.wait_durable(gate.outcomes(resolved))

        world.produce(*[{"n": n} for n in range(20)])
        Checkpoints({"bootstrap.servers": world.broker.bootstrap, "group.id": world.group}).ensure(create=True)
        return attest

    def test_ranges_that_tile_balance(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 8, holding=8)
        attest(8, 20, holding=12)
        commit_as_operator(world, {0: 20})
        found = compare(world)
        assert found.is_balanced, (found.discrepancies, found.unverifiable)

    def test_an_event_without_receipt(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 20, holding=19)
        commit_as_operator(world, {0: 20})
        [missing] = compare(world).discrepancies
        assert (missing.what, missing.place) == ("missing_receipt", f"{world.source}/0/19")

    def test_a_receipt_outside_of_the_range(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 5, holding=6)
        commit_as_operator(world, {0: 5})
        [outside] = compare(world).discrepancies
        assert (outside.what, outside.place) == ("outside_range", f"{world.source}/0/5")

    def test_a_gap_between_ranges(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 5, holding=5)
        attest(7, 20, holding=13)
        commit_as_operator(world, {0: 20})
        [gap] = compare(world).discrepancies
        assert (gap.what, gap.place) == ("gap", f"{world.source}/0/5")

    def test_an_overlap_of_ranges(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 10, holding=10)
        attest(5, 20, holding=15)
        commit_as_operator(world, {0: 20})
        assert whats(compare(world).discrepancies) == {"overlap"}

    def test_a_commit_that_kafka_does_not_show(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 20, holding=20, shown=None)
        commit_as_operator(world, {0: 20})
        assert whats(compare(world).discrepancies) == {"commit_not_shown"}

    def test_a_rolled_back_batch_that_kafka_shows(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 20, holding=20, outcome="rolled_back")
        assert whats(compare(world).discrepancies) == {"contradicted_outcome"}

    @pytest.mark.parametrize("part", ["checkpoint", "hash", "signature"])
    def test_a_forged_record_shows_no_commit(self, world: World, attest: Callable[..., None], part: str) -> None:
        def forge(checkpoints: list[SignedCheckpoint]) -> bytes:
            [signed] = checkpoints
            entry = {"checkpoint": signed.text, "hash": signed.hash, "signature": signed.signature}
            entry[part] = {"checkpoint": f"{signed.text} ", "hash": "0" * 64, "signature": "0" * 128}[part]
            return msgspec.json.encode({"checkpoints": [entry], "v": 1})

        attest(0, 20, holding=20, shown=forge, outcome=None)
        found = compare(world)
        assert [batch.shown for batch in found.prepared] == [False]
        assert whats(found.discrepancies) == {"forged_record"}

    def test_a_batch_without_outcome_is_listed(self, world: World, attest: Callable[..., None]) -> None:
        attest(0, 20, holding=20, outcome=None)
        found = compare(world)
        assert [(batch.transactional_id, batch.shown) for batch in found.prepared] == [(f"{world.group}-m", True)]
        assert found.discrepancies == []

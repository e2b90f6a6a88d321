"""`Gate` in a transaction: events are taken first, and sealed when it is known what became of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chio_fast import Allow, ChioError, Enforcer, Event, GuardContext, Policy, ReceiptLog, Signer, TrustFile
from chio_fast.errors import LogStateError, ReceiptNotFoundError
from chio_fast.keys import TrustedKey
from chio_fast.verify import load_trust, verify_log
from tests.core.conftest import DOCUMENT
from tests.core.test_gate import admitted, assigned, message

Make = Callable[..., Enforcer]

ATTESTATION = b'{"cluster":"c","ranges":{"tasks":{"0":[0,4]}}}'
SHOWN = {"topic": "chio-checkpoints", "partition": 3, "offset": 41, "from": 30, "until": 50}

DYING = """
import os, signal, sys
from chio_fast import Enforcer, Policy, Signer
from tests.core import test_gate_transactions as world
enforcer = Enforcer(Policy.from_yaml(world.OTHER), identity="research-agents", receipt_log=sys.argv[1],
                    signer=Signer.from_file(sys.argv[2]))
events = world.taken(enforcer, [0, 1])
enforcer.log.wait_durable(max(enforcer.gate.attempt_now(events)))
if sys.argv[3] == "attested":
    enforcer.log.wait_durable(max(world.attest(enforcer, events)))
os.kill(os.getpid(), signal.SIGKILL)
"""

OTHER = DOCUMENT.split("  - id: looked-at")[0]
"""The policy of the tests without the rules that these tests do not need, in another version."""


class Watch:
    """A guard that these tests never run."""

    def evaluate(self, context: GuardContext) -> Allow:
        return Allow()


def taken(enforcer: Enforcer, offsets: Sequence[int], value: bytes = b"{}") -> list[Event]:
    """Events of a partition that is assigned anew, taken together."""
    events = admitted(enforcer, [message(offset, value=value) for offset in offsets], assigned(enforcer, "tasks"))
    enforcer.gate.take(events)
    return events


def attest(enforcer: Enforcer, events: Sequence[Event], checks: Sequence[Any] = ()) -> list[int]:
    return enforcer.gate.attest(events, checks, group="g", transactional_id="g-1", attestation=ATTESTATION)


def produced(enforcer: Enforcer, event: Event) -> Any:
    return enforcer.gate.request(
        "research-agents",
        "events:produce:results",
        kind="produce",
        event=event.raw,
        output={"topic": "results", "value": b"{}"},
        parents=[event.chio_receipt_id or ""],
    )


def verified(enforcer: Enforcer, tmp_path: Path) -> Any:
    """What the independent verifier says of the log; the engine's own has to agree that nothing is wrong."""
    key = TrustedKey(public_key=enforcer.log.public_key.hex(), issuers=["*"], status="active")
    trust = TrustFile(keys=[key])
    enforcer.seal()
    enforcer.receipt_log.verify(trust)
    file = tmp_path / "log.frames"
    enforcer.receipt_log.export_log(file)
    report = verify_log(file.read_bytes(), load_trust(trust.to_json()))
    assert report.findings == []
    return report


def kinds(log: ReceiptLog) -> list[tuple[str, str, int]]:
    return [(batch.state, batch.policy_version[:4], batch.count) for batch in log.batches()]


def test_taking_gives_ids_and_positions_and_nothing_to_the_log(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks")
    given = [message(0, value=b"{}"), message(1, value=b'{"secret": 1}'), message(2, value=b"{}")]
    events = admitted(enforcer, given, partitions)
    assert enforcer.gate.take(events) == ([events[0], events[2]], [events[1]], [])
    ids = [event.chio_receipt_id for event in events]
    assert ids == sorted({str(receipt_id) for receipt_id in ids})
    assert [event.chio_decision.receipt_id for event in events] == ids
    assert [event.ordinal for event in events] == [None] * 3
    [partition] = partitions.values()
    assert (partition.position, partition.handed, [event.floor for event in events]) == (3, 3, [-1, 1, 1])
    assert enforcer.gate.take(events) == ([events[0], events[2]], [events[1]], [])
    assert [event.chio_receipt_id for event in events] == ids
    enforcer.gate.rollback(events)
    enforcer.seal()
    assert (enforcer.log.issued, list(enforcer.receipt_log.query())) == (0, [])


def test_guards_come_before_ids(policy: Policy, enforcers: Make) -> None:
    enforcer = enforcers(policy, guards={"watch": Watch()})
    [event] = admitted(enforcer, [message(0, "watched")], assigned(enforcer, "watched"))
    assert enforcer.gate.take([event]) == ([], [], [event])
    assert event.chio_receipt_id is None


def test_a_transaction_is_one_batch_of_consume_and_produce_receipts(enforcer: Enforcer, tmp_path: Path) -> None:
    partitions = assigned(enforcer, "tasks")
    given = [message(0, value=b"{}"), message(1, value=b'{"secret": 1}')]
    events = admitted(enforcer, given, partitions)
    enforcer.gate.take(events)
    checks = [produced(enforcer, events[0]) for _ in range(2)]
    [last] = attest(enforcer, events[::-1], checks)
    enforcer.log.wait_durable(last)
    assert [event.ordinal for event in events] == [1, 2]
    assert [check.ordinal for check in checks] == [3, 4]
    receipts = list(enforcer.receipt_log.query())
    assert [receipt.id for receipt in receipts] == [
        *(event.chio_receipt_id for event in events),
        *(check.receipt_id for check in checks),
    ]
    assert [receipt.kind for receipt in receipts] == ["consume", "consume", "produce", "produce"]
    assert {receipt.batch.state for receipt in receipts} == {"prepared"}
    assert receipts[2].parents == (events[0].chio_receipt_id,)
    assert enforcer.gate.counts() == {"allowed": 3, "denied": 1, "escalated": 0, "delayed": 0, "redecided": 0}
    report = verified(enforcer, tmp_path)
    assert (report.transactions, report.unresolved, report.receipts) == (1, 1, 4)


def test_events_finish_in_any_order_beside_recorded_receipts(enforcer: Enforcer, tmp_path: Path) -> None:
    events = taken(enforcer, range(6))
    for event in events:
        with event:
            enforcer.check("tools:search:web", arguments={})
    enforcer.log.wait_durable(attest(enforcer, events[3:])[-1])
    enforcer.log.wait_durable(enforcer.gate.attempt(events[1:2]) or 0)
    enforcer.log.wait_durable(attest(enforcer, [events[2], events[0]])[-1])
    enforcer.check("tools:search:web", arguments={})
    report = verified(enforcer, tmp_path)
    assert (report.receipts, report.transactions) == (13, 2)
    log = enforcer.receipt_log
    assert [state for state, _, _ in kinds(log)] == ["recorded", "prepared", "attempt", "prepared", "recorded"]
    for receipt in log.query():
        assert log.get(receipt.id) == receipt
    tools = list(log.chain(str(events[0].chio_receipt_id), "forward").links)
    assert [link.kind for link in tools] == ["verified"]


def test_receipts_of_two_policy_versions_become_durable_together(enforcer: Enforcer, tmp_path: Path) -> None:
    first = taken(enforcer, [0, 1])
    enforcer.reload(Policy.from_yaml(OTHER))
    second = taken(enforcer, [2])
    ordinals = attest(enforcer, [*second, *first], [produced(enforcer, second[0])])
    assert sorted(ordinals) == [ordinals[0], 4]
    enforcer.log.wait_durable(4)
    checkpoints = [enforcer.log.checkpoint(ordinal) for ordinal in ordinals]
    batches = list(enforcer.receipt_log.batches())
    assert sorted((batch.count, batch.state) for batch in batches) == [(2, "prepared"), (2, "prepared")]
    assert [checkpoint.hash for checkpoint in checkpoints] == [batch.checkpoint for batch in batches]
    assert msgspec.json.decode(enforcer.log.stats())["appends"] == 1
    assert enforcer.log.attempts([*range(1, 5)]) in ([1, 1, 1, None], [1, None, 1, 1])
    verified(enforcer, tmp_path)


def test_a_checkpoint_is_that_of_the_batch_and_only_of_transactions(enforcer: Enforcer) -> None:
    assert enforcer.log.head() is None
    enforcer.check("tools:search:web", arguments={})
    [last] = attest(enforcer, taken(enforcer, [0, 1]))
    enforcer.log.wait_durable(last)
    checkpoint = enforcer.log.checkpoint(last)
    [_, batch] = enforcer.receipt_log.batches()
    text = msgspec.json.decode(checkpoint.text)
    assert (checkpoint.hash, checkpoint.batch) == (batch.checkpoint, batch.batch) == (batch.checkpoint, 2)
    assert (text["mode"], text["group"], text["transactional_id"]) == ("transaction", "g", "g-1")
    assert len(bytes.fromhex(checkpoint.signature)) == 64
    assert enforcer.log.checkpoint(last - 1).hash == checkpoint.hash
    head = enforcer.log.head()
    assert head is not None
    assert (head.hash, head.text) == (checkpoint.hash, checkpoint.text)
    for unknown in (0, 1, last + 1):
        with pytest.raises(ReceiptNotFoundError, match=f"ordinal {unknown} "):
            enforcer.log.checkpoint(unknown)


def test_a_failed_attempt_is_on_record_and_the_event_gets_a_new_id(enforcer: Enforcer) -> None:
    partitions = assigned(enforcer, "tasks")
    [failing, later] = admitted(enforcer, [message(0, value=b"{}"), message(1, value=b"{}")], partitions)
    enforcer.gate.take([failing, later])
    [partition] = partitions.values()
    first = failing.chio_receipt_id
    assert enforcer.gate.attempt([failing]) == 1
    assert (failing.chio_receipt_id, failing.ordinal) == (None, None)
    assert enforcer.gate.attempt([failing]) is None
    assert enforcer.gate.take([failing]) == ([failing], [], [])
    assert first < str(later.chio_receipt_id) < str(failing.chio_receipt_id)
    assert (partition.position, partition.handed) == (2, 2)
    enforcer.log.wait_durable(attest(enforcer, [failing, later])[-1])
    assert enforcer.gate.attempt([failing, later]) is None
    receipts = [
        (receipt.target.offset, receipt.attempt, receipt.batch.state) for receipt in enforcer.receipt_log.query()
    ]
    assert receipts == [(0, 1, "attempt"), (1, 1, "prepared"), (0, 2, "prepared")]


def test_an_attempt_that_is_counted_before_the_handler_runs_is_counted_once(enforcer: Enforcer, tmp_path: Path) -> None:
    events = taken(enforcer, [3, 4, 5])
    ordinals = enforcer.gate.attempt_now(events)
    enforcer.log.wait_durable(max(ordinals))
    assert enforcer.log.attempts(ordinals) == [1, 1, 1]
    enforcer.gate.attempt(events[:1])
    enforcer.gate.take(events[:1])
    [again] = enforcer.gate.attempt_now(events[:1])
    enforcer.log.wait_durable(again)
    assert enforcer.log.attempts([again]) == [2]
    enforcer.log.wait_durable(attest(enforcer, events)[-1])
    receipts = [receipt for receipt in enforcer.receipt_log.query(kind="consume") if receipt.batch.state == "prepared"]
    assert [(receipt.target.offset, receipt.attempt) for receipt in receipts] == [(4, 1), (5, 1), (3, 2)]
    assert [receipt.id for receipt in receipts] == [event.chio_receipt_id for event in [*events[1:], events[0]]]
    attempts = list(enforcer.receipt_log.query(kind="consume", state="attempt"))
    assert [receipt.evidence for receipt in attempts] == [*3 * ["before_action"], None, "before_action"]
    verified(enforcer, tmp_path)


def test_outcomes_resolve_batches_and_say_where_kafka_shows_it(enforcer: Enforcer, tmp_path: Path) -> None:
    enforcer.log.wait_durable(attest(enforcer, taken(enforcer, [0, 1]))[-1])
    [prepared] = enforcer.receipt_log.prepared()
    assert (prepared.group, prepared.transactional_id, prepared.count) == ("g", "g-1", 2)
    assert bytes(prepared.attestation) == ATTESTATION
    entry = (prepared.checkpoint, prepared.issuer, "committed", SHOWN, None)
    for _ in range(2):
        enforcer.log.wait_durable(enforcer.gate.outcomes([entry]))
    assert enforcer.receipt_log.prepared() == ()
    [batch, resolving, _] = enforcer.receipt_log.batches()
    assert (batch.state, batch.resolved_by) == ("committed", 2)
    outcome = enforcer.receipt_log.get(resolving.min_id)
    assert (outcome.outcome, outcome.outcome_of, outcome.shown) == ("committed", prepared.checkpoint, SHOWN)
    contradicting = (prepared.checkpoint, prepared.issuer, "rolled_back", {}, "committed")
    enforcer.log.wait_durable(enforcer.gate.outcomes([contradicting]))
    assert next(iter(enforcer.receipt_log.batches())).state == "rolled_back"
    assert verified(enforcer, tmp_path).unresolved == 0


def test_an_outcome_that_contradicts_in_silence_is_refused(enforcers: Make) -> None:
    enforcer = enforcers()
    enforcer.log.wait_durable(attest(enforcer, taken(enforcer, [0]))[-1])
    [prepared] = enforcer.receipt_log.prepared()
    named = (prepared.checkpoint, prepared.issuer)
    enforcer.log.wait_durable(enforcer.gate.outcomes([(*named, "committed", {}, None)]))
    with pytest.raises(LogStateError, match="is `committed` and cannot become `rolled_back`") as refused:
        enforcer.log.wait_durable(enforcer.gate.outcomes([(*named, "rolled_back", {}, None)]))
    assert refused.value.code == "state"
    assert next(iter(enforcer.receipt_log.batches())).state == "committed"
    with pytest.raises(LogStateError):
        enforcer.close()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("ab", "worker@1", "committed", {}, None), "checkpoint hash"),
        (("ab" * 32, "", "committed", {}, None), "`issuer` is empty"),
        (("ab" * 32, "worker@1", "gone", {}, None), "`gone` is no outcome"),
        (("ab" * 32, "worker@1", "committed", {}, "gone"), "`gone` is no outcome"),
        (("ab" * 32, "worker@1", "committed", {"until": 1, "high": 2}, None), "`high` is no member"),
    ],
)
def test_malformed_outcomes_are_refused_before_anything_is_issued(enforcer: Enforcer, entry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        enforcer.gate.outcomes([entry])
    assert enforcer.log.issued == 0


def test_what_cannot_be_attested_is_refused_whole(policy: Policy, enforcers: Make) -> None:
    enforcer = enforcers(policy, guards={"watch": Watch()})
    event, untaken = taken(enforcer, [0])[0], admitted(enforcer, [message(1)], assigned(enforcer, "tasks"))[0]
    issued, fresh = produced(enforcer, event), produced(enforcer, event)
    enforcer.gate.issue_checks([issued])
    due = enforcer.gate.request("research-agents", "events:consume:watched", event={"topic": "watched", "value": b"{}"})
    refused: list[tuple[list[Event], list[Any], str]] = [
        ([event, untaken], [], "was not taken"),
        ([event, event], [], "is given twice"),
        ([event], [issued], "has its receipt already"),
        ([event], [fresh, fresh], "has its receipt already"),
        ([event], [due], "guards of a check have not run"),
    ]
    for events, checks, why in refused:
        with pytest.raises(ChioError, match=why):
            attest(enforcer, events, checks)
    for attestation in (b"{", b'{"b":1,"a":2}', b'{"a": 1}', b"[]"):
        with pytest.raises(ValueError, match="attestation"):
            enforcer.gate.attest([event], [], group="g", transactional_id="g-1", attestation=attestation)
    with pytest.raises(ValueError, match="`group` is empty"):
        enforcer.gate.attest([event], [], group="", transactional_id="g-1", attestation=b"{}")
    assert enforcer.log.issued == 1
    assert (event.ordinal, fresh.ordinal, fresh.receipt_id) == (None, None, None)
    assert attest(enforcer, [event], [fresh]) == [3]
    assert (event.ordinal, fresh.ordinal) == (2, 3)
    with pytest.raises(ChioError, match="has its receipt already"):
        attest(enforcer, [event])
    enforcer.log.wait_durable(3)
    assert [state for state, _, _ in kinds(enforcer.receipt_log)] == ["recorded", "prepared"]


def test_of_threads_that_attest_the_same_events_one_does(enforcers: Make) -> None:
    enforcer = enforcers()
    threads, turns = 4, 20
    together = threading.Barrier(threads)

    def attests(events: list[Event], checks: list[Any]) -> bool:
        together.wait()
        try:
            attest(enforcer, events, checks)
        except ChioError:
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        for turn in range(turns):
            events = taken(enforcer, range(turn * 50, turn * 50 + 50))
            checks = [produced(enforcer, event) for event in events]
            assert sorted(pool.map(attests, [events] * threads, [checks] * threads)) == [False, False, False, True]
            assert all(each.ordinal is not None for each in (*events, *checks))
    assert enforcer.log.issued == turns * 100
    enforcer.log.wait_durable(enforcer.log.issued)
    receipts = list(enforcer.receipt_log.query(state="prepared"))
    assert len({receipt.id for receipt in receipts}) == len(receipts) == turns * 100


def test_attempts_at_the_same_events_by_several_threads_are_on_record_once(enforcers: Make) -> None:
    """A handler fails while its partition is given up."""
    enforcer = enforcers()
    threads, turns = 4, 20
    together = threading.Barrier(threads)

    def attempt(events: list[Event]) -> int | None:
        together.wait()
        return enforcer.gate.attempt(events)

    with ThreadPoolExecutor(threads) as pool:
        for turn in range(turns):
            events = taken(enforcer, range(turn * 50, turn * 50 + 50))
            assert max(filter(None, pool.map(attempt, [events, events[:1], events[25:], events]))) == turn * 50 + 50
            assert [event.chio_receipt_id for event in events] == [None] * 50
    assert enforcer.log.issued == enforcer.gate.counts()["allowed"] == turns * 50
    enforcer.seal()
    assert len(list(enforcer.receipt_log.query(state="attempt"))) == turns * 50


@pytest.mark.parametrize("died", ["counted", "attested"])
def test_who_comes_after_a_killed_process_finds_what_it_prepared_and_counts_on(
    enforcers: Make, log_path: Path, tmp_path: Path, died: str
) -> None:
    key = tmp_path / "key"
    signer = Signer.generate(key)
    killed = subprocess.run([sys.executable, "-c", DYING, log_path, key, died], check=False)
    assert killed.returncode == -signal.SIGKILL
    enforcer = enforcers(signer=signer)
    prepared = enforcer.receipt_log.prepared()
    assert [bytes(batch.attestation) for batch in prepared] == ([ATTESTATION] if died == "attested" else [])
    for batch in prepared:
        assert (batch.issuer, batch.epoch, enforcer.log.epoch) == (enforcer.log.issuer, 0, 1)
        head = enforcer.log.head()
        assert head is not None
        assert head.hash == batch.checkpoint
        enforcer.log.wait_durable(
            enforcer.gate.outcomes([(batch.checkpoint, batch.issuer, "rolled_back", {"until": 9}, None)])
        )
    assert enforcer.receipt_log.prepared() == ()
    events = taken(enforcer, [0, 1])
    ordinals = enforcer.gate.attempt_now(events)
    enforcer.log.wait_durable(max(ordinals))
    assert enforcer.log.attempts(ordinals) == [2, 2]
    enforcer.log.wait_durable(attest(enforcer, events)[-1])
    assert verified(enforcer, tmp_path).unresolved == 1


def test_threads_that_attest_beside_tool_calls_leave_a_log_that_verifies(enforcer: Enforcer, tmp_path: Path) -> None:
    events = taken(enforcer, range(240))
    chunks = [events[first : first + 10] for first in range(0, 240, 10)]

    def finish(mine: list[list[Event]]) -> None:
        for number, chunk in enumerate(mine):
            if number % 2:
                enforcer.log.wait_durable(max(enforcer.gate.attempt_now(chunk)))
            if number % 3:
                enforcer.gate.attempt(chunk[:3])
                enforcer.gate.take(chunk[:3])
            enforcer.check("tools:search:web", arguments={})
            [last] = attest(enforcer, chunk, [produced(enforcer, chunk[0])])
            enforcer.log.wait_durable(last)
            assert json.loads(enforcer.log.checkpoint(last).text)["count"] == 11

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(finish, [chunks[thread::3] for thread in range(3)]))
    report = verified(enforcer, tmp_path)
    assert (report.transactions, report.receipts) == (24, enforcer.log.issued)
    sealed = [receipt for receipt in enforcer.receipt_log.query(kind="consume") if receipt.batch.state == "prepared"]
    assert sorted(receipt.id for receipt in sealed) == sorted(str(event.chio_receipt_id) for event in events)
    again = {event.chio_receipt_id for number, chunk in enumerate(chunks) if number // 3 % 3 for event in chunk[:3]}
    assert {receipt.id for receipt in sealed if receipt.attempt == 2} == again

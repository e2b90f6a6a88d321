"""`chio-fast reconcile`, `anchors` and `verify --anchors`, after a run of `enforce` on a real broker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from tests.cli.conftest import flip_a_bit
from tests.cli.gateway import BROKEN, EVENTS, LARGE, SECRET, WHEN_IDLE, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ran
    from tests.kafka.broker import Broker


@pytest.fixture
def enforced(
    chio: Callable[..., Ran],
    config: Path,
    topics: dict[str, str],
    broker: Broker,
) -> Path:
    """The configuration of a gateway that has done its work, on a cluster with all topics."""
    assert chio("doctor", "-c", config, "--fix").code == 0
    fill(broker, topics["source"])
    assert chio("enforce", "-c", config, *WHEN_IDLE).code == 0
    return config


def test_the_books_of_a_gateway_balance(chio: Callable[..., Ran], enforced: Path) -> None:
    ran = chio("reconcile", "-c", enforced, "--json")
    assert ran.code == 0, ran.out
    [found] = ran.documents
    assert sum(part["receipts"] for part in found["partitions"]) == EVENTS
    assert found["dead_letters"] == len(LARGE | SECRET | BROKEN)
    assert found["outputs"] == found["produce_receipts"] == EVENTS - len(LARGE | SECRET | BROKEN)
    assert "balance" in chio("reconcile", "-c", enforced).out


@pytest.mark.parametrize(
    ("headers", "what"),
    [([], "output_without_receipt"), ([("X-Chio-Receipt", b"copied")], "changed_output")],
    ids=["without a receipt", "with another record's receipt"],
)
def test_an_output_past_the_gateway_is_found(
    chio: Callable[..., Ran],
    enforced: Path,
    topics: dict[str, str],
    broker: Broker,
    headers: list[tuple[str, bytes]],
    what: str,
) -> None:
    log = enforced.with_name("receipts.db")
    listed = chio("receipt", "list", "--log", log, "--kind", "produce", "--verdict", "allow", "--limit", "1", "--json")
    copied = [(name, listed.documents[0]["id"].encode()) for name, _ in headers]
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(topics["target"], value=b"smuggled", headers=copied)
    assert producer.flush(30) == 0
    ran = chio("reconcile", "-c", enforced, "--json")
    assert ran.code == 1
    assert what in {finding["what"] for finding in ran.documents[0]["discrepancies"]}


def test_what_cannot_be_verified_has_its_own_exit_code(chio: Callable[..., Ran], enforced: Path) -> None:
    document = json.loads(enforced.read_text())
    enforced.write_text(json.dumps(document | {"dlq_topic": ""}))
    ran = chio("reconcile", "-c", enforced)
    assert ran.code == 6
    assert "no DLQ topic is given" in ran.out


def test_a_changed_log_is_not_compared(chio: Callable[..., Ran], enforced: Path) -> None:
    flip_a_bit(enforced.with_name("receipts.db"))
    ran = chio("reconcile", "-c", enforced)
    assert ran.code == 1
    assert "does not verify" in ran.err


def test_a_log_is_held_to_the_anchors_of_the_topic_or_of_a_file(
    chio: Callable[..., Ran], enforced: Path, broker: Broker, tmp_path: Path
) -> None:
    log, at = enforced.with_name("receipts.db"), ("-b", broker.bootstrap)
    [told] = chio("verify", "--log", log, "--anchors", "chio-anchors", *at, "--json").documents
    assert told["verified"]
    assert told["anchors"] > 0
    listed = chio("anchors", *at, "--json")
    (tmp_path / "anchors.jsonl").write_text(listed.out)

    kept = tmp_path / "kept"
    kept.mkdir()
    for file in log.parent.glob("receipts.db*"):
        if file.is_file():
            shutil.copy(file, kept)
    fill(broker, json.loads(enforced.read_text())["kafka"]["group.id"])
    assert chio("enforce", "-c", enforced, *WHEN_IDLE).code == 0
    (tmp_path / "anchors.jsonl").write_text(chio("anchors", *at, "--json").out)

    for more in ((), ("--independent",)):
        ran = chio("verify", "--log", kept / "receipts.db", "--anchors", tmp_path / "anchors.jsonl", "--json", *more)
        assert ran.code == 1
        assert {finding["fault"] for finding in ran.documents[0]["findings"]} == {"truncated"}

"""`chio-fast demo` ends well, tells what happened, and every command that it suggests works on the files it left."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ran
    from tests.kafka.broker import Broker

HEADINGS = (
    "1. The policy",
    "2. The broker",
    "3. The stream",
    "4. What was allowed and what was not",
    "5. The dead letters",
    "6. What the order behind the last payment caused",
    "7. The log, verified by code that shares nothing with the engine",
    "Try next",
)


def test_the_demonstration_tells_its_story_and_leaves_files_to_try(chio: Callable[..., Ran], tmp_path: Path) -> None:
    ran = chio("demo", "--orders", "2000")
    assert ran.code == 0, ran.err
    assert [line for line in ran.out.splitlines() if line in HEADINGS] == list(HEADINGS)
    assert "mock cluster" in ran.out
    assert "\x1b" not in ran.out
    for reason in ("under embargo", "duplicate_member", "wait for approval", "without tenant", "internal hosts"):
        assert reason in ran.out
    for step in ("produced by order-service", "consumed by payment-agents", "charge_payment tool call", "verified"):
        assert step in ran.out
    consumed, denied = (int(re.search(rf"payment-agents +{columns}", ran.out).group(1).replace(",", ""))  # type: ignore[union-attr]
                        for columns in (r"([\d,]+) ", r"[\d,]+ +([\d,]+) "))  # fmt: skip
    assert consumed + denied == 2000

    suggested = [shlex.split(line)[1:] for line in ran.out.splitlines() if line.startswith("  chio-fast ")]
    assert len(suggested) == 8
    for command in suggested:
        tried = chio(*command)
        assert tried.code == 0, (command, tried.err)
        assert tried.out


def test_the_demonstration_can_be_repeated_and_touches_no_other_files(chio: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for left in ("policy.yaml", "receipts.db", "receipts.db-key"):
        (tmp_path / "here" / left).write_text("of an earlier run")
    assert chio("demo", "--orders", "1000", "--out", "here").code == 0
    mine = tmp_path / "here" / "thesis.txt"
    mine.write_text("irreplaceable")
    ran = chio("demo", "--orders", "1000", "--out", "here")
    assert ran.code == 3
    assert "thesis.txt" in ran.err
    assert mine.read_text() == "irreplaceable"


@pytest.mark.parametrize("orders", ["0", "x", "1000000"])
def test_a_number_of_orders_out_of_range_is_a_usage_error(chio: Callable[..., Ran], orders: str) -> None:
    assert chio("demo", "--orders", orders).code == 2


def test_the_demonstration_runs_on_a_cluster_of_the_users(chio: Callable[..., Ran], broker: Broker) -> None:
    ran = chio("demo", "--orders", "1000", "--bootstrap-servers", broker.bootstrap)
    assert ran.code == 0, ran.err
    assert f"Yours, at {broker.bootstrap}" in ran.out
    assert "charge_payment tool call" in ran.out
    assert "verified by the independent verifier" in ran.out

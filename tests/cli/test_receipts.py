"""`chio-fast receipt`, `verify` and `key` on a real log: what was decided, what led to what, and that it is whole."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from chio_fast import Enforcer
from chio_fast.log import ReceiptLog
from tests.cli.conftest import flip_a_bit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ran

POLICY = """\
chio: policy/v1
identities:
  order-service: {capabilities: ["events:**"]}
  payment-service: {capabilities: ["events:**", "tools:charge:card"]}
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with one chain: an order produced, consumed and charged, a payment produced; one call is denied."""
    (tmp_path / "payments.yaml").write_text(POLICY)
    path = tmp_path / "receipts.db"
    with Enforcer(tmp_path / "payments.yaml", receipt_log=path, identity="payment-service") as enforcer:
        enforcer.tool("charge_payment", lambda amount: amount)
        order = {"topic": "order.placed", "value": b"{}"}
        produced = enforcer.check("events:produce:order.placed", identity="order-service", output=order)
        event = {**order, "partition": 0, "offset": 0, "headers": [("X-Chio-Receipt", produced.receipt_id)]}
        consumed = enforcer.check("events:consume:order.placed", event=event, parents=[produced.receipt_id or ""])
        because = [consumed.receipt_id or ""]
        enforcer.invoke("charge_payment", "tools:charge:card", {"amount": 5}, parents=because)
        enforcer.check("events:produce:payment.charged", output={"topic": "payment.charged"}, parents=because)
        assert not enforcer.check("tools:refund:card", tool="refund", arguments={}, parents=because)
    return path


def ids(log: Path) -> list[str]:
    return [receipt.id for receipt in ReceiptLog.open(log).query()]


def test_a_chain_is_a_line_for_each_receipt_in_both_directions(chio: Callable[..., Ran], log: Path) -> None:
    first, *_, last = ids(log)
    forward = chio("receipt", "chain", first, "--direction", "forward", "--log", log)
    lines = [line.split("  [")[0].split(maxsplit=1)[1] for line in forward.out.splitlines()]
    assert lines == [
        "order.placed produced by order-service",
        "order.placed consumed by payment-service",
        "charge_payment tool call",
        "charge_payment tool call returned",
        "payment.charged produced by payment-service",
        "refund tool call, deny",
    ]
    backward = chio("receipt", "chain", last, "--direction", "backward", "--log", log)
    assert [line.split()[0] for line in backward.out.splitlines()] == [last, ids(log)[1], first]
    assert chio("receipt", "chain", first, "--direction", "sideways", "--log", log).code == 2
    [chain] = chio("receipt", "chain", first, "--direction", "forward", "--log", log, "--json").documents
    assert len(chain["receipts"]) == 6
    assert {link["kind"] for link in chain["links"]} <= {"verified", "asserted"}


def test_receipts_are_listed_and_shown(chio: Callable[..., Ran], log: Path) -> None:
    listed = chio("receipt", "list", "--log", log)
    assert len(listed.out.splitlines()) == 1 + 6
    [denied] = chio("receipt", "list", "--log", log, "--verdict", "deny", "--json").documents
    assert denied["scope"] == "tools:refund:card"
    shown = chio("receipt", "show", denied["id"], "--log", log)
    assert "refund tool call" in shown.out
    assert "tools:refund:card" in shown.out
    assert chio("receipt", "list", "--log", log, "--tool", "nothing").code == 1
    assert len(chio("receipt", "list", "--log", log, "--limit", "2", "--json").documents) == 2
    assert chio("receipt", "list", "--log", log, "--scope", "events:*", "--json").out.count("\n") == 3
    assert chio("receipt", "list", "--log", log, "--limit", "2").err == "more than 2; use --limit, or a filter\n"
    assert chio("receipt", "list", "--log", log, "--limit", "6").err == ""
    wrong = chio("receipt", "list", "--log", log, "--verdict", "perhaps")
    assert wrong.code == 2
    assert "`allow`, `deny`, `escalate`, `delay`" in wrong.err
    assert chio("receipt", "list", "--log", log, "--until", "2020-01-01T00:00:00Z").code == 1


def test_a_time_that_was_printed_is_a_filter(chio: Callable[..., Ran], log: Path) -> None:
    header, last, *_ = chio("receipt", "list", "--log", log).out.splitlines()
    begin = header.index("time")
    time = last[begin : header.index("what")].strip()
    assert time.endswith("Z")
    found = chio("receipt", "list", "--log", log, "--since", time, "--json").documents
    assert found[0]["id"] == last.split()[0]
    assert chio("receipt", "list", "--log", log, "--until", "2020-01-01 00:00:00.000Z").code == 1


def test_what_is_not_there_is_told_in_one_line(chio: Callable[..., Ran], log: Path, tmp_path: Path) -> None:
    absent = "rcpt_" + "0" * 26
    assert chio("key", "generate", "signing.key", "--trust", "trust.json").code == 0
    for code, *arguments in (
        (1, "receipt", "show", absent, "--log", log),
        (3, "receipt", "show", "nonsense", "--log", log),
        (3, "receipt", "list", "--log", tmp_path / "none.db"),
        (3, "verify", "--log", tmp_path / "none.db"),
        (3, "receipt", "export", "--all", "--out", tmp_path / "none" / "log.frames", "--log", log),
        (3, "receipt", "import", tmp_path / "none.frames", "--into", tmp_path / "none.db", "--trust", "trust.json"),
    ):
        ran = chio(*arguments)
        assert ran.code == code, arguments
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("error: ")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("independent", [(), ("--independent",)])
def test_a_log_verifies_by_either_verifier_and_a_changed_one_does_not(
    chio: Callable[..., Ran], log: Path, independent: tuple[str, ...]
) -> None:
    [told] = chio("verify", "--log", log, "--json", *independent).documents
    assert told["verified"] is True
    assert told["receipts"] == 6
    flip_a_bit(log)
    changed = chio("verify", "--log", log, "--json", *independent)
    assert changed.code in (1, 4)
    if changed.code == 1:
        assert changed.documents[0]["findings"]


def test_a_log_without_anchors_to_hold_it_to_is_not_called_whole(
    chio: Callable[..., Ran], log: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.jsonl").write_text("")
    ran = chio("verify", "--log", log, "--anchors", "none.jsonl")
    assert ran.code == 6
    assert "none.jsonl" in ran.err
    (tmp_path / "other.jsonl").write_text("{}\n")
    ran = chio("verify", "--log", log, "--anchors", "other.jsonl")
    assert ran.code == 3
    assert "line 1" in ran.err


def test_a_log_signed_by_an_unknown_key_does_not_verify(chio: Callable[..., Ran], log: Path, tmp_path: Path) -> None:
    assert chio("key", "generate", "other.key", "--trust", "other.json").code == 0
    for independent in ((), ("--independent",)):
        ran = chio("verify", "--log", log, "--trust", "other.json", "--json", *independent)
        assert ran.code == 1
        assert {finding["fault"] for finding in ran.documents[0]["findings"]} == {"key_unknown"}


def test_an_exported_receipt_verifies_offline_until_it_is_changed(
    chio: Callable[..., Ran], log: Path, tmp_path: Path
) -> None:
    last = ids(log)[-1]
    assert chio("receipt", "export", last, "--log", log, "--out", "one.json").code == 0
    assert chio("verify", "one.json", "--log", log).code == 0
    text = (tmp_path / "one.json").read_text()
    (tmp_path / "changed.json").write_text(text.replace("tools:refund:card", "tools:refund:cash"))
    told = []
    for independent in ((), ("--independent",)):
        ran = chio("verify", "one.json", "changed.json", "--log", log, "--json", *independent)
        assert ran.code == 1
        assert [result["verified"] for result in ran.documents] == [True, False]
        assert ran.documents[1]["detail"].startswith("proof: ")
        told.append(ran.documents[0])
    assert told[0] == told[1]
    (tmp_path / "garbage.json").write_text("{}")
    assert chio("verify", "garbage.json", "--log", log).code == 1
    assert json.loads(chio("receipt", "export", last, "--log", log).out) == json.loads(text)
    assert chio("receipt", "export", *ids(log), "--log", log, "--out", "all").code == 0
    assert len(list((tmp_path / "all").iterdir())) == 6
    assert chio("receipt", "export", "--all", "--out", "log.frames", "--log", log).code == 0
    whole = chio("verify", "log.frames", "--log", log)
    assert whole.code == 3
    assert "python -m chio_fast.verify" in whole.err


def test_a_key_file_is_private_and_never_overwritten(chio: Callable[..., Ran], tmp_path: Path) -> None:
    [made] = chio("key", "generate", "signing.key", "--trust", "trust.json", "--json").documents
    key = tmp_path / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    secret = key.read_text().strip()
    shown = chio("key", "show", "signing.key", "--json")
    assert shown.documents == [made]
    assert secret not in shown.out + shown.err
    assert chio("key", "generate", "signing.key").code == 3
    assert key.read_text().strip() == secret
    assert json.loads((tmp_path / "trust.json").read_text())["keys"][0]["public_key"] == made["public_key"]
    key.chmod(0o644)
    refused = chio("key", "show", "signing.key")
    assert refused.code == 3
    assert "600" in refused.err


def test_a_key_is_added_to_a_trust_file_that_is_there(chio: Callable[..., Ran], tmp_path: Path) -> None:
    made = [chio("key", "generate", f"{name}.key", "--trust", "trust.json", "--json").documents[0] for name in "ab"]
    trusted = json.loads((tmp_path / "trust.json").read_text())["keys"]
    assert [key["public_key"] for key in trusted] == [key["public_key"] for key in made]
    (tmp_path / "broken.json").write_text("{")
    refused = chio("key", "generate", "c.key", "--trust", "broken.json")
    assert refused.code == 3
    assert "broken.json" in refused.err
    assert not (tmp_path / "c.key").exists()


def test_a_rotated_key_signs_on_and_the_trust_file_follows(chio: Callable[..., Ran], log: Path, tmp_path: Path) -> None:
    key = log.with_name("receipts.db-key")
    [before] = chio("key", "show", key, "--json").documents
    trust = {"v": 1, "keys": [{"public_key": before["public_key"], "issuers": ["*"], "status": "active"}]}
    (tmp_path / "trust.json").write_text(json.dumps(trust))
    ran = chio("key", "rotate", key, "--log", log, "--trust", "trust.json", "--json")
    assert ran.code == 0, ran.err
    assert ran.documents[0]["key_id"] != before["key_id"]
    with Enforcer(tmp_path / "payments.yaml", receipt_log=log, identity="payment-service") as enforcer:
        assert enforcer.check("tools:charge:card", tool="charge_payment", arguments={})
    for independent in ((), ("--independent",)):
        assert chio("verify", "--log", log, "--trust", "trust.json", *independent).code == 0
        assert chio("verify", "--log", log, *independent).code == 0
    statuses = [entry["status"] for entry in json.loads((tmp_path / "trust.json").read_text())["keys"]]
    assert sorted(statuses) == ["active", "retired"]


def test_the_help_of_every_command_teaches(chio: Callable[..., Ran]) -> None:
    ran = chio("--help")
    for command in ("demo", "enforce", "policy", "receipt", "dlq", "verify", "key", "doctor"):
        assert command in ran.out
    for code in range(7):
        assert f"{code}  " in ran.out
    for arguments in (
        ("policy", "explain"), ("policy", "test"), ("policy", "check"), ("receipt", "list"), ("receipt", "chain"),
        ("receipt", "show"), ("receipt", "export"), ("dlq", "list"), ("dlq", "group"), ("dlq", "redrive"),
        ("receipt", "import"), ("verify",), ("enforce",), ("process",), ("doctor",), ("reconcile",), ("anchors",),
        ("demo",), ("key", "generate"), ("key", "show"), ("key", "rotate"),
    ):  # fmt: skip
        ran = chio(*arguments, "--help")
        assert ran.code == 0
        assert "Example:" in ran.out, arguments

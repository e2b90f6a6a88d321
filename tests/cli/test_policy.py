"""`chio-fast policy`: what it says of a policy, of a decision, and of a file of cases."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chio_fast.cli import main
from chio_fast.demo import story

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ran

BIG = '{"topic": "orders", "value": {"amount": 1500}}'


def test_check_says_what_is_in_a_policy(chio: Callable[..., Ran], policy_file: Path) -> None:
    ran = chio("policy", "check", policy_file)
    assert ran.code == 0
    assert "policy.yaml: ok" in ran.out
    [summary] = chio("policy", "check", policy_file, "--json").documents
    assert (summary["identities"], summary["capabilities"], summary["rules"]) == (1, 2, 2)
    assert len(summary["version"]) == 64


def test_check_names_the_place_of_a_mistake_and_exits_with_3(chio: Callable[..., Ran], policy_file: Path) -> None:
    policy_file.write_text(policy_file.read_text().replace("effect: deny", "effect: forbid"))
    ran = chio("policy", "check", policy_file)
    assert ran.code == 3
    assert "policy.yaml" in ran.out
    assert "forbid" in ran.out
    [problem] = chio("policy", "check", policy_file, "--json").documents
    assert problem["ok"] is False
    assert problem["error"]["rule"] == "no-secrets-out" or problem["error"]["line"]


def test_check_of_several_files_reports_each(chio: Callable[..., Ran], policy_file: Path) -> None:
    bad = policy_file.with_name("bad.yaml")
    bad.write_text("chio: policy/v9\n")
    ran = chio("policy", "check", policy_file, bad)
    assert ran.code == 3
    assert "policy.yaml: ok" in ran.out
    assert "bad.yaml" in ran.out


def test_a_missing_file_is_one_clear_line(chio: Callable[..., Ran]) -> None:
    ran = chio("policy", "check", "nowhere.yaml")
    assert ran.code == 3
    assert "nowhere.yaml" in ran.out + ran.err
    assert len((ran.out + ran.err).strip().splitlines()) == 1


def test_explain_tells_which_rule_decided(chio: Callable[..., Ran], policy_file: Path) -> None:
    ran = chio("policy", "explain", policy_file, "gate", "events:consume:orders", "--event", BIG)
    assert ran.code == 0
    assert "escalate" in ran.out
    assert "large-orders" in ran.out
    assert "event.value.amount > 1000" in ran.out


def test_explain_prints_json(chio: Callable[..., Ran], policy_file: Path) -> None:
    ran = chio("policy", "explain", policy_file, "gate", "events:consume:orders", "--value", '{"amount": 1}', "--json")
    [explanation] = ran.documents
    assert explanation["decision"]["verdict"] == "allow"
    decided = [rule["rule"] for rule in explanation["rules"] if rule["decided"]]
    assert decided == ["capability:gate:events:consume:**"]


def test_explain_reads_arguments_and_files(chio: Callable[..., Ran], policy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(BIG)
    ran = chio("policy", "explain", policy_file, "gate", "events:consume:orders", "--event", "@event.json", "--json")
    assert ran.documents[0]["decision"]["verdict"] == "escalate"
    ran = chio("policy", "explain", policy_file, "gate", "tools:x", "--arguments", '{"a": 1}', "--json")
    assert ran.documents[0]["decision"]["kind"] == "invoke"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--event", "{"), "not json"),
        (("--event", "@nothing.json"), "nothing.json"),
        (("--event", '{"colour": 1}'), "colour"),
        (("--kind", "eat"), "eat"),
        (("--now", "yesterday"), "yesterday"),
    ],
)
def test_explain_refuses_what_it_cannot_read(
    chio: Callable[..., Ran], policy_file: Path, arguments: tuple[str, ...], expected: str
) -> None:
    ran = chio("policy", "explain", policy_file, "gate", "events:consume:orders", *arguments)
    assert ran.code in (2, 3)
    assert expected in ran.err


def test_the_cases_of_the_demonstration_pass(chio: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(story.POLICY)
    (tmp_path / "cases.yaml").write_text(story.CASES)
    ran = chio("policy", "test", "policy.yaml", "cases.yaml")
    assert ran.code == 0, ran.out
    assert "7 of 7 cases passed" in ran.out


def test_a_case_that_fails_is_told_and_exits_with_1(chio: Callable[..., Ran], policy_file: Path) -> None:
    cases = policy_file.with_name("cases.yaml")
    cases.write_text(
        "cases:\n"
        "- {name: all is well, identity: gate, scope: 'events:consume:x', event: {value: {amount: 1}}, expect: allow}\n"
        "- {name: strangers, identity: nobody, scope: 'events:consume:x', expect: allow}\n"
        "- {name: wrong rule, identity: gate, scope: 'events:consume:x', event: {value: {amount: 2000}},\n"
        "   expect: {verdict: escalate, rule: small-orders}}\n"
    )
    ran = chio("policy", "test", policy_file, cases)
    assert ran.code == 1
    assert "1 of 3 cases passed" in ran.out
    results = {result["name"]: result for result in chio("policy", "test", policy_file, cases, "--json").documents}
    assert [result["passed"] for result in results.values()] == [True, False, False]
    assert "verdict" in results["strangers"]["problem"]
    assert "small-orders" in results["wrong rule"]["problem"]


@pytest.mark.parametrize(
    "text",
    [
        "cases: []\n",
        "policy: policy.yaml\ncases: [{name: a, identity: b, scope: c, expect: allow}]\n",
        "cases: [{name: a, identity: b, scope: c, expect: permit}]\n",
        "cases: [{name: a, identity: b, scope: c, expected: allow}]\n",
        "cases: [{name: a, identity: b, scope: c, expect: allow, now: 2026-01-01T00:00:00}]\n",
        "[",
        "",
    ],
)
def test_a_bad_file_of_cases_never_passes(chio: Callable[..., Ran], policy_file: Path, text: str) -> None:
    cases = policy_file.with_name("cases.yaml")
    cases.write_text(text)
    ran = chio("policy", "test", policy_file, cases)
    assert ran.code == 3
    assert ran.err.startswith("error: ")


def test_a_terminal_gets_tables_and_colours_and_a_pipe_plain_text(
    chio: Callable[..., Ran], policy_file: Path, environment: dict[str, str]
) -> None:
    arguments = ["policy", "explain", str(policy_file), "gate", "events:consume:orders", "--value", '{"amount": 1500}']
    piped = chio(*arguments).out
    assert "\x1b" not in piped
    assert "│" not in piped
    shown = _on_a_terminal([sys.executable, "-m", "chio_fast.cli", *arguments], environment)
    assert "\x1b[33mescalate" in shown
    assert "│" in shown
    plain = _on_a_terminal([sys.executable, "-m", "chio_fast.cli", *arguments], {**environment, "NO_COLOR": "1"})
    assert "\x1b[33m" not in plain


def _on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints when its standard output is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm-256color"})
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end closes when the command ends
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return shown.decode()


def test_an_unexpected_error_is_told_in_one_line_and_exits_with_70(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("somebody divided")

    monkeypatch.setattr("chio_fast.cli.policy.Policy.from_file", lambda _: broken())
    monkeypatch.setattr(sys, "argv", ["chio-fast", "policy", "explain", "a", "b", "c"])
    monkeypatch.delenv("CHIO_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 70
    assert "somebody divided" in capfd.readouterr().err

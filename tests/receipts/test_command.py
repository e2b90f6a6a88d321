"""`python -m chio_fast.verify`: what it prints, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.receipts.vectors import load

EXPORTS = load("exports.json")
FAULTS = load("faults.json")
LOGS = {case["name"]: case for case in load("logs.json")["cases"]}


def run(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "chio_fast.verify", *map(str, arguments)], input=stdin, capture_output=True, check=False
    )


def export(name: str) -> bytes:
    return json.dumps(next(case["export"] for case in EXPORTS["cases"] if case["name"] == name)).encode()


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(EXPORTS["trust"]))
    return path


def test_a_verified_receipt_exits_with_0(trust):
    done = run("-", "--trust", trust, "--json", stdin=export("place 0 of 1"))
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, result["verified"], result["state"]) == (0, True, "recorded")


def test_an_invalid_receipt_exits_with_1_and_says_why(trust):
    done = run("-", "--trust", trust, stdin=export("place 0 of 1").replace(b"research", b"Research"))
    assert done.returncode == 1
    assert done.stdout.startswith(b"invalid: proof: ")


def test_an_unknown_outcome_exits_with_3(trust):
    done = run("-", "--trust", trust, stdin=export("mode transaction, attestation not shown"))
    assert done.returncode == 3
    assert b"authentic, outcome unknown" in done.stdout


def test_a_log_is_told_from_an_export_by_its_first_bytes(tmp_path):
    for name, code in (("good log of two issuers", 0), ("dropped batch", 1), ("empty log", 0)):
        case = LOGS[name]
        (tmp_path / "trust.json").write_text(json.dumps(case["trust"]))
        (tmp_path / "log").write_bytes(bytes.fromhex("".join(case["frames"])))
        done = run(tmp_path / "log", "--trust", tmp_path / "trust.json", "--json")
        result = json.loads(done.stdout)
        assert (done.returncode, result["verified"], result["receipts"]) == (
            code,
            code == 0,
            case["report"]["receipts"],
        )


def test_a_part_of_a_log_verifies_only_as_a_part(tmp_path):
    case = LOGS["good log of two issuers"]
    (tmp_path / "trust.json").write_text(json.dumps(case["trust"]))
    (tmp_path / "log").write_bytes(bytes.fromhex("".join(case["frames"][1:4])))
    assert run(tmp_path / "log", "--trust", tmp_path / "trust.json").returncode == 1
    assert run(tmp_path / "log", "--trust", tmp_path / "trust.json", "--partial").returncode == 0


@pytest.mark.parametrize(
    "trust_text", ["", "{}", '{"v":1,"keys":[{}]}', '{"v":1,"v":1,"keys":[]}', '{"v":2,"keys":[]}']
)
def test_an_unreadable_trust_file_exits_with_2(tmp_path, trust_text):
    (tmp_path / "trust.json").write_text(trust_text)
    done = run("-", "--trust", tmp_path / "trust.json", stdin=b"")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: trust file: ")


def test_a_missing_file_or_option_exits_with_2(trust):
    assert run("/nowhere/at/all", "--trust", trust).returncode == 2
    assert run("-").returncode == 2


def test_the_verifier_imports_nothing_else_of_the_package():
    script = (
        "import sys, chio_fast.verify.__main__;"
        "own = {name for name in sys.modules if name.startswith('chio_fast')};"
        "sys.exit(', '.join(own - {'chio_fast'} - {name for name in own if name.startswith('chio_fast.verify')}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr

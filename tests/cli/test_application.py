"""What every command of `chio-fast` has in common: its version, one line for what is wrong, and how it ends early."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chio_fast import Enforcer, ReceiptLog
from chio_fast.cli.exits import ExitCode
from chio_fast.kafka import metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ran

COMMAND = (sys.executable, "-m", "chio_fast.cli")
# What a shell starts in the background, the tests perhaps, ignores interruptions, and so do its children.
HEARING = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
INTERRUPTIBLE = (sys.executable, "-c", HEARING + "runpy.run_module('chio_fast.cli', run_name='__main__')")


def test_the_version_is_that_of_the_package(chio: Callable[..., Ran]) -> None:
    ran = chio("--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"chio-fast {importlib.metadata.version('chio-fast')}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--versiom",), "no such option: --versiom (Possible options: --version); see `chio-fast -h`"),
        (("receip",), "no such command `receip`. Did you mean `receipt`? see `chio-fast -h`"),
        (("receipt", "show"), "missing argument `receipt_id`; see `chio-fast receipt show -h`"),
        (("policy", "explain", "p", "i", "s", "--kind", "read"), "`consume`, `invoke`, `produce`"),
        (("dlq", "group", "--by", "colour"), "see `chio-fast dlq group -h`"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    chio: Callable[..., Ran], arguments: tuple[str, ...], told: str
) -> None:
    ran = chio(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert told in ran.err


@pytest.mark.parametrize("group", [(), ("receipt",), ("policy",), ("dlq",), ("key",)])
def test_a_group_without_a_command_prints_its_help_and_nothing_else(
    chio: Callable[..., Ran], group: tuple[str, ...]
) -> None:
    ran = chio(*group)
    assert ran.code == 2
    assert "Usage:" in ran.out
    assert ran.err == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_words(tmp_path: Path, environment: dict[str, str], shell: str) -> None:
    def complete(line: str) -> str:
        asked = {"_CHIO_FAST_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, "COMP_WORDS": line}
        asked |= {"COMP_CWORD": str(len(line.split(" ")) - 1), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        done = subprocess.run(
            COMMAND, capture_output=True, text=True, env={**environment, **asked}, cwd=tmp_path, check=False,
        )  # fmt: skip
        return done.stdout

    assert "receipt" in complete("chio-fast rec")
    assert "escalate" in complete("chio-fast receipt list --verdict es")


@pytest.fixture
def long_log(tmp_path: Path, policy_file: Path) -> Path:
    """A log of more receipts than a pipe holds."""
    path = tmp_path / "receipts.db"
    with Enforcer(policy_file, receipt_log=path, identity="gate") as enforcer:
        for number in range(2000):
            enforcer.check("events:produce:orders", output={"topic": "orders", "value": str(number).encode()})
    return path


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_a_terminal_of_any_width_shows_what_is_copied_whole(
    tmp_path: Path, environment: dict[str, str], long_log: Path, columns: int
) -> None:
    # By this variable the output takes its pipe for a terminal.
    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(columns)}
    lister = [*COMMAND, "receipt", "list", "--log", str(long_log), "--limit", "3"]
    done = subprocess.run(
        lister, capture_output=True, text=True, env={**environment, **terminal}, cwd=tmp_path, check=True
    )
    for receipt in ReceiptLog.open(long_log).query(newest_first=True, limit=3):
        assert receipt.id in done.stdout
    assert "orders produced by gate" in done.stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_has_seen_enough_is_no_error(
    tmp_path: Path, environment: dict[str, str], long_log: Path, form: tuple[str, ...]
) -> None:
    lister = subprocess.Popen(
        [*COMMAND, "receipt", "list", "--log", long_log, "--limit", "2000", *form],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert lister.stdout is not None
    assert lister.stderr is not None
    assert lister.stdout.readline()
    lister.stdout.close()
    assert lister.stderr.read() == ""
    assert lister.wait() == 0


def test_an_interruption_before_the_commands_are_loaded_is_silent(tmp_path: Path, environment: dict[str, str]) -> None:
    # An import that never ends stands for the time that loading takes.
    (tmp_path / "typer.py").write_text("print('loading', flush=True)\nimport signal\nsignal.pause()\n")
    process = subprocess.Popen(
        INTERRUPTIBLE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (-signal.SIGINT, "")


def test_an_interruption_is_heard_while_a_cluster_does_not_answer(tmp_path: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*INTERRUPTIBLE, "dlq", "list", "--topic", "denied", "-b", "127.0.0.1:1", "-X", "log_level=6"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert process.stderr is not None
    assert "Connection refused" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    # Shorter than the time for which an answer is waited for.
    _, err = process.communicate(timeout=metadata.TIMEOUT / 2)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in err


def test_a_cluster_that_does_not_answer_is_told_once(chio: Callable[..., Ran]) -> None:
    ran = chio("dlq", "list", "--topic", "denied", "-b", "127.0.0.1:1")
    assert (ran.code, ran.out) == (ExitCode.KAFKA, "")
    assert ran.err.count("\n") == 1
    wrong = chio("dlq", "list", "--topic", "denied", "-b", "127.0.0.1:1", "-X", "no.such.setting=1")
    assert wrong.code == ExitCode.INPUT
    assert "no.such.setting" in wrong.err

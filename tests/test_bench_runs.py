"""A run of the benches keeps what it measured: a bench that fails, Ctrl-C or a killed process costs no other figure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benches import python_benches, rust_benches

ROOT = Path(__file__).resolve().parents[1]

CONFTEST = "from benches.conftest import figure\n"
GOOD = """
def test_good(benchmark, figure):
    benchmark.pedantic(lambda: None)
    figure(group="engine", name="good", value=1.0, unit="ns")
"""
WRONG = """
def test_wrong(benchmark, figure):
    benchmark.pedantic(lambda: None)
    figure(group="engine", name="wrong", value=1.0, unit="ns")
    assert False, "the work was wrong"
"""
DYING = """
import os, signal

def test_dying(benchmark, figure):
    os.kill(os.getpid(), signal.SIGKILL)
"""
WAITING = """
import pathlib, time

def test_waiting(benchmark, figure):
    pathlib.Path(__file__).with_name("waits").touch()
    time.sleep(60)
"""
LATER = "def test_later(benchmark, figure): raise AssertionError('it must not run')\n"


@pytest.fixture
def benches(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path


def write(folder: Path, *benches: str) -> None:
    for number, text in enumerate(benches):
        (folder / f"bench_{number}.py").write_text(text)


def names(benches: list[str]) -> list[str]:
    return [bench.rpartition("/")[2] for bench in benches]


def test_a_bench_that_fails_or_cannot_be_imported_costs_its_own_figures_only(benches: Path) -> None:
    write(benches, GOOD, WRONG, "import no_such_module\n", GOOD)
    measured = python_benches.run(reduced=True, folder=benches)
    assert [figure.name for figure in measured.figures] == ["good", "good"]
    assert sorted(names(measured.failed)) == ["bench_1.py::test_wrong", "bench_2.py"]
    assert measured.unfinished == []


def test_a_killed_process_costs_the_figures_of_the_bench_that_it_names_last_and_of_later_ones(
    benches: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(benches, GOOD, DYING, LATER)
    measured = python_benches.run(reduced=True, folder=benches)
    assert [figure.name for figure in measured.figures] == ["good"]
    assert names(measured.unfinished) == ["bench_1.py::test_dying", "bench_2.py::test_later"]
    assert capfd.readouterr().out.rstrip().endswith("bench_1.py::test_dying")


def test_a_run_without_any_bench_is_not_complete(benches: Path) -> None:
    write(benches, GOOD)
    measured = python_benches.run(reduced=True, folder=benches, keyword="no_such_bench")
    assert measured.failed == ["pytest, which ended with code 5"]


def test_ctrl_c_keeps_what_was_measured_before(benches: Path) -> None:
    write(benches, GOOD, WAITING, LATER)
    program = (
        "import pathlib, signal, msgspec; from benches import python_benches\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs in the background ignore it
        f"measured = python_benches.run(reduced=True, folder=pathlib.Path({str(benches)!r}))\n"
        f"pathlib.Path({str(benches / 'measured.json')!r}).write_bytes(msgspec.json.encode(measured))"
    )
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (benches / "waits").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes in front
    assert run.wait(60) == 0
    measured = json.loads((benches / "measured.json").read_text())
    assert [figure["name"] for figure in measured["figures"]] == ["good"]
    assert names(measured["unfinished"]) == ["bench_1.py::test_waiting", "bench_2.py::test_later"]


def test_rust_figures_need_the_times_of_their_own_bench_only() -> None:
    found = rust_benches.figures({"verify/log/500": 1e5, "verify/log/1": 1e6}, ["verify"])
    assert [figure.group for figure in found] == ["verify", "verify"]
    assert [figure.ratio for figure in found] == [None, None]

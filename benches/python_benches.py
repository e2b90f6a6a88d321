"""Runs the Python benches under pytest-benchmark and collects the figures that they hand over."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benches import sheet
from benches.figures import Measured

HERE = Path(__file__).resolve().parent


def run(*, reduced: bool, keyword: str | None = None, server_jvm: bool = False, folder: Path = HERE) -> Measured:
    """Runs the benches of a folder; a line says which one is running. Ctrl-C ends the run and keeps what was measured.

    Args:
        reduced: small volumes.
        keyword: only the benches that match, as in `pytest -k`.
        server_jvm: the broker runs as Kafka's own script starts it.
        folder: where the files `bench_*.py` are.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "sheet.jsonl"
        command = [sys.executable, "-m", "pytest", str(folder), "-c", "pyproject.toml", "-o", "python_files=bench_*.py"]
        command += ["-vv", "-o", "console_output_style=count", "-rs", "-p", "no:cacheprovider"]
        command += ["--timeout", "3600", "--benchmark-quiet"]
        command += ["--continue-on-collection-errors", "-p", "benches.sheet", "--sheet", str(path)]
        command += ["-k", keyword] if keyword else []
        choices = {"CHIO_BENCH_REDUCED": str(int(reduced)), "CHIO_BENCH_SERVER_JVM": str(int(server_jvm))}
        code = _to_its_end(subprocess.Popen(command, cwd=HERE.parent, env=os.environ | choices))
        measured = sheet.read(path)
    if code != pytest.ExitCode.OK and measured.complete:
        measured.failed.append(f"pytest, which ended with code {code}")
    return measured


def _to_its_end(process: subprocess.Popen[bytes]) -> int:
    """Waits for a process that stops by itself, and tidies up, when Ctrl-C at the terminal interrupts both."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()

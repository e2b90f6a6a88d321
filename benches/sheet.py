"""The sheet of a run: the benches that it plans, then one line for each bench that has ended.

It is written line by line, so that a bench that fails, Ctrl-C or a killed process costs the figures of one bench. As a
plugin of pytest (`-p benches.sheet --sheet PATH`) this module writes the sheet; `read` says what the run gave.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from benches.figures import Figure, Measured


class Plan(msgspec.Struct, frozen=True, tag=True):
    """The benches that are going to run."""

    benches: list[str]


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A bench that ended, and its figures: none unless everything that it asserts held."""

    bench: str
    failed: bool
    figures: list[Figure]


Line: TypeAlias = Plan | Ended


def read(path: Path) -> Measured:
    """What the run gave whose sheet this is; one that ended before it planned anything has no sheet."""
    lines = msgspec.json.Decoder(Line).decode_lines(path.read_bytes() if path.exists() else b"")
    ended = [line for line in lines if isinstance(line, Ended)]
    planned = [bench for line in lines if isinstance(line, Plan) for bench in line.benches]
    names = {line.bench for line in ended}
    return Measured(
        figures=[figure for line in ended for figure in line.figures],
        failed=[line.bench for line in ended if line.failed],
        unfinished=[bench for bench in planned if bench not in names],
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that names the sheet."""
    parser.addoption("--sheet", type=Path, required=True, help="the file that gets the sheet of this run")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the sheet."""
    config.pluginmanager.register(Writer(config.getoption("sheet")))


class Writer:
    """Writes down what pytest reports."""

    def __init__(self, path: Path) -> None:
        """Writes into the file `path`, which need not exist yet."""
        self._path = path
        self._failed: set[str] = set()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported counts as a bench that failed."""
        if report.failed:
            self._write(Ended(report.nodeid, failed=True, figures=[]))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The plan."""
        self._write(Plan([item.nodeid for item in session.items]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A bench has ended when it was torn down."""
        report = yield
        if report.failed:
            self._failed.add(item.nodeid)
        if call.when == "teardown":
            failed = item.nodeid in self._failed
            self._write(Ended(item.nodeid, failed, [] if failed else _figures(item)))
        return report

    def _write(self, line: Line) -> None:
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def _figures(item: pytest.Function) -> list[Figure]:
    benchmark: Any = item.funcargs.get("benchmark")
    return msgspec.convert(benchmark.extra_info.get("figures", []) if benchmark else [], list[Figure])

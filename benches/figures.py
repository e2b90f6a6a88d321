"""Figures: what a bench gives, the table that shows them, the file that keeps them, and the comparison of ratios."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benches.machine import Machine

# Two runs on one shared machine differ by this much; a ratio that falls further has lost something real.
TOLERANCE = 0.30


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured number.

    Attributes:
        group: `decision`, `engine`, `end to end`, `latency`, `memory`, `verify`: they are never added up.
        name: what was measured.
        value: the number in `unit`.
        unit: for instance `ns`, `events/s`.
        ratio: this figure as a multiple of the one it is compared with in the same run; more is better.
        against: what the ratio compares with.
        goal: what was aimed at, in words.
        met: whether it was reached.
        conditions: batch size, message shape, processor time and the like.
    """

    group: str
    name: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    goal: str = ""
    met: bool | None = None
    conditions: str = ""

    @property
    def key(self) -> str:
        """How the baseline names the ratio of this figure."""
        return f"{self.group}: {self.name} / {self.against}"


class Measured(msgspec.Struct):
    """What benches gave.

    Attributes:
        figures: of the benches that ended well.
        failed: the names of those that did not.
        unfinished: the names of those that were interrupted or did not get their turn.
    """

    figures: list[Figure] = msgspec.field(default_factory=list)
    failed: list[str] = msgspec.field(default_factory=list)
    unfinished: list[str] = msgspec.field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every bench ended well."""
        return not self.failed and not self.unfinished

    def add(self, more: Measured) -> None:
        """Takes in what other benches gave."""
        self.figures += more.figures
        self.failed += more.failed
        self.unfinished += more.unfinished


class Results(Measured, kw_only=True):
    """Everything that one run gave, and what it depends on."""

    machine: Machine
    reduced: bool


def show(results: Results, console: Console | None = None) -> None:
    """Prints one table of all figures."""
    console = console or Console(width=None if Console().is_terminal else 200)
    machine = results.machine
    table = Table(
        title=f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}"
        + (" (reduced volumes)" if results.reduced else ""),
        title_justify="left",
    )
    table.add_column("group")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("ratio")
    table.add_column("goal")
    table.add_column("conditions", overflow="fold")
    last = ""
    for figure in results.figures:
        if figure.group != last:
            table.add_section()
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3g} x {figure.against}"
        goal = {True: "met: ", False: "MISSED: ", None: ""}[figure.met] + figure.goal
        group = figure.group if figure.group != last else ""
        table.add_row(group, figure.name, f"{_rounded(figure.value)} {figure.unit}", ratio, goal, figure.conditions)
        last = figure.group
    console.print(table)


def save(results: Results, path: Path) -> None:
    """Writes all figures as JSON, and the names of the benches that gave none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def save_baseline(results: Results, path: Path) -> None:
    """Writes the ratios alone: absolute times would compare machines."""
    ratios = {figure.key: round(figure.ratio, 4) for figure in results.figures if figure.ratio is not None}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(ratios), indent=2) + b"\n")


def compare(results: Results, path: Path) -> list[str]:
    """Says which ratios fell below the baseline by more than the tolerance; an empty list is good news.

    A ratio of the baseline that was not measured is named too, unless benches failed: then it is known why.
    """
    baseline = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    found = {figure.key: figure.ratio for figure in results.figures if figure.ratio is not None}
    complaints = []
    for key, expected in baseline.items():
        ratio = found.get(key)
        if ratio is None:
            if results.complete:
                complaints.append(f"`{key}` is in the baseline and was not measured")
        elif ratio < expected * (1 - TOLERANCE):
            complaints.append(f"`{key}` fell from {expected:.3g} to {ratio:.3g}")
    return complaints


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

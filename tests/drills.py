"""The table of drills in the documentation: what was done how often, with which seed, and what was found."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path

BEGIN = "<!-- drills: written by `make drill` -->"
END = "<!-- drills: end -->"


def write_table(document: Path, drills: dict[str, dict[str, object]]) -> None:
    """Puts the figures of these drills into the document, between the two markers; other drills keep their line.

    Args:
        document: a Markdown file; the section is added at its end when the markers are not there yet.
        drills: for every drill its figures by name, for instance seed, kills, events, lost.
    """
    text = document.read_text() if document.is_file() else ""
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n## Drills\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    old, after = rest.split(END, 1)
    rows = dict(_row(line) for line in old.splitlines() if line.startswith("| ") and not line.startswith("| drill |"))
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}"
    for name, figures in drills.items():
        rows[name] = f"| {name} | {', '.join(f'{key} {_number(value)}' for key, value in figures.items())} | {when} |"
    table = ["| drill | figures | when and where |", "|---|---|---|", *(rows[name] for name in sorted(rows))]
    document.write_text("\n".join([before + BEGIN, *table, END]) + after)


def _row(line: str) -> tuple[str, str]:
    return line.split(" | ", 1)[0].removeprefix("| "), line


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)

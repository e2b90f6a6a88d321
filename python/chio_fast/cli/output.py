"""How commands print: tables and colours on a terminal, plain text in a pipe, JSON where asked.

Results go to standard output; notes, progress and errors to standard error, so that a pipe carries results only.
"""

from __future__ import annotations

import datetime
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from chio_fast.decision import RuleError

STYLES = {
    "allow": "green",
    "deny": "red",
    "escalate": "yellow",
    "delay": "yellow",
    "ok": "green",
    "warning": "yellow",
    "error": "red",
    "pass": "green",
    "fail": "red",
    "verified": "green",
    "asserted": "yellow",
    "committed": "green",
    "recorded": "green",
    "prepared": "yellow",
    "rolled_back": "red",
}
"""Words that are coloured where they stand alone in a cell."""

WHOLE = frozenset({"", "id", "time", "verdict", "count", "first", "last", "dlq"})
"""Columns whose cells are not broken over lines: what is copied, or one word."""

NARROW = 16
"""In a column of fewer characters, text that is broken over lines is no longer legible."""


class Output:
    """What one command prints.

    Args:
        as_json: print JSON instead of text.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        # Made when the command runs, so that a redirected stream is the one that is used.
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @property
    def is_terminal(self) -> bool:
        """Whether results go to a person's screen."""
        return self._out.is_terminal

    def json(self, value: Any) -> None:
        """Print one JSON document on one line."""
        sys.stdout.write(to_json(value) + "\n")

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print one line of the result; nothing in it is markup."""
        self._out.print(escape(text), style=style)

    def heading(self, text: str) -> None:
        """Print the title of a section."""
        self._out.print(f"\n[bold]{escape(text)}[/bold]")

    def note(self, text: str) -> None:
        """Tell the person at the terminal something that is not part of the result."""
        self._err.print(escape(text), style="dim")

    def warn(self, text: str) -> None:
        """Tell of something that works but should not stay so."""
        self._err.print(f"[yellow]warning:[/yellow] {escape(text)}")

    def fields(self, pairs: Sequence[tuple[str, Any]]) -> None:
        """Print names and values, one pair a line; the names are those of the JSON with spaces."""
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            words = name.replace("_", " ").ljust(width)
            self._out.print(f"[bold]{escape(words)}[/bold]  {_cell(value, plain=False)}")

    def summary(self, members: Mapping[str, Any]) -> None:
        """Print what was done: one document, or names and values."""
        if self.as_json:
            self.json(members)
        else:
            self.fields(list(members.items()))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows under column names; nothing of no rows.

        In a pipe they are aligned columns, on a terminal a drawn table; where that is too narrow, names and values.
        """
        rows = list(rows)
        if not rows:
            return
        texts = [list(columns), *([_cell(value, plain=True) for value in row] for row in rows)]
        widths = [max(len(row[column]) for row in texts) for column in range(len(columns))]
        if not self.is_terminal:
            for line in texts:
                self.line("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        elif _least(columns, widths) <= self._out.width:
            self._draw(columns, rows)
        else:
            for number, row in enumerate(rows):
                if number:
                    self.line()
                self.fields([pair for pair in zip(columns, row, strict=True) if "".join(map(str, pair)).strip()])

    def _draw(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        from rich.table import Table

        table = Table(header_style="bold")
        for column in columns:
            table.add_column(column, no_wrap=column in WHOLE, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value, plain=False) for value in row))
        self._out.print(table, soft_wrap=False)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show progress on standard error while the block runs; yields a function that takes the work done so far."""
        if not self._err.is_terminal:
            yield lambda done: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True) as progress:
            task = progress.add_task(label, total=total)
            yield lambda done: progress.update(task, completed=done)


def fail(message: str) -> None:
    """Print the one line of an error on standard error."""
    _console(sys.stderr).print(f"[bold red]error:[/bold red] {escape(message)}")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the application what the end of a reader means."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    # Scopes are full of colons, which must not turn into emoji; lines are wrapped by the terminal, never cut.
    return _Console(file=stream, highlight=False, soft_wrap=True, emoji=False)


def _least(columns: Sequence[str], widths: Sequence[int]) -> int:
    """Characters that a drawn table takes at least, of the longest texts in its columns."""
    cells = zip(columns, widths, strict=True)
    texts = sum(width if name in WHOLE else min(width, max(len(name), NARROW)) for name, width in cells)
    borders = 3 * len(columns) + 1
    return texts + borders


def clock(milliseconds: int) -> str:
    """A Unix time in milliseconds for people, in UTC; `--since` and `--until` take it as it stands."""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03d}Z"


def rule_errors(errors: Iterable[RuleError]) -> list[str]:
    """The errors of a decision: the rule, if it is one's, and the code."""
    return [f"{error.rule}: {error.code}" if error.rule else error.code for error in errors]


def to_json(value: Any) -> str:
    """`value` as one line of JSON, msgspec structs included."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def _cell(value: Any, *, plain: bool) -> str:
    """A cell's text, coloured if it is one of the known words and colours are wanted."""
    if value in (None, "", [], ()):
        return "-"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if plain:
        return text.replace("\n", " ")
    style = STYLES.get(text)
    return f"[{style}]{escape(text)}[/{style}]" if style else escape(text)

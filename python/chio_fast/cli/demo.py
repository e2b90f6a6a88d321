"""`chio-fast demo`: everything at work, on an embedded broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the files that it leaves.")] = Path("demo-output"),
    orders: Annotated[int, typer.Option(help="How many orders flow.", min=1000, max=50_000)] = 30_000,
) -> None:
    """Run a shop whose agents are governed, on an embedded broker, and look at what it leaves.

    Needs no Kafka. Takes about a minute and leaves policy, cases, receipt log, dead letters and an exported receipt
    in ./demo-output. Exits with 1 if the log does not verify.
    """
    from chio_fast.demo import tour

    if not tour.run(Output(), out, orders):
        raise typer.Exit(ExitCode.NO)

"""`chio-fast demo`: everything at work, on an embedded broker or on the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chio_fast.cli import options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output
from chio_fast.cli.run_config import client_settings


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the files that it leaves.")] = Path("demo-output"),
    orders: Annotated[int, typer.Option(help="How many orders flow.", min=1000, max=50_000)] = 30_000,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
) -> None:
    """Run a shop whose agents are governed, and look at what it leaves.

    Needs no Kafka: without `--bootstrap-servers` the broker is an embedded one. Takes about a minute and leaves policy,
    cases, receipt log, dead letters and an exported receipt in ./demo-output. Exits with 1 if the log does not verify.

    Example: `chio-fast demo`, or on a cluster of your own `chio-fast demo -b localhost:9092`
    """
    from chio_fast.demo import tour

    conf = client_settings({}, bootstrap, properties) if bootstrap else None
    if not tour.run(Output(), out, orders, conf):
        raise typer.Exit(ExitCode.NO)

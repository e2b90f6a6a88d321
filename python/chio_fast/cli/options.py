"""Options that several commands share, so that they have one name and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chio_fast.location import LogLocation
from chio_fast.settings import DEFAULT_RECEIPT_LOG

DEFAULT_LOG = LogLocation(DEFAULT_RECEIPT_LOG)

__all__ = ["DEFAULT_LOG", "Bootstrap", "ConfigFile", "Json", "Limit", "Log", "Property", "Since", "Until"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or one a line for lists.")]
Log = Annotated[
    LogLocation,
    typer.Option(
        "--log",
        envvar="CHIO_RECEIPT_LOG",
        help="The receipt log: a path, or a URL `postgresql://…`.",
        metavar="PATH|URL",
        parser=LogLocation.of,
        show_default=str(DEFAULT_RECEIPT_LOG),
    ),
]
Limit = Annotated[int, typer.Option(help="Print at most so many.", min=1)]
Since = Annotated[str | None, typer.Option(help="From this time on: RFC 3339, Unix ms, or an age such as 15m, 7d.")]
Until = Annotated[str | None, typer.Option(help="Before this time: RFC 3339, Unix ms, or an age such as 15m, 7d.")]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", "-b", envvar="CHIO_BOOTSTRAP_SERVERS", help="Brokers, `host:port,host:port`."),
]
Property = Annotated[
    list[str] | None,
    typer.Option("--property", "-X", help="A client setting, `name=value`; may be repeated.", metavar="NAME=VALUE"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The file of `chio-fast enforce`; flags win over it.")
]

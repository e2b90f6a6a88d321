"""Options that several commands share, so that they have one name and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chio_fast.location import LogLocation
from chio_fast.settings import DEFAULT_RECEIPT_LOG

DEFAULT_LOG = LogLocation(DEFAULT_RECEIPT_LOG)
LOG_HELP = "The receipt log: a path, or a URL `postgresql://…`."

__all__ = [
    "DEFAULT_LOG",
    "Bootstrap",
    "ConfigFile",
    "DlqTopic",
    "ErrorTopic",
    "Example",
    "Group",
    "Identity",
    "IdleExit",
    "Json",
    "Limit",
    "Log",
    "OptionalLog",
    "OwnConfigFile",
    "PolicyFile",
    "Property",
    "SigningKey",
    "Since",
    "Until",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or one a line for lists.")]
Log = Annotated[
    LogLocation,
    typer.Option(
        "--log",
        envvar="CHIO_RECEIPT_LOG",
        help=LOG_HELP,
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
    typer.Option("--property", "-X", help="A client setting; repeatable.", metavar="NAME=VALUE"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The file of `chio-fast enforce` or `process`; flags win over it."),
]
OwnConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file; see --example. Flags win over it.")
]
Example = Annotated[bool, typer.Option("--example", help="Print an example of the file and exit.")]
Group = Annotated[str | None, typer.Option(help="Consumer group.")]
Identity = Annotated[str | None, typer.Option(envvar="CHIO_IDENTITY", help="Who acts.")]
PolicyFile = Annotated[str | None, typer.Option("--policy", envvar="CHIO_POLICY", help="The policy file.")]
OptionalLog = Annotated[
    str | None,
    typer.Option("--log", envvar="CHIO_RECEIPT_LOG", help=LOG_HELP, metavar="PATH|URL"),
]
SigningKey = Annotated[str | None, typer.Option(help="Key file; by default the log's own.")]
DlqTopic = Annotated[str | None, typer.Option(help="Topic for what is denied.")]
ErrorTopic = Annotated[
    str | None, typer.Option(help="Topic for what was authorised, and then not handled or forwarded.")
]
IdleExit = Annotated[
    float | None,
    typer.Option(help="End after so many seconds without an event, partitions being assigned; else run on."),
]

"""`chio-fast anchors`, and the anchors that `verify` compares a log with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chio_fast import topics
from chio_fast.cli import config_files, options
from chio_fast.cli.output import Output, clock
from chio_fast.cli.run_config import client_settings
from chio_fast.errors import ChioConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def anchors(
    topic: Annotated[str, typer.Argument(help="The topic of anchors.")] = topics.ANCHORS,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    config_file: options.ConfigFile = None,
    as_json: options.Json = False,
) -> None:
    """Print the anchors that a topic holds; with --json in the form that `verify --anchors` reads from a file.

    Example: `chio-fast anchors -b localhost:9092 --json > anchors.jsonl`
    """
    from chio_fast.kafka.anchors import read_topic
    from chio_fast.verify import MalformedError, read_anchor

    output, rows = Output(as_json), []
    settings = client_settings(config_files.load_either(config_file).kafka, bootstrap, properties)
    for place, timestamp, value in read_topic(settings, topic):
        try:
            anchor = read_anchor(value)
        except MalformedError as error:
            output.warn(f"{place} is no anchor: {error}")
            continue
        if as_json:
            told = {"checkpoint": anchor.text.decode(), "signature": anchor.signature.hex()}
            output.json({"place": place, "timestamp": timestamp, **told})
            continue
        checkpoint = anchor.checkpoint
        row = (clock(timestamp), checkpoint.issuer, checkpoint.epoch, checkpoint.running_count)
        rows.append((*row, anchor.checkpoint_hash.hex()))
    if not as_json:
        output.table(("time", "issuer", "epoch", "records", "head"), rows)


def read(source: str, settings: Mapping[str, Any] | None) -> Iterator[bytes]:
    """Give the anchors of a file, one JSON object a line, or of a topic.

    Args:
        source: path of the file, or name of the topic.
        settings: of the client; None reads a file.

    Raises:
        ChioConfigError: there is no such topic, or a line of the file is no anchor.
        OSError: the file cannot be read.
    """
    from chio_fast.verify import MalformedError, read_anchor

    if settings is None:
        for number, line in enumerate(Path(source).read_bytes().splitlines(), 1):
            try:
                read_anchor(line)
            except MalformedError as error:
                where = f"`{source}`, line {number}"
                raise ChioConfigError(f"{where}: no anchor as `chio-fast anchors --json` prints it: {error}") from None
            yield line
        return
    from chio_fast.kafka.anchors import read_topic

    for _, _, value in read_topic(settings, source):
        yield value

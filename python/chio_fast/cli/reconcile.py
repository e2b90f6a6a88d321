"""`chio-fast reconcile`: do the receipts and the topics say the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chio_fast.cli import config_files, options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output
from chio_fast.cli.receipt import open_log
from chio_fast.cli.run_config import client_settings
from chio_fast.cli.verify import by_engine, own_trust, show_summary
from chio_fast.errors import ChioConfigError
from chio_fast.keys import TrustFile
from chio_fast.location import LogLocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chio_fast.kafka.reconciliation import Finding, Reconciliation
    from chio_fast.log import ReceiptLog

SHOWN_FINDINGS = 20


def reconcile(
    logs: Annotated[
        list[LogLocation] | None,
        typer.Option(
            "--log",
            envvar="CHIO_RECEIPT_LOG",
            help="A receipt log of the group's members, path or URL; repeatable.",
            metavar="PATH|URL",
            parser=LogLocation.of,
        ),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group.")] = None,
    dlq_topics: Annotated[
        list[str] | None, typer.Option("--dlq-topic", help="Topic of denied events; repeatable.")
    ] = None,
    error_topics: Annotated[
        list[str] | None, typer.Option("--error-topic", help="Topic of events that were not handled; repeatable.")
    ] = None,
    output_topics: Annotated[
        list[str] | None,
        typer.Option("--output-topic", help="Topic of outputs; repeatable; by default those of the produce receipts."),
    ] = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    config_file: options.ConfigFile = None,
    trust: Annotated[
        Path | None,
        typer.Option(envvar="CHIO_TRUST", help="Trust file: whose keys count. By default those beside the logs."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compare receipt logs with the topics of a running or stopped group, and print every discrepancy.

    Every event that the group committed past has its consume receipt: exactly one in the transactions of a processor,
    at least one of a consumer. Every denial has its DLQ record, every output its produce receipt with its digest, every
    transaction its checkpoint record. The logs themselves are verified first.

    Exits with 0 if the books balance, with 1 if not, with 6 if nothing is wrong and something cannot be verified.

    Example: `chio-fast reconcile -c enforce.yaml`
    """
    from chio_fast.kafka.reconcile import reconcile as compare

    output, config = Output(as_json), config_files.load_either(config_file)
    settings = client_settings(config.kafka, bootstrap, properties)
    if not (group := group or settings.get("group.id")):
        raise ChioConfigError("the consumer group is not given; write `--group`, or `-c` with the file of `enforce`")
    if not logs:
        logs = [LogLocation(config.receipt_log)] if config.receipt_log else [options.DEFAULT_LOG]
    receipts = [open_log(location) for location in logs]
    _verify(output, receipts, logs, trust)
    with output.progress("reconciling") as advance:
        found = compare(
            settings,
            receipts,
            group,
            dlq_topics=dlq_topics or ([config.dlq_topic] if config.dlq_topic else []),
            error_topics=error_topics or ([config.error_topic] if config.error_topic else []),
            output_topics=output_topics,
            progress=advance,
        )
    if as_json:
        output.json(found)
    else:
        _show(output, found)
    if found.discrepancies_found:
        raise typer.Exit(ExitCode.NO)
    if found.unverifiable_found:
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)


def _verify(output: Output, logs: Sequence[ReceiptLog], locations: Sequence[LogLocation], trust: Path | None) -> None:
    """Verify every log; ends the command with 1 if one does not."""
    for log, location in zip(logs, locations, strict=True):
        trusted = TrustFile.load(trust) if trust is not None else own_trust(output, location)
        with output.progress("verifying", sum(batch.count for batch in log.batches())) as advance:
            summary = by_engine(log, trusted, advance)
        if not summary.verified:
            output.warn(f"`{location}` does not verify, so it is not compared with anything")
            show_summary(output, summary)
            raise typer.Exit(ExitCode.NO)


def _show(output: Output, found: Reconciliation) -> None:
    if found.is_balanced:
        output.line(f"the books of group `{found.group}` balance", style="green")
    elif found.discrepancies_found:
        output.line(f"the books of group `{found.group}` do not balance", style="bold red")
    else:
        output.line(f"nothing of group `{found.group}` is wrong, but not everything can be verified", style="yellow")
    names = ("committed", "rolled_back", "dead_letters", "failed_events", "outputs", "produce_receipts", "withheld")
    output.fields([(name, getattr(found, name)) for name in names])
    output.line()
    columns = (
        "topic",
        "partition",
        "low",
        "begins",
        "committed",
        "events",
        "receipts",
        "denied",
        "ranges",
        "generations",
    )
    output.table(columns, ([getattr(part, name) for name in columns] for part in found.partitions))
    for batch in found.prepared:
        told = "committed by its checkpoint record" if batch.shown else "no checkpoint record"
        output.line(f"prepared: {batch.checkpoint} of `{batch.transactional_id}`, {told}", style="yellow")
    _show_findings(output, found.discrepancies, found.discrepancies_found, "red")
    _show_findings(output, found.unverifiable, found.unverifiable_found, "yellow")


def _show_findings(output: Output, findings: Sequence[Finding], number: int, style: str) -> None:
    for finding in findings[:SHOWN_FINDINGS]:
        where = " ".join(filter(None, (finding.place, finding.receipt)))
        output.line(f"{finding.what}: {where}{': ' if where else ''}{finding.detail}", style=style)
    if number > SHOWN_FINDINGS:
        output.line(f"and {number - SHOWN_FINDINGS} more; --json shows up to 1,000", style=style)

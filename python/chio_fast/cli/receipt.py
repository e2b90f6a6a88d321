"""`chio-fast receipt`: look at receipts, list them, follow their chain, export them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chio_fast.cli import options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output, clock, rule_errors
from chio_fast.cli.requests import parse_time
from chio_fast.decision import Verdict
from chio_fast.errors import ChioConfigError
from chio_fast.keys import TrustFile
from chio_fast.location import LogLocation
from chio_fast.records import Direction, ReceiptKind, State

if TYPE_CHECKING:
    from chio_fast.log import ReceiptLog
    from chio_fast.records import Chain, Receipt

app = typer.Typer(help="The receipt log: what was decided, why, and what led to what.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the receipt, `rcpt_…`.")]


@app.command()
def show(receipt_id: Id, log: options.Log = options.DEFAULT_LOG, as_json: options.Json = False) -> None:
    """Print one receipt with everything in it.

    Example: `chio-fast receipt show rcpt_… --log receipts.db`
    """
    output = Output(as_json)
    receipt = open_log(log).get(receipt_id)
    if as_json:
        output.json(receipt)
        return
    target = receipt.target
    place = f"{target.topic}/{target.partition}/{target.offset}" if target.topic else target.tool
    batch = receipt.batch
    output.fields(
        [
            (name, value)
            for name, value in (
                ("id", receipt.id),
                ("what", describe(receipt)),
                ("time", clock(int(receipt.time))),
                ("verdict", receipt.verdict),
                ("identity", receipt.identity),
                ("scope", receipt.scope),
                ("rule", receipt.rule),
                ("reason", receipt.reason),
                ("errors", rule_errors(receipt.errors)),
                ("guards", [f"{run.name}: {run.verdict}" for run in receipt.guards]),
                ("target", place),
                ("request", receipt.request),
                ("attempt", receipt.attempt),
                ("digest", receipt.digest),
                ("parents", receipt.parents),
                ("correlation", receipt.correlation),
                ("failed with", receipt.error),
                ("outcome", receipt.outcome),
                ("policy", batch.policy_version),
                ("issuer", f"{batch.issuer}, epoch {batch.epoch}, seq {receipt.seq}"),
                ("batch", f"{batch.batch}, {batch.count} records, {batch.state}"),
            )
            if value not in (None, "", [], ())
        ]
    )


@app.command("list")
def list_receipts(
    log: options.Log = options.DEFAULT_LOG,
    verdict: Annotated[Verdict | None, typer.Option(help="What was decided.")] = None,
    kind: Annotated[ReceiptKind | None, typer.Option(help="What it is a receipt of.")] = None,
    identity: Annotated[str | None, typer.Option(help="Who acted.")] = None,
    scope: Annotated[str | None, typer.Option(help="The permission: exact, or `prefix*`.")] = None,
    rule: Annotated[str | None, typer.Option(help="The rule that decided.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic of the event.")] = None,
    partition: Annotated[int | None, typer.Option(help="Its partition.")] = None,
    offset: Annotated[int | None, typer.Option(help="Its offset.")] = None,
    tool: Annotated[str | None, typer.Option(help="The tool.")] = None,
    state: Annotated[State | None, typer.Option(help="What became of its batch.")] = None,
    policy_version: Annotated[str | None, typer.Option(help="Version of the policy.")] = None,
    correlation: Annotated[str | None, typer.Option(help="Correlation text.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Full name of the issuer.")] = None,
    parent: Annotated[str | None, typer.Option(help="Receipts that this one led to.")] = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin with the oldest.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print receipts that pass every filter, the newest first.

    Exits with 1 if there is none. Example: `chio-fast receipt list --log receipts.db --verdict deny --since 1h`
    """
    output = Output(as_json)
    filters: dict[str, Any] = {
        "verdict": verdict,
        "kind": kind,
        "identity": identity,
        "scope": scope,
        "rule": rule,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "tool": tool,
        "state": state,
        "policy_version": policy_version,
        "correlation": correlation,
        "issuer": issuer,
        "parent": parent,
        "since": parse_time(since) if since else None,
        "until": parse_time(until) if until else None,
    }
    found = list(open_log(log).query(newest_first=not oldest_first, limit=limit + 1, **filters))
    if as_json:
        for receipt in found[:limit]:
            output.json(receipt)
    else:
        columns = ("id", "time", "what", "verdict", "rule", "reason")
        output.table(columns, (_row(receipt) for receipt in found[:limit]))
    if len(found) > limit:
        output.note(f"more than {limit}; use --limit, or a filter")
    if not found:
        output.note("no receipt passes these filters")
        raise typer.Exit(ExitCode.NO)


def _row(receipt: Receipt) -> tuple[Any, ...]:
    told = (describe(receipt), receipt.verdict, receipt.rule, receipt.reason)
    return (receipt.id, clock(int(receipt.time)), *told)


@app.command()
def chain(
    receipt_id: Id,
    log: options.Log = options.DEFAULT_LOG,
    direction: Annotated[
        Direction, typer.Option(help="forward: what did this cause; backward: what was the root cause.")
    ] = "backward",
    limit: options.Limit = 1000,
    as_json: options.Json = False,
) -> None:
    """Follow the links between receipts, a line for each: its id, what it was, and how well the link is proven.

    A link is `verified` if this log bears it out, `asserted` if it only says so. Indentation is distance.

    Example: `chio-fast receipt chain rcpt_… --direction forward --log receipts.db`
    """
    output = Output(as_json)
    found = open_log(log).chain(receipt_id, direction, limit=limit)
    if as_json:
        output.json(found)
    else:
        show_chain(output, found)


def show_chain(output: Output, found: Chain) -> None:
    """Print a chain as a tree, a line for each receipt; each stands once, below the first that leads to it."""
    nodes = {node.id: node for node in found.receipts}
    below: dict[str, list[str]] = {}
    proof: dict[str, str] = {}
    for link in found.links:
        near, far = sorted((link.parent, link.child), key=lambda end: nodes[end].depth)
        if nodes[near].depth + 1 != nodes[far].depth:
            continue
        if far not in proof:
            below.setdefault(near, []).append(far)
        # The worst link counts: what hangs on an asserted link is not proven by another that is verified.
        proof[far] = "asserted" if "asserted" in (link.kind, proof.get(far)) else link.kind
    waiting = [node.id for node in found.receipts if node.id not in proof][::-1]
    while waiting:
        node = nodes[waiting.pop()]
        waiting.extend(sorted(below.get(node.id, ()), reverse=True))
        what = describe(node.receipt) if node.receipt else "not in this log"
        verdict = f", {node.receipt.verdict}" if node.receipt and node.receipt.verdict not in (None, "allow") else ""
        proven = f"  [{proof[node.id]}]" if node.id in proof else ""
        output.line(f"{'  ' * node.depth}{node.id}  {what}{verdict}{proven}")
    if found.truncated:
        output.warn("there is more; use --limit")


def describe(receipt: Receipt) -> str:
    """What a receipt was, in a few words."""
    what = receipt.target.topic or receipt.target.tool or receipt.scope
    match receipt.kind:
        case "consume":
            return f"{what} consumed by {receipt.identity}"
        case "produce":
            return f"{what} produced by {receipt.identity}"
        case "invoke":
            return f"{what} tool call"
        case "effect":
            return f"{what} tool call {'failed with ' + receipt.error if receipt.error else 'returned'}"
        case "outcome":
            return f"transaction {receipt.outcome}"
        case kind:
            return f"{what} {kind}"


@app.command()
def export(
    receipt_ids: Annotated[list[str] | None, typer.Argument(help="Ids of the receipts.")] = None,
    log: options.Log = options.DEFAULT_LOG,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File for one receipt or with --all, folder for several; else printed."),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--all", help="The whole log, for `receipt import` or `python -m chio_fast.verify`; needs --out."),
    ] = False,
) -> None:
    """Write receipts with all that others need to verify them offline: body, proof, checkpoint, signature.

    Example: `chio-fast receipt export rcpt_… --log receipts.db --out receipt.json`
    """
    output, receipts = Output(), open_log(log)
    if whole:
        if receipt_ids or out is None:
            raise typer.BadParameter("write `--all --out FILE`, without ids", param_hint="--all")
        output.note(f"{receipts.export_log(out)} batches written to {out}")
        return
    if not receipt_ids:
        raise typer.BadParameter("write the ids of receipts, or `--all`", param_hint="RECEIPT_IDS")
    if out is None:
        for receipt_id in receipt_ids:
            sys.stdout.write(receipts.export(receipt_id).decode().rstrip() + "\n")
        return
    if len(receipt_ids) == 1 and not out.is_dir():
        out.write_bytes(receipts.export(receipt_ids[0]))
        output.note(f"receipt written to {out}")
        return
    out.mkdir(parents=True, exist_ok=True)
    wanted = dict.fromkeys(receipt_ids)
    for receipt_id in wanted:
        (out / f"{receipt_id}.json").write_bytes(receipts.export(receipt_id))
    output.note(f"receipts written to the folder {out}: {len(wanted)}")


@app.command("import")
def import_frames(
    files: Annotated[list[Path], typer.Argument(help="Files that `receipt export --all` wrote.")],
    trust: Annotated[
        Path, typer.Option(envvar="CHIO_TRUST", help="Trust file: whose signatures count.", show_default=False)
    ],
    into: Annotated[
        LogLocation,
        typer.Option(
            help="The receipt log that takes them over; a path or a URL. Created if there is none.",
            metavar="PATH|URL",
            parser=LogLocation.of,
            show_default=False,
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Take over the receipts of other hosts: every batch is verified, what is there already is skipped.

    A file is taken over whole or not at all: a batch that is not authentic, a gap or a fork in an issuer's chain
    refuses it. After an interruption the same command goes on where it ended. Outcomes may come before their
    transactions.

    Example: `chio-fast receipt import a.frames b.frames --into all.db --trust trust.json`
    """
    from chio_fast.log import ReceiptLog

    output, trusted = Output(as_json), TrustFile.load(trust)
    for file in files:
        # Before anything is taken over, and before a log is created for it.
        file.open("rb").close()
    receipts = ReceiptLog.open(into)
    for file in files:
        imported = receipts.import_frames(file, trusted)
        if as_json:
            output.json({"file": str(file), **msgspec.to_builtins(imported)})
            continue
        output.line(f"{file}: {sum(imported.issuers.values())} batches taken over, {imported.duplicates} known already")
        output.table(("issuer", "batches"), imported.issuers.items())


def open_log(location: LogLocation) -> ReceiptLog:
    """The log at `location`, which must be there: reading creates none.

    Raises:
        ChioConfigError: there is no file.
    """
    from chio_fast.log import ReceiptLog

    if not location.exists():
        raise ChioConfigError(f"there is no receipt log at `{location}`; write `--log PATH`, or set CHIO_RECEIPT_LOG")
    return ReceiptLog.open(location)

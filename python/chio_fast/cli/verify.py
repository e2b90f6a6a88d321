"""`chio-fast verify`: a whole receipt log, or exported receipts."""

from __future__ import annotations

import dataclasses
import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chio_fast import settings
from chio_fast.cli import anchors, config_files, options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output
from chio_fast.cli.receipt import open_log
from chio_fast.cli.run_config import client_settings
from chio_fast.errors import ChioConfigError, VerifyError
from chio_fast.keys import Signer, TrustFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chio_fast.location import LogLocation
    from chio_fast.log import ReceiptLog
    from chio_fast.verify import AnchorCheck

UNKNOWN = "unknown"
SHOWN_FINDINGS = 20


class Summary(msgspec.Struct):
    """What verifying a log gave, by either verifier.

    Attributes:
        verified: whether nothing is wrong.
        verifier: `engine` or `independent`.
        batches: signed batches.
        receipts: receipts in them.
        withheld: records whose bodies are withheld.
        transactions: batches of transactions.
        unresolved: those whose outcome is not known.
        issuers: who signed, with the number of records and the head of each chain.
        findings: what is wrong.
        anchors: anchors that the log was held to; None if there were none to be read.
        anchors_not_trusted: further ones, which no trusted key signed.
    """

    verified: bool
    verifier: str
    batches: int
    receipts: int
    withheld: int
    transactions: int
    unresolved: int
    issuers: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    anchors: int | None = None
    anchors_not_trusted: int | None = None


def verify(
    exports: Annotated[
        list[Path] | None, typer.Argument(help="Exported receipts; without any, the whole log is verified.")
    ] = None,
    log: options.Log = options.DEFAULT_LOG,
    trust: Annotated[
        Path | None,
        typer.Option(envvar="CHIO_TRUST", help="Trust file: whose keys count. By default those beside the log."),
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Use the second verifier, which shares no code with the engine.")
    ] = False,
    anchored: Annotated[
        str | None,
        typer.Option(
            "--anchors",
            metavar="FILE|TOPIC",
            help="Anchors to which the log must lead: a file, or if there is none, a topic of this name.",
        ),
    ] = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    config_file: options.ConfigFile = None,
    as_json: options.Json = False,
) -> None:
    """Verify signatures, hashes, order and completeness: nothing changed, dropped, added or reordered.

    Without a trust file the keys beside the log count: that shows that the log is whole, and not who wrote it.

    That the end was not cut off shows with `--anchors` only.

    Exits with 1 if anything is wrong, with 6 if all is authentic and either the outcome of a transaction is not known,
    or there is no anchor to hold the log to.

    Example: `chio-fast verify --log receipts.db --anchors chio-anchors -b localhost:9092`
    """
    output = Output(as_json)
    trusted = TrustFile.load(trust) if trust is not None else own_trust(output, log)
    if exports:
        _verify_exports(output, exports, trusted, independent=independent)
        return
    receipts = open_log(log)
    check = None
    if anchored is not None:
        is_file = Path(anchored).is_file()
        given = config_files.load_either(config_file).kafka
        settings = None if is_file else client_settings(given, bootstrap, properties)
        check = read_anchors(anchors.read(anchored, settings), trusted, receipts)
    total = sum(batch.count for batch in receipts.batches())
    with output.progress("verifying", total) as advance:
        summary = (independently if independent else by_engine)(receipts, trusted, advance, check)
    show_summary(output, summary)
    if not summary.verified:
        raise typer.Exit(ExitCode.NO)
    if summary.anchors == 0:
        output.warn(f"`{anchored}` holds no anchor of this log that a trusted key signed: its end is not checked")
    if summary.unresolved or summary.anchors == 0:
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)


def own_trust(output: Output, log: LogLocation) -> TrustFile:
    """Trust in the key that signs the log: the configured one, else those beside the log, retired ones too.

    Raises:
        ChioConfigError: there is neither.
    """
    beside = log.path and log.path.with_name(f"{log.path.name}-key")
    signer = settings.signer() or (Signer.from_file(beside) if beside and beside.exists() else None)
    if signer is None:
        where = f"at `{beside}`" if beside else f"beside `{log}`"
        raise ChioConfigError(
            f"nobody says whose signatures count, and there is no key {where}; write `--trust` with a trust file, as "
            "`chio-fast key generate --trust` makes it"
        )
    retired = beside.parent.glob(f"{glob.escape(beside.name)}-retired-*") if beside else ()
    own = {signer.key_id: signer for signer in (signer, *map(Signer.from_file, retired))}
    output.note(f"trusting the log's own key {', '.join(own)}; give --trust to check who signed")
    return TrustFile(keys=[key for signer in own.values() for key in TrustFile.of(signer.public_key).keys])


def read_anchors(values: Iterable[bytes], trust: TrustFile, log: ReceiptLog) -> AnchorCheck:
    """Take anchors, to hold a log to them."""
    from chio_fast.verify import AnchorCheck, load_trust

    check = AnchorCheck(load_trust(trust.to_json()), log_id=log.log_id)
    for value in values:
        check.anchor(value)
    return check


def by_engine(
    log: ReceiptLog, trust: TrustFile, advance: Callable[[int], None], check: AnchorCheck | None = None
) -> Summary:
    """Verify a log with the verifier of the engine."""
    try:
        report = log.verify(trust, progress=advance)
    except VerifyError as error:
        if error.report is None:
            raise
        report = error.report
    missing = [] if check is None else _not_led_to(log, check, report.batches)
    return Summary(
        verified=not report.found and not missing,
        verifier="engine",
        batches=report.batches,
        receipts=report.receipts,
        withheld=report.withheld,
        transactions=report.transactions,
        unresolved=report.unresolved,
        issuers=msgspec.to_builtins(report.issuers),
        findings=[*msgspec.to_builtins(report.findings), *missing],
        **_anchor_counts(check),
    )


def _not_led_to(log: ReceiptLog, check: AnchorCheck, batches: int) -> list[dict[str, Any]]:
    from chio_fast.verify import Finding

    for batch in log.batches(last=batches):
        check.batch(batch.issuer, batch.running_count, bytes.fromhex(batch.checkpoint))
    return [
        dataclasses.asdict(
            Finding(fault.fault, batches, anchored.issuer, anchored.epoch, anchored.first_seq, fault.detail)
        )
        for fault, anchored in check.findings()
    ]


def _anchor_counts(check: AnchorCheck | None) -> dict[str, int]:
    return {} if check is None else {"anchors": check.anchors, "anchors_not_trusted": check.not_trusted}


def independently(
    log: ReceiptLog, trust: TrustFile, advance: Callable[[int], None], check: AnchorCheck | None = None
) -> Summary:
    """Verify a log with the independent verifier; only its frames come from the engine."""
    from chio_fast.verify import LogVerifier, load_trust

    verifier = LogVerifier(load_trust(trust.to_json()), anchors=check)
    done = 0
    for batch in log.batches():
        verifier.feed(log.frame(batch.batch))
        done += batch.count
        advance(done)
    report = verifier.finish()
    return Summary(
        verified=report.ok,
        verifier="independent",
        batches=report.frames,
        receipts=report.receipts,
        withheld=report.withheld,
        transactions=report.transactions,
        unresolved=report.unresolved,
        issuers=[dataclasses.asdict(issuer) for issuer in report.issuers],
        findings=[dataclasses.asdict(finding) for finding in report.findings],
        **_anchor_counts(check),
    )


def show_summary(output: Output, summary: Summary) -> None:
    """Print what verifying a log gave."""
    if output.as_json:
        output.json(summary)
        return
    if summary.verified:
        output.line(f"verified by the {summary.verifier} verifier", style="green")
    else:
        output.line(f"does not verify: {len(summary.findings)} findings", style="bold red")
    counts = ["batches", "receipts", "withheld", "transactions", "unresolved"]
    counts += [] if summary.anchors is None else ["anchors", "anchors_not_trusted"]
    output.fields([(name, getattr(summary, name)) for name in counts])
    columns = ("issuer", "epoch", "batches", "records", "head")
    names = ("issuer", "epoch", "batches", "running_count", "head")
    if summary.issuers:
        output.line()
    output.table(columns, ([issuer[name] for name in names] for issuer in summary.issuers))
    for finding in summary.findings[:SHOWN_FINDINGS]:
        output.line(f"batch {finding['frame'] + 1}: {finding['fault']}: {finding['detail']}", style="red")
    if len(summary.findings) > SHOWN_FINDINGS:
        output.line(f"and {len(summary.findings) - SHOWN_FINDINGS} more; use --json to see all")


def _verify_exports(output: Output, exports: list[Path], trust: TrustFile, *, independent: bool) -> None:
    check = _independent_export if independent else _engine_export
    results = [{"file": str(path), **check(_read_export(path), trust)} for path in exports]
    for result in results:
        if output.as_json:
            output.json(result)
        elif result["verified"]:
            state = "authentic, outcome unknown" if result["state"] == UNKNOWN else result["state"]
            output.line(f"{result['file']}: verified, {result['id'] or 'withheld'}, {state}", style="green")
        else:
            output.line(f"{result['file']}: does not verify: {result['detail']}", style="red")
    if not all(result["verified"] for result in results):
        raise typer.Exit(ExitCode.NO)
    if any(result["state"] == UNKNOWN for result in results):
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)


def _read_export(path: Path) -> bytes:
    from chio_fast.verify.frames import MAGIC

    export = path.read_bytes()
    if export.startswith(MAGIC):
        raise ChioConfigError(
            f"`{path}` is a whole log; write `python -m chio_fast.verify {path} --trust …`, or take it over with "
            "`chio-fast receipt import`"
        )
    return export


def _engine_export(export: bytes, trust: TrustFile) -> dict[str, Any]:
    from chio_fast.log import verify_export

    try:
        verified = verify_export(export, trust)
    except VerifyError as error:
        return {"verified": False, "detail": str(error)}
    return {"verified": True, **msgspec.to_builtins(verified)}


def _independent_export(export: bytes, trust: TrustFile) -> dict[str, Any]:
    from chio_fast import verify as independent

    try:
        verified = independent.verify_export(export, independent.load_trust(trust.to_json()))
    except independent.VerifyError as error:
        return {"verified": False, "detail": f"{error.fault}: {error.detail}"}
    told = {name: getattr(verified, name) for name in ("id", "issuer", "epoch", "seq", "state")}
    return {"verified": True, **told, "checkpoint": verified.checkpoint_hash.hex()}

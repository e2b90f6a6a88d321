"""``python -m chio_fast.verify``: the command line of the independent verifier."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from chio_fast.verify.anchors import AnchorCheck
from chio_fast.verify.errors import VerifyError
from chio_fast.verify.export import verify_export
from chio_fast.verify.frames import MAGIC
from chio_fast.verify.log import Finding, verify_log
from chio_fast.verify.trust import Trust, TrustError, load_trust

VERIFIED, INVALID, UNREADABLE, UNKNOWN = range(4)


def main(arguments: list[str] | None = None) -> int:
    """Run the verifier; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m chio_fast.verify",
        description="Verify the export of one receipt, or a log, offline.",
        epilog="exit codes: 0 verified, 1 invalid, 2 usage or unreadable file, 3 authentic but outcome unknown",
    )
    parser.add_argument("file", metavar="FILE", help="an export (JSON) or a log (frames); - for standard input")
    parser.add_argument("--trust", type=Path, required=True, help="the trust file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--partial", action="store_true", help="the log is a part: chains may start and end anywhere")
    parser.add_argument(
        "--anchors", type=Path, help="anchored checkpoints, one JSON object a line; the log leads to all"
    )
    options = parser.parse_args(arguments)
    try:
        trust = load_trust(options.trust)
        data = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
        anchors = _anchors(options.anchors, trust, partial=options.partial) if options.anchors else None
    except (OSError, TrustError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return UNREADABLE
    # A log of no batches is an empty file.
    is_log = not data or data.startswith(MAGIC)
    if is_log:
        code, result, lines = _log(data, trust, partial=options.partial, anchors=anchors)
    else:
        code, result, lines = _export(data, trust)
    print(json.dumps(result, ensure_ascii=False) if options.json else "\n".join(lines))  # noqa: T201
    return code


def _export(data: bytes, trust: Trust) -> tuple[int, dict[str, Any], list[str]]:
    try:
        verified = verify_export(data, trust)
    except VerifyError as error:
        result = {"verified": False, "fault": error.fault, "detail": error.detail}
        return INVALID, result, [f"invalid: {error}"]
    result = {"verified": True, **dataclasses.asdict(verified), "checkpoint_hash": verified.checkpoint_hash.hex()}
    state = "authentic, outcome unknown" if verified.state == "unknown" else verified.state
    lines = [f"verified: {verified.id or 'withheld receipt'} ({state})"]
    lines.append(f"issuer {verified.issuer}, epoch {verified.epoch}, seq {verified.seq}")
    lines.append(f"checkpoint {verified.checkpoint_hash.hex()}")
    return UNKNOWN if verified.state == "unknown" else VERIFIED, result, lines


def _anchors(path: Path, trust: Trust, *, partial: bool) -> AnchorCheck:
    check = AnchorCheck(trust, partial=partial)
    for line in path.read_bytes().splitlines():
        check.anchor(line)
    return check


def _log(
    data: bytes, trust: Trust, *, partial: bool, anchors: AnchorCheck | None
) -> tuple[int, dict[str, Any], list[str]]:
    report = verify_log(data, trust, partial=partial, anchors=anchors)
    result = {"verified": report.ok, **dataclasses.asdict(report)}
    lines = ["verified" if report.ok else f"invalid: {report.found} findings"]
    lines.append(f"{report.frames} batches, {report.receipts} receipts, {report.withheld} withheld")
    lines.append(f"{report.outcomes} outcomes, {report.unresolved} of {report.transactions} transactions unresolved")
    if anchors:
        lines.append(f"{anchors.anchors} anchors, {anchors.not_trusted} more that no trusted key signed")
        result |= {"anchors": anchors.anchors, "anchors_not_trusted": anchors.not_trusted}
    lines.extend(
        f"issuer {chain.issuer}: epoch {chain.epoch}, {chain.running_count} records, head {chain.head}"
        for chain in report.issuers
    )
    lines.extend(_finding(finding) for finding in report.findings)
    return VERIFIED if report.ok else INVALID, result, lines


def _finding(finding: Finding) -> str:
    issuer = "" if finding.issuer is None else f", issuer `{finding.issuer}`"
    place = "" if finding.epoch is None else f", epoch {finding.epoch}, seq {finding.seq}"
    return f"frame {finding.frame}{issuer}{place}: {finding.fault}: {finding.detail}"


if __name__ == "__main__":
    sys.exit(main())

"""Runs all benches, prints one table, keeps the figures, and compares ratios with the committed baseline.

A bench that fails, or Ctrl-C, costs no other figure: what was measured is shown and kept, beside the names of the
benches that gave nothing.

Usage: python -m benches [--check] [--only rust|python] [--server-jvm] [--write-baseline]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import msgspec

from benches import figures, machine, python_benches, rust_benches
from benches.figures import Measured, Results

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
BASELINE = HERE / "baseline.json"
ORDER = ["decision", "engine", "end to end", "exactly once", "latency", "memory", "verify", "users"]
NOT_STARTED = Measured(unfinished=["benches: all in Python"])


def main() -> int:
    """Runs what the command line asks for; the exit code is 1 when a ratio fell, 2 when a bench gave no figures."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--check", action="store_true", help="small volumes; compare the ratios with the baseline")
    parser.add_argument("--only", choices=["rust", "python"], help="run only the benches of one language")
    parser.add_argument("-k", help="run only the Python benches that match, as in pytest")
    parser.add_argument(
        "--server-jvm",
        action="store_true",
        help="start the broker as Kafka's own script does; that of the tests starts sooner, and its code stays slower",
    )
    parser.add_argument("--write-baseline", action="store_true", help="make the ratios of this run the baseline")
    options = parser.parse_args()
    if options.write_baseline and (options.only or options.k or options.server_jvm):
        parser.error("a baseline holds the ratios of all benches; leave out `--only`, `-k` and `--server-jvm`")

    measured = Measured()
    if options.only != "python":
        measured.add(rust_benches.run(reduced=options.check))
    if options.only != "rust":
        interrupted = bool(measured.unfinished)
        run = partial(python_benches.run, reduced=options.check, keyword=options.k, server_jvm=options.server_jvm)
        measured.add(NOT_STARTED if interrupted else run())
    measured.figures.sort(key=lambda figure: ORDER.index(figure.group))
    results = Results(machine=machine.describe(), reduced=options.check, **msgspec.structs.asdict(measured))
    return finish(results, write_baseline=options.write_baseline)


def finish(results: Results, *, write_baseline: bool, latest: Path = LATEST, baseline: Path = BASELINE) -> int:
    """Shows the figures, keeps them in `latest` or compares them with `baseline`, names the benches that gave none."""
    figures.show(results)
    if not results.reduced:
        figures.save(results, latest)
        print(f"written: {latest}")
    if write_baseline and results.complete:
        figures.save_baseline(results, baseline)
        print(f"written: {baseline}")
    elif write_baseline:
        print(f"{baseline} stays as it was: a baseline holds the ratios of all benches", file=sys.stderr)
    code = report(figures.compare(results, baseline)) if results.reduced else 0
    for bench in results.failed:
        print(f"failed: {bench}", file=sys.stderr)
    for bench in results.unfinished:
        print(f"not run to its end: {bench}", file=sys.stderr)
    return code if results.complete else 2


def report(complaints: list[str]) -> int:
    """Prints what fell below the baseline."""
    for complaint in complaints:
        print(f"slower than the baseline: {complaint}", file=sys.stderr)
    if not complaints:
        print(f"no ratio fell by more than {figures.TOLERANCE:.0%} below the baseline")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

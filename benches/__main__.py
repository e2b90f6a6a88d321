"""Runs all benches, prints one table, keeps the figures, and compares ratios with the committed baseline.

Usage: python -m benches [--check] [--only rust|python] [--write-baseline]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benches import figures, machine, rust_benches
from benches.figures import Figure, Results

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
BASELINE = HERE / "baseline.json"
ORDER = ["decision", "engine", "end to end", "exactly once", "latency", "memory", "verify", "users"]


def main() -> int:
    """Runs what the command line asks for; the exit code is 1 when a ratio fell, 2 when a bench failed."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--check", action="store_true", help="small volumes; compare the ratios with the baseline")
    parser.add_argument("--only", choices=["rust", "python"], help="run only the benches of one language")
    parser.add_argument("-k", help="run only the Python benches that match, as in pytest")
    parser.add_argument("--write-baseline", action="store_true", help="make the ratios of this run the baseline")
    options = parser.parse_args()

    found: list[Figure] = []
    try:
        if options.only != "python":
            found += rust_benches.run(reduced=options.check)
        if options.only != "rust":
            found += run_python_benches(reduced=options.check, keyword=options.k)
    except subprocess.CalledProcessError as error:
        print(f"a bench failed: {error}", file=sys.stderr)
        return 2
    found.sort(key=lambda figure: ORDER.index(figure.group))
    results = Results(machine=machine.describe(), reduced=options.check, figures=found)
    figures.show(results)
    if not options.check:
        figures.save(results, LATEST)
        print(f"written: {LATEST.relative_to(HERE.parent)}")
    if options.write_baseline:
        figures.save_baseline(results, BASELINE)
        print(f"written: {BASELINE.relative_to(HERE.parent)}")
    return report(figures.compare(results, BASELINE)) if options.check else 0


def run_python_benches(*, reduced: bool, keyword: str | None) -> list[Figure]:
    """Runs the benches under pytest-benchmark and reads the figures that they handed over."""
    with tempfile.TemporaryDirectory() as folder:
        report_path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", str(HERE), "-o", "python_files=bench_*.py", "-p", "no:cacheprovider"]
        command += ["--timeout", "3600", "--benchmark-json", str(report_path), "--benchmark-quiet", "-rs"]
        command += ["-k", keyword] if keyword else []
        subprocess.run(command, check=True, cwd=HERE.parent, env=os.environ | {"CHIO_BENCH_REDUCED": str(int(reduced))})
        report = json.loads(report_path.read_text())
    return [
        msgspec.convert(figure, Figure)
        for bench in report["benchmarks"]
        for figure in bench["extra_info"].get("figures", [])
    ]


def report(complaints: list[str]) -> int:
    """Prints what fell below the baseline."""
    for complaint in complaints:
        print(f"slower than the baseline: {complaint}", file=sys.stderr)
    if not complaints:
        print(f"all ratios hold: none fell by more than {figures.TOLERANCE:.0%} below the baseline")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

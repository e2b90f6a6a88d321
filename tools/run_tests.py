"""Runs the Python tests in two processes at once: those on the real broker mostly wait for it, the others compute.

Usage: python tools/run_tests.py REPORT.xml [ARGUMENTS OF PYTEST]

What the tests without the broker print is shown when both have ended; the report holds all tests.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def command(markers: str, report: Path, arguments: list[str]) -> list[str]:
    """The command that runs some of the tests."""
    return [sys.executable, "-m", "pytest", "-m", f"not drill and {markers}", f"--junitxml={report}", *arguments]


def run(report: Path, arguments: list[str]) -> int:
    """Runs all tests; gives the exit code of pytest, of the tests on the broker first."""
    beside, printed = report.with_suffix(".without-broker.xml"), report.with_suffix(".without-broker.txt")
    for former in (report, beside):
        former.unlink(missing_ok=True)
    with printed.open("wb") as output:
        others = subprocess.Popen(command("not broker", beside, arguments), stdout=output, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run(command("broker", report, arguments), check=False).returncode
            others.wait()
        finally:
            others.terminate()
    print(f"\nbeside them, without the broker:\n\n{printed.read_text(errors='replace')}", flush=True)
    merge(report, beside)
    return code or others.returncode


def merge(report: Path, other: Path) -> None:
    """Adds the tests of another report to one, and removes the other; a process that was killed has left none."""
    if report.exists() and other.exists():
        whole = ET.parse(report)
        whole.getroot().extend(ET.parse(other).getroot())
        whole.write(report, encoding="utf-8", xml_declaration=True)
        other.unlink()


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))

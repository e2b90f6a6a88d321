"""Reads pytest's JUnit report and fails unless tests on the real broker ran: a skipped promise is not a kept one.

Usage: python tools/broker_tests_ran.py REPORT.xml
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def count(report: Path) -> tuple[int, int]:
    """The numbers of broker tests in the report that ran, and that were skipped."""
    ran = skipped = 0
    for case in ET.parse(report).iter("testcase"):
        if any(found.get("name") == "broker" for found in case.iter("property")):
            if case.find("skipped") is None:
                ran += 1
            else:
                skipped += 1
    return ran, skipped


def main() -> int:
    """Prints both numbers; the exit code is 1 when none ran or one was skipped."""
    report = Path(sys.argv[1])
    if not report.is_file():
        print(f"there is no report `{report}`: did the tests run at all?", file=sys.stderr)
        return 1
    ran, skipped = count(report)
    print(f"broker tests: {ran} ran, {skipped} skipped")
    return 0 if ran and not skipped else 1


if __name__ == "__main__":
    sys.exit(main())

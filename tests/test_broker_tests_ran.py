"""CI counts the broker tests in the report: none, or a skipped one, is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "broker_tests_ran.py"
RAN = '<testcase name="a"><properties><property name="broker" value="real"/></properties></testcase>'
SKIPPED = RAN.replace("</testcase>", "<skipped/></testcase>")
OTHER = '<testcase name="b"/>'


@pytest.mark.parametrize(("cases", "code"), [(RAN + OTHER, 0), (OTHER, 1), (RAN + SKIPPED, 1), (SKIPPED, 1), ("", 1)])
def test_only_a_report_in_which_all_broker_tests_ran_passes(tmp_path: Path, cases: str, code: int) -> None:
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert subprocess.run([sys.executable, TOOL, report], check=False, capture_output=True).returncode == code


def test_a_missing_report_fails(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, TOOL, tmp_path / "none"], check=False, capture_output=True).returncode == 1

"""`make test-python` runs every test in one of two processes, and fails when either does; one report holds them all."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "run_tests.py"
SETTINGS = "[pytest]\nmarkers =\n    broker: on the broker\n    drill: long\n"
TESTS = """
import pytest

@pytest.mark.broker
def test_on_the_broker():
    assert {broker}

def test_alone():
    assert {alone}

@pytest.mark.drill
def test_drill():
    raise AssertionError("nobody asked for it")
"""


@pytest.mark.parametrize(("broker", "alone", "code"), [(True, True, 0), (False, True, 1), (True, False, 1)])
def test_every_test_is_run_and_reported(tmp_path: Path, broker: bool, alone: bool, code: int) -> None:
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "test_some.py").write_text(TESTS.format(broker=broker, alone=alone))
    report = tmp_path / "report.xml"
    ran = subprocess.run(
        [sys.executable, TOOL, report, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout
    cases = {case.get("name"): case.find("failure") is None for case in ET.parse(report).iter("testcase")}
    assert cases == {"test_on_the_broker": broker, "test_alone": alone}
    assert ran.stdout.count(" passed") + ran.stdout.count(" failed") == 2

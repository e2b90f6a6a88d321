"""The comparison of benches with the baseline is about ratios alone, and misses nothing that the baseline names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches import figures
from benches.figures import Figure, Results
from benches.machine import Machine

MACHINE = Machine(cpu="any", cores=2, system="any", python="3.11")


def results(*ratios: float | None) -> Results:
    found = [
        Figure(group="engine", name=f"number {number}", value=1.0, unit="ns", ratio=ratio, against="a reference")
        for number, ratio in enumerate(ratios)
    ]
    return Results(machine=MACHINE, reduced=True, figures=found)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    figures.save_baseline(results(1.0, 2.0, None), path)
    return path


def test_the_baseline_holds_ratios_only(baseline: Path) -> None:
    assert "number 2" not in baseline.read_text()
    assert '"engine: number 1 / a reference": 2.0' in baseline.read_text()


def test_a_ratio_within_the_tolerance_holds(baseline: Path) -> None:
    assert figures.compare(results(1.0 - figures.TOLERANCE + 0.01, 9.0), baseline) == []


def test_a_ratio_that_fell_is_named_with_both_values(baseline: Path) -> None:
    assert figures.compare(results(1.0, 1.0), baseline) == ["`engine: number 1 / a reference` fell from 2 to 1"]


def test_a_ratio_that_was_not_measured_is_named(baseline: Path) -> None:
    (complaint,) = figures.compare(results(1.0), baseline)
    assert "number 1" in complaint
    assert "not measured" in complaint

"""The comparison of benches with the baseline is about ratios alone, and misses nothing that the baseline names.

A run in which benches failed is shown, kept and compared all the same, but makes no baseline.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benches import figures
from benches.__main__ import finish
from benches.figures import Figure, Results
from benches.machine import Machine

MACHINE = Machine(cpu="any", cores=2, system="any", python="3.11")


def results(*ratios: float | None, reduced: bool = True, failed: tuple[str, ...] = ()) -> Results:
    found = [
        Figure(group="engine", name=f"number {number}", value=1.0, unit="ns", ratio=ratio, against="a reference")
        for number, ratio in enumerate(ratios)
    ]
    return Results(machine=MACHINE, reduced=reduced, figures=found, failed=list(failed))


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


def test_what_a_run_measured_is_kept_with_the_names_of_the_benches_that_failed(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latest, before = tmp_path / "latest.json", baseline.read_text()
    found = results(1.0, reduced=False, failed=("bench_x",))
    assert finish(found, write_baseline=True, latest=latest, baseline=baseline) == 2
    kept = json.loads(latest.read_text())
    assert kept["failed"] == ["bench_x"]
    assert [figure["name"] for figure in kept["figures"]] == ["number 0"]
    assert baseline.read_text() == before
    printed = capsys.readouterr().err
    assert "failed: bench_x" in printed
    assert "stays as it was" in printed


@pytest.mark.parametrize(
    ("ratios", "failed", "code"), [((1.0, 2.0), (), 0), ((1.0, 1.0), (), 1), ((1.0,), (), 1), ((1.0,), ("bench_x",), 2)]
)
def test_a_reduced_run_is_compared_with_the_baseline(
    baseline: Path, ratios: tuple[float, ...], failed: tuple[str, ...], code: int
) -> None:
    assert finish(results(*ratios, failed=failed), write_baseline=False, baseline=baseline) == code


def test_where_benches_failed_what_there_is_is_compared(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(results(0.5, failed=("bench_x",)), write_baseline=False, baseline=baseline) == 2
    printed = capsys.readouterr().err
    assert "`engine: number 0 / a reference` fell from 1 to 0.5" in printed
    assert "not measured" not in printed

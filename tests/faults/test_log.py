"""The receipt log loses nothing that it acknowledged when its process is killed again and again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = 200
SEED = 1


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_200_kills_during_appends_tear_no_batch_and_lose_no_acknowledged_receipt(
    tmp_path: Path, drill_report: Callable[..., None]
) -> None:
    command = ["cargo", "run", "--quiet", "--locked", "--release", "--package", "chio-store", "--example", "kill_drill"]
    command += ["--", "--kills", str(KILLS), "--seed", str(SEED), "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] == KILLS
    assert counts["acknowledged"] > 0
    assert counts["stored"] >= counts["acknowledged"]
    assert counts["lost"] == counts["torn"] == 0
    name = counts.pop("drill")
    drill_report(name, **counts)

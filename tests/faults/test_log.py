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


def drill(arguments: list[str], folder: Path) -> dict[str, object]:
    """Runs the drill of the store's crate and gives its counts."""
    command = ["cargo", "run", "--quiet", "--locked", "--release", "--package", "chio-store", "--example", "kill_drill"]
    command += ["--features", "postgres", "--", "--kills", str(KILLS), "--seed", str(SEED), "--directory", str(folder)]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts: dict[str, object] = json.loads(done.stdout)
    assert counts["kills"] == KILLS
    assert counts["acknowledged"]
    assert counts["stored"] >= counts["acknowledged"]  # type: ignore[operator]
    assert counts["lost"] == counts["torn"] == 0
    return counts


@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arguments", [[], ["--postgres"]], ids=["file", "postgres"])
def test_200_kills_during_appends_tear_no_batch_and_lose_no_acknowledged_receipt(
    tmp_path: Path, drill_report: Callable[..., None], arguments: list[str]
) -> None:
    """In a database every other kill is preceded by one of the server."""
    counts = drill(arguments, tmp_path)
    assert bool(counts["server_kills"]) == bool(arguments)
    name = counts.pop("drill")
    drill_report(str(name), **counts)

"""The shop of `examples/` runs as it stands: the commands of its README, on a real broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kafka.broker import Broker

SHOP = Path(__file__).parents[2] / "examples" / "shop"
BLOCK = re.search(r"```sh\n(.*?)```", (SHOP / "README.md").read_text(), re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for line in (BLOCK.group(1) if BLOCK else "").splitlines()]


@pytest.mark.timeout(300)
def test_the_commands_of_the_readme_run_one_after_the_other(broker: Broker, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    config = folder / "enforce.yaml"
    config.write_text(config.read_text().replace("localhost:9092", broker.bootstrap))
    scripts = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHIO_")}
    environment |= {"PATH": f"{scripts}:{os.environ['PATH']}", "CHIO_BOOTSTRAP_SERVERS": broker.bootstrap}

    assert len(COMMANDS) == 8
    said = []
    for command in COMMANDS:
        line = command.replace("localhost:9092", broker.bootstrap)
        done = subprocess.run(
            line.split(), cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        said.append(done.stdout)

    assert "5 of 5 cases passed" in said[0]
    assert "1000 orders produced" in said[1]
    assert "created with 4 partitions" in said[2]
    charged, waiting = map(int, re.findall(r"\d+", said[4]))
    forwarded = int(re.search(r"forwarded +(\d+)", said[3]).group(1))  # type: ignore[union-attr]
    assert charged + waiting == forwarded
    assert waiting > 0
    assert "no-orders-from-embargoed-countries" in said[5]
    assert "verified by the independent verifier" in said[7]

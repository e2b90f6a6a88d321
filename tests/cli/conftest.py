"""What the tests of the command line share: running `chio-fast`, a policy, and topics on the real broker."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.kafka.conftest import new_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kafka.broker import Broker

__all__ = ["new_topic"]

POLICY = """\
chio: policy/v1
identities:
  gate:
    capabilities: ["events:consume:**", "events:produce:**"]
rules:
  - id: large-orders
    effect: escalate
    identities: [gate]
    scopes: ["events:consume:**"]
    when: event.value.amount > 1000
    reason: large orders wait
  - id: no-secrets-out
    effect: deny
    identities: [gate]
    scopes: ["events:produce:**"]
    when: has(output.value.secret)
    reason: secrets stay inside
"""


@dataclass(frozen=True)
class Ran:
    """What a run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The lines of standard output as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a command: nothing of the caller's settings, a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHIO_")}
    return {**kept, "HOME": str(tmp_path), "COLUMNS": "200"}


@pytest.fixture
def chio(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Ran]:
    """Runs `chio-fast` in the test's folder, as a user's shell would with a pipe."""

    def run(*arguments: str | Path, timeout: float = 120, stdin: str | None = None) -> Ran:
        command = [sys.executable, "-m", "chio_fast.cli", *map(str, arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env=environment,
            input=stdin,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """A policy on the disk."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def topics(new_topic: Callable[..., str]) -> dict[str, str]:
    """What a gateway reads, writes and sends what it denies to."""
    return {name: new_topic(name, partitions=2) for name in ("source", "target", "denied")}


@pytest.fixture
def config(tmp_path: Path, policy_file: Path, topics: dict[str, str], broker: Broker) -> Path:
    """A configuration file for `enforce`, with paths relative to it."""
    path = tmp_path / "enforce.yaml"
    document = {
        "identity": "gate",
        "policy": policy_file.name,
        "receipt_log": "receipts.db",
        "dlq_topic": topics["denied"],
        "kafka": {"bootstrap.servers": broker.bootstrap, "group.id": topics["source"]},
        "topics": {topics["source"]: {"forward": topics["target"]}},
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `chio-fast enforce`, or another command, in the background."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path, command: str = "enforce") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "chio_fast.cli", command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()


def flip_a_bit(log: Path) -> None:
    """Change one bit of a stored frame's signature, as somebody with access to the file could."""
    with sqlite3.connect(log) as database:
        [frame] = database.execute("SELECT bytes FROM frame WHERE batch = 1").fetchone()
        changed = bytearray(frame)
        changed[40] ^= 1
        database.execute("UPDATE frame SET bytes = ? WHERE batch = 1", (bytes(changed),))

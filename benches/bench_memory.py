"""The memory of a governed consumer that runs for long is flat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.conftest import ROOT, volume
from benches.kafka import workload
from tests.kafka.broker import Broker


def test_memory_is_flat_over_a_long_run(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path
) -> None:
    count = volume(2_000_000, 500_000)
    topic = filled(count)
    dlq_topic = broker.create_topic("steady-dlq")
    command = [sys.executable, "-m", "benches.kafka.steady", broker.bootstrap, topic, dlq_topic, str(disk), str(count)]

    def run() -> list[float]:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return [float(line) for line in done.stdout.splitlines()]

    samples = benchmark.pedantic(run, rounds=1, iterations=1)
    early, late = max(samples[: len(samples) // 2]), max(samples[len(samples) // 2 :])
    where = f"{count:,} events, {workload.SHAPE}; resident memory of a process of its own"
    figure(group="memory", name="peak in the first half", value=early, unit="MiB", conditions=where)
    figure(
        group="memory",
        name="peak in the second half",
        value=late,
        unit="MiB",
        ratio=early / late,
        against="peak in the first half",
        goal="flat: at most 10 % more",
        met=late <= 1.1 * early,
        conditions=where,
    )

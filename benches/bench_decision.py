"""One decision through each engine's Python API, on the same grants; half of what is asked is granted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from benches import peers
from benches.conftest import volume

BUDGET_S = volume(1, 1) * 0.4
STEP = 7_919


@pytest.mark.parametrize("grants", [10, 1_000, 10_000])
def test_decisions_on_the_same_grants(benchmark: Any, figure: Callable[..., None], grants: int) -> None:
    engines = {}
    for name, build in peers.ENGINES.items():
        try:
            engines[name] = build(grants)
        except ImportError as error:
            figure(group="decision", name=f"{name}: not installed ({error.name})", value=0.0, unit="µs")
    taken: dict[str, list[float]] = {name: [] for name in engines}

    def one_round() -> None:
        for name, decide in engines.items():
            taken[name].append(_seconds_per_decision(decide, grants))

    benchmark.pedantic(one_round, rounds=3, iterations=1)
    ours = taken.pop("chio_fast")
    where = f"{grants:,} grants, half of the requests denied"
    named = {name: statistics.median(seconds) for name, seconds in taken.items()}
    mine = statistics.median(ours)
    figure(
        group="decision",
        name=f"chio_fast from Python, {grants:,} grants",
        value=mine * 1e6,
        unit="µs",
        conditions=where,
    )
    for name, seconds in named.items():
        ratios = [theirs / own for theirs, own in zip(taken[name], ours, strict=True)]
        figure(
            group="decision",
            name=f"{name} takes, {grants:,} grants",
            value=seconds * 1e6,
            unit="µs",
            ratio=statistics.median(ratios),
            against="chio_fast from Python",
            conditions=where,
        )


def _seconds_per_decision(decide: peers.Decide, grants: int) -> float:
    """Time of a decision; grants are asked for all over the set, so that no engine profits from their order."""
    assert decide(grants - 1)
    assert not decide(grants)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < BUDGET_S:
        for _ in range(5):
            assert decide(done * STEP % grants)
            assert not decide(grants + done)
            done += 1
    return elapsed / (2 * done)

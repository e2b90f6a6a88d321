"""Comparisons whose sides take turns, so that what else the machine does hits both alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, TypeAlias

from benches.kafka.run import Run

Side: TypeAlias = Callable[[], Run]


class Comparison:
    """The rounds of a subject and of what it is compared with."""

    def __init__(self, subject: list[Run], others: dict[str, list[Run]]) -> None:
        """Keeps the runs, all lists of one length: round by round."""
        self.subject = subject
        self.others = others

    @property
    def rate(self) -> float:
        """Median rate of the subject, events per second."""
        return statistics.median(run.rate for run in self.subject)

    def rate_of(self, other: str) -> float:
        """Median rate of another side."""
        return statistics.median(run.rate for run in self.others[other])

    def ratio(self, other: str) -> float:
        """Median, over the rounds, of the subject's rate as a multiple of the other side's in the same round."""
        rounds = zip(self.subject, self.others[other], strict=True)
        return statistics.median(subject.rate / run.rate for subject, run in rounds)

    def alone(self, other: str) -> dict[str, Any]:
        """The members of a figure of another side."""
        return {"name": other, "value": self.rate_of(other), "unit": "events/s"}

    def beside(self, other: str, at_least: float | None = None) -> dict[str, Any]:
        """The members of a figure of the subject beside another side, and the goal of their ratio if it has one."""
        ratio = self.ratio(other)
        members = {"value": self.rate, "unit": "events/s", "ratio": ratio, "against": other}
        return members if at_least is None else members | {"goal": f"≥ {at_least:g} x", "met": ratio >= at_least}

    def processor(self) -> str:
        """What the subject's rounds used of the processor: cores, and time per event beside that of the other sides."""
        broker = statistics.median(run.broker_cpu for run in self.subject)
        own = statistics.median(run.own_cpu for run in self.subject)
        others = ", ".join(f"{name} {_cpu_per_event(runs):.1f}" for name, runs in self.others.items())
        return (
            f"cores used: broker {broker:.2f}, this process {own:.2f}; "
            f"CPU per event {_cpu_per_event(self.subject):.1f} µs ({others})"
        )


def _cpu_per_event(runs: list[Run]) -> float:
    return statistics.median(run.own_cpu * run.seconds / run.events for run in runs) * 1e6


def interleave(benchmark: Any, subject: Side, others: dict[str, Side], *, rounds: int, warm_up: int = 1) -> Comparison:
    """Runs the other sides and then the subject, round after round; the first `warm_up` rounds do not count.

    Args:
        benchmark: the fixture of pytest-benchmark, which times the subject as a whole.
        subject: gives one run of what is measured.
        others: gives one run each of what it is compared with.
        rounds: how often.
        warm_up: rounds before those that count.
    """
    mine: list[Run] = []
    theirs: dict[str, list[Run]] = {name: [] for name in others}

    def run_others() -> None:
        for name, side in others.items():
            theirs[name].append(side())

    benchmark.pedantic(lambda: mine.append(subject()), setup=run_others, rounds=rounds + warm_up, iterations=1)
    return Comparison(mine[warm_up:], {name: runs[warm_up:] for name, runs in theirs.items()})

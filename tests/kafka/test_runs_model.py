"""Runs against a model that looks at everything anew after each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chio_fast import Enforcer, Policy
from chio_fast._native import FINISHED, RUNNING, Run, Stretch, Work
from tests.kafka.scenario import OPEN_POLICY
from tests.kafka.test_runs import Table

TOPICS = ("a", "b", "c")
BATCH = 4

Step = tuple[str, int, int, tuple[bool, ...]]
"""What is done, two numbers that say to what, and which of the events that are taken were denied."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "finish", "finish", "finish", "pick", "commit", "end"]),
        st.integers(0, 30),
        st.integers(1, 6),
        st.lists(st.booleans(), min_size=5, max_size=5).map(tuple),
    ),
    max_size=60,
)


@dataclass(eq=False)
class Line:
    """One run, as the model knows it: all of its works, and how many of them are picked."""

    run: Run
    works: list[Work] = field(default_factory=list)
    picked: int = 0

    @property
    def finished(self) -> list[Work]:
        return list(takewhile(lambda work: work.state == FINISHED, self.works[self.picked :]))

    def waiting_in(self, lane: int | None) -> list[Work]:
        return [work for work in self.works if work.state != FINISHED and work.lane == lane]


class Model:
    """Does each step with the runs and by itself."""

    def __init__(self, enforcer: Enforcer) -> None:
        self.table = Table(enforcer, batch_size=BATCH)
        self.lines: dict[str, Line] = {}
        self.order: list[Line] = []  # those of which something can be picked, in the order in which that began
        self.begun: list[Work] = []
        self.picked: list[list[Stretch]] = []
        self.offset = 0
        for topic in TOPICS:
            self.begin(topic)

    def begin(self, topic: str) -> None:
        self.lines[topic] = Line(self.table.begin(topic))

    def take(self, number: int, count: int, denied: tuple[bool, ...]) -> None:
        line = self.lines[TOPICS[number % len(TOPICS)]]
        events = self.table.admit(line.run, range(self.offset, self.offset + count))
        self.offset += count
        works = [Work(event, line.run, (b"x", b"y")[(number + at) % 2]) for at, event in enumerate(events)]
        before = {work.lane: bool(line.waiting_in(work.lane)) for work in works}
        for work, is_denied in zip(works, denied, strict=False):
            if is_denied:
                work.denied, work.state = True, FINISHED
        expected = []
        for work in works:
            if work.state != FINISHED and not before[work.lane]:
                before[work.lane] = True
                expected.append(work)
        line.works += works
        ready = line.run.add(works)
        assert ready == expected, "the first of each lane is ready"
        self.start(ready)

    def start(self, works: list[Work]) -> None:
        for work in works:
            work.state = RUNNING
        self.begun += works

    def finish(self, number: int) -> None:
        if not self.begun:
            return
        work = self.begun.pop(number % len(self.begun))
        follower = work.finish()
        left = self.lines[work.run.key[0]].waiting_in(work.lane) if work.run.alive else []
        assert follower is (left[0] if left else None), "the lane goes on with its next work"
        self.start(left[:1])

    def pick(self, limit: int) -> None:
        open_lines = self.order
        is_full = bool(open_lines) and self.pending >= min(limit, BATCH)
        stretches = self.table.runs.pick_ahead(limit)
        if not is_full:
            assert stretches is None
            return
        expected = []
        for line in open_lines:
            works = line.finished[:limit]
            if not works:
                break
            expected.append((line.run, works))
            line.picked += len(works)
            limit -= len(works)
        assert [(stretch.run, stretch.works) for stretch in stretches or ()] == expected
        touched = [line for line in open_lines if any(line.run is run for run, _ in expected)]
        self.order = [line for line in open_lines if line not in touched] + [line for line in touched if line.finished]
        self.picked.append(stretches or [])

    def commit(self) -> None:
        if not self.picked:
            return
        stretches = self.picked.pop(0)
        self.table.runs.committed(stretches)
        for stretch in stretches:
            line = self.lines[stretch.run.key[0]]
            if line.run is stretch.run:
                del line.works[: len(stretch.works)]
                line.picked -= len(stretch.works)

    def end(self, number: int) -> None:
        topic = TOPICS[number % len(TOPICS)]
        line = self.lines[topic]
        left = line.works[line.picked :]
        begun = [work for work in left if work.state in (RUNNING, FINISHED) and not work.denied]
        assert self.table.runs.end([line.run.key]) == begun, "what its handlers have begun is an attempt"
        self.begin(topic)

    @property
    def pending(self) -> int:
        left = [work for line in self.lines.values() for work in line.works[line.picked :]]
        return sum(work.state == FINISHED for work in left)

    def check(self) -> None:
        live = list(self.lines.values())
        self.order = [line for line in self.order if line in live and line.finished]
        self.order += [line for line in live if line.finished and line not in self.order]
        runs = self.table.runs
        assert runs.taken == sum(len(line.works) for line in live)
        assert runs.unfinished == sum(work.state != FINISHED for line in live for work in line.works)
        assert runs.is_settled == (not self.order and not any(line.picked for line in live))
        assert runs.is_due == bool(self.order)


@pytest.fixture(scope="module")
def enforcer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enforcer]:
    log = tmp_path_factory.mktemp("runs") / "receipts.db"
    with Enforcer(Policy.from_yaml(OPEN_POLICY), receipt_log=log, identity="workers") as made:
        yield made


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_runs_hold_pick_and_hand_on_what_a_model_says(enforcer: Enforcer, steps: list[Step]) -> None:
    model = Model(enforcer)
    for what, number, count, denied in steps:
        match what:
            case "take":
                model.take(number, count, denied)
            case "finish":
                model.finish(number)
            case "pick":
                model.pick(count)
            case "commit":
                model.commit()
            case "end":
                model.end(number)
        model.check()

"""What a transaction may cover: finished events at the frontier, bounded, in order, never waiting for others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chio_fast import Enforcer, Event, Policy
from chio_fast._native import FINISHED, RUNNING, Run, Runs, Stretch, Work
from chio_fast.kafka.assignment import Assigned
from chio_fast.kafka.frontier import NOTHING
from chio_fast.kafka.in_flight import InFlight
from chio_fast.kafka.sample import sample_message
from tests.kafka.patience import patiently
from tests.kafka.scenario import OPEN_POLICY


class Table:
    """Runs with real events, and nobody who runs handlers but the test."""

    def __init__(
        self, enforcer: Enforcer, *, batch_size: int = 100, max_batch_s: float = 0.0, room: int = 1000, tracks: int = 1
    ) -> None:
        self.tracks = [Runs(batch_size, max_batch_s) for _ in range(tracks)]
        self.runs = self.tracks[0]
        self.in_flight = InFlight(self.tracks, room)
        self._gate = enforcer.gate

    def begin(self, topic: str) -> Run:
        native = self._gate.partition(topic, 0, scope="events:consume:x", identity="workers", stamp=1)
        run = Run(
            Assigned((topic, 0), native, None), lambda *_: None, NOTHING, is_async=False, unproven=0, generation=1
        )
        self.in_flight.begin(run)
        return run

    def admit(self, run: Run, offsets: range) -> list[Event]:
        messages = [sample_message(b"{}", topic=run.key[0], offset=offset) for offset in offsets]
        events, _, _ = self._gate.admit(messages, {run.key: run.held.native})
        return events

    def take(self, run: Run, offsets: range, *, key: bytes | None = None) -> list[Work]:
        works = [Work(event, run, key) for event in self.admit(run, offsets)]
        self.ready = run.add(works)
        return works

    def finish(self, *works: Work) -> None:
        for work in works:
            work.finish()


@pytest.fixture
def enforcer(tmp_path: Path) -> Iterator[Enforcer]:
    with Enforcer(Policy.from_yaml(OPEN_POLICY), receipt_log=tmp_path / "receipts.db", identity="workers") as made:
        yield made


@pytest.fixture
def table(enforcer: Enforcer) -> Table:
    return Table(enforcer)


def spans(stretches: list[Stretch] | None) -> list[tuple[str, int, int]]:
    return [(stretch.run.key[0], stretch.first, stretch.next) for stretch in stretches or []]


def test_a_stretch_ends_before_the_first_unfinished_event(table: Table) -> None:
    works = table.take(table.begin("a"), range(10, 15))
    table.finish(works[0], works[1], works[3])
    assert spans(table.runs.pick(100)) == [("a", 10, 12)]


def test_an_unfinished_event_holds_its_own_partition_alone(table: Table) -> None:
    slow, brisk = table.begin("a"), table.begin("b")
    _, behind = table.take(slow, range(2))
    table.finish(behind, *table.take(brisk, range(3)))
    assert spans(table.runs.pick(100)) == [("b", 0, 3)]


def test_stretches_follow_each_other_over_gaps_of_offsets(table: Table) -> None:
    run = table.begin("a")
    table.finish(*table.take(run, range(2)))
    first = table.runs.pick(100)
    assert first is not None
    table.runs.committed(first)
    table.finish(*table.take(run, range(7, 9)))
    assert spans(table.runs.pick(100)) == [("a", 2, 9)]


def test_the_committed_offset_is_where_a_run_begins(table: Table) -> None:
    run = table.begin("a")
    table.finish(*table.take(run, range(5, 6)))
    table.runs.begins_at({("a", 0): 3})
    assert spans(table.runs.pick(100)) == [("a", 3, 6)]


def test_events_below_the_committed_offset_are_those_of_a_topic_that_was_created_anew(table: Table) -> None:
    run = table.begin("a")
    table.runs.begins_at({("a", 0): 500})
    table.finish(*table.take(run, range(2)))
    assert spans(table.runs.pick(100)) == [("a", 0, 2)]


def test_a_transaction_is_bounded_and_the_rest_comes_next(table: Table) -> None:
    runs = [table.begin("a"), table.begin("b")]
    for run in runs:
        table.finish(*table.take(run, range(6)))
    first = table.runs.pick(8)
    assert spans(first) == [("a", 0, 6), ("b", 0, 2)]
    assert first is not None
    table.runs.committed(first)
    assert spans(table.runs.pick(8)) == [("b", 2, 6)]


def test_the_next_transaction_is_picked_ahead_if_it_is_full(enforcer: Enforcer) -> None:
    table = Table(enforcer, batch_size=4)
    run = table.begin("a")
    works = table.take(run, range(10))
    table.finish(*works[:7])
    first = table.runs.pick(4)
    assert table.runs.pick_ahead(4) is None
    table.finish(works[7])
    ahead = table.runs.pick_ahead(4)
    assert spans(first) + spans(ahead) == [("a", 0, 4), ("a", 4, 8)]
    for stretches in (first, ahead):
        table.runs.committed(stretches or [])
    assert [work.event.offset() for work in run.works] == [8, 9]
    assert table.runs.is_settled


def test_what_is_finished_is_picked_in_time_although_nothing_else_finishes(enforcer: Enforcer) -> None:
    with ThreadPoolExecutor(1) as pool:
        table = Table(enforcer, max_batch_s=0.02)
        table.take(table.begin("slow"), range(1))
        [work] = table.take(table.begin("brisk"), range(1))
        picked = pool.submit(table.runs.pick, 100)
        for _ in patiently("somebody who waits"):
            if table.runs.is_awaited:
                break
        table.finish(work)
        try:
            assert spans(picked.result(30)) == [("brisk", 0, 1)]
        finally:
            table.runs.stop()


def test_the_events_of_a_lane_are_handed_on_one_after_the_other(table: Table) -> None:
    run = table.begin("a")
    first, second = table.take(run, range(2), key=b"k")
    assert table.ready == [first]
    third = table.take(run, range(2, 3), key=b"k")[0]
    assert table.ready == []
    assert first.finish() is second
    assert second.finish() is third
    assert third.finish() is None
    assert table.take(run, range(3, 4), key=b"k") == table.ready


def test_a_run_that_ended_commits_nothing_and_makes_room(table: Table) -> None:
    run = table.begin("a")
    picked, begun, waiting, finished = table.take(run, range(4))
    table.finish(picked)
    stretches = table.runs.pick(100)
    begun.state = RUNNING
    table.finish(finished)
    assert table.runs.end([("a", 0)]) == [begun, finished]
    assert waiting.state != FINISHED
    assert (table.in_flight.room, table.runs.unfinished, table.runs.is_settled) == (1000, 0, True)
    table.finish(begun)
    table.runs.committed(stretches or [])
    assert (table.in_flight.room, table.runs.unfinished) == (1000, 0)


def test_runs_set_aside_leave_room_for_others(table: Table) -> None:
    run = table.begin("a")
    table.take(run, range(600))
    assert table.in_flight.room == 400
    table.in_flight.set_aside([run])
    assert table.in_flight.room == 1000


def test_after_stop_there_is_nothing_to_pick(table: Table) -> None:
    table.runs.stop()
    assert table.runs.pick(100) is None


def test_what_everybody_waits_for_is_picked_at_once(enforcer: Enforcer) -> None:
    table = Table(enforcer, max_batch_s=3600.0)
    works: list[Work] = table.take(table.begin("a"), range(2))
    table.finish(works[0])
    table.runs.hurry(awaited=True)
    assert spans(table.runs.pick(100)) == [("a", 0, 1)]


def test_whoever_waits_is_always_told(enforcer: Enforcer) -> None:
    """Without a time to wait for, one wake-up that is lost would leave events behind for ever."""
    with ThreadPoolExecutor(5) as pool:
        table = Table(enforcer, batch_size=7, max_batch_s=3600.0)
        works = [table.take(table.begin(topic), range(500)) for topic in "abcd"]
        finishing = [pool.submit(table.finish, *each) for each in works]
        committed = 0
        while committed < sum(map(len, works)):
            picked = pool.submit(table.runs.pick, 50).result(30)
            table.runs.committed(picked or [])
            committed += sum(map(len, picked or []))
        for done in finishing:
            done.result(30)
        assert table.runs.is_settled

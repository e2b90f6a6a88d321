"""Several producers that share a processor's partitions out and commit side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chio_fast import Enforcer, Policy
from chio_fast.errors import ChioConfigError
from chio_fast.kafka.transaction import Transaction
from tests.kafka.processor_world import World, forward, running, world
from tests.kafka.scenario import OPEN_POLICY
from tests.kafka.test_runs import Table

__all__ = ["world"]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with Enforcer(Policy.from_yaml(OPEN_POLICY), receipt_log=tmp_path / "receipts.db", identity="workers") as enforcer:
        yield Table(enforcer, room=100, tracks=2)


def test_partitions_are_shared_out_evenly_and_keep_their_track(table: Table) -> None:
    def begin(topic: str) -> int:
        run = table.begin(topic)
        [number] = [number for number, track in enumerate(table.tracks) if track.get(run.key) is run]
        return number

    assert [begin(topic) for topic in "abc"] == [0, 1, 0]
    table.in_flight.end([("a", 0), ("c", 0)])
    assert table.in_flight.get(("a", 0)) is None
    assert begin("d") == 0
    table.in_flight.end([("b", 0)])
    # The second track has the fewest now; what was on the first one goes back there all the same.
    assert begin("a") == 0
    assert begin("b") == 1


def test_a_hand_out_is_shared_out_and_counted_as_one(table: Table) -> None:
    runs = [table.begin("a"), table.begin("b")]
    works = [work for run in runs for work in table.take(run, range(30))]
    assert [track.taken for track in table.tracks] == [30, 30]
    assert (table.in_flight.taken, table.in_flight.unfinished, table.in_flight.room) == (60, 60, 40)
    assert table.in_flight.share == 50
    table.in_flight.set_aside(runs[:1])
    assert table.in_flight.room == 70
    for work in works:
        work.finish()
    assert not table.in_flight.is_settled
    for track in table.tracks:
        track.committed(track.pick(100) or [])
    assert table.in_flight.is_settled
    assert (table.in_flight.taken, table.in_flight.room) == (0, 100)


def test_a_track_that_waits_does_not_hold_the_other_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held, go_on = threading.Event(), threading.Event()
    begin, ids = Transaction.begin, set[str]()

    def begin_late(self: Transaction) -> None:
        ids.add(self.transactional_id)
        if self.transactional_id.endswith("/1"):
            held.set()
            assert go_on.wait(60)
        begin(self)

    monkeypatch.setattr(Transaction, "begin", begin_late)
    for partition in (0, 1):
        world.produce(*({"n": n, "partition": partition} for n in range(50)), partition=partition)
    with running(world.processor(forward(world.target), tracks=2)):
        assert held.wait(60)
        committed = world.await_outputs(50)
        [partition] = {value["partition"] for value in committed}
        assert [value["n"] for value in committed] == list(range(50))
        go_on.set()
        late = [value for value in world.await_outputs(100) if value["partition"] != partition]
        assert [value["n"] for value in late] == list(range(50))
    world.assert_processed_once(100)
    [own] = [own for own in ids if not own.endswith("/1")]
    assert ids == {own, f"{own}/1"}


def test_a_processor_has_at_least_one_track_and_not_too_many(world: World) -> None:
    for tracks in (0, 17):
        with pytest.raises(ChioConfigError, match=f"`tracks` is {tracks}; write 1 to 16"):
            world.processor(forward(world.target), tracks=tracks)

"""The journal of tool calls: one file for all processes of a host, written together, private, never half."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chio_fast.errors import (
    JournalError,
)
from chio_fast.kafka.journal import SUFFIX, Call, Journal

CALL = Call(b"p" * 16, 7, b"k" * 32, b"e" * 32, 1, None, "charge", "tools:charge", "agent", "rcpt_1")


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    opened = Journal(tmp_path / "calls.db")
    yield opened
    opened.close()


def test_what_was_begun_and_what_it_gave_is_read_by_every_process_of_the_host(journal: Journal) -> None:
    other = Journal(journal.path)
    assert other.recorded(CALL.partition, CALL.offset) == []
    journal.start(CALL).result()
    [begun] = other.recorded(CALL.partition, CALL.offset)
    assert (begun.call, begun.state, begun.result) == (CALL, "started", None)
    journal.complete(CALL, result=b"1", digest=b"d").result()
    [done] = other.recorded(CALL.partition, CALL.offset)
    assert (done.state, done.result, done.digest) == ("completed", b"1", b"d")
    other.close()


def test_the_time_of_a_start_is_that_of_the_clock(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "calls.db", clock=lambda: 12.5)
    journal.start(CALL).result()
    assert journal.recorded(CALL.partition, CALL.offset)[0].started == 12_500
    journal.close()


def test_a_call_is_begun_by_one_attempt_and_its_result_is_that_ones(journal: Journal) -> None:
    second = CALL._replace(receipt="rcpt_2")
    assert journal.start(CALL).result()
    assert not journal.start(second).result()
    [recorded] = journal.recorded(CALL.partition, CALL.offset)
    assert recorded.call == CALL
    assert journal.start(second, replaces=recorded).result()
    assert not journal.start(CALL._replace(receipt="rcpt_3"), replaces=recorded).result()
    assert not journal.complete(CALL, result=b"1", digest=b"d").result()
    [recorded] = journal.recorded(CALL.partition, CALL.offset)
    assert (recorded.call, recorded.state) == (second, "started")


def test_starts_that_wait_together_become_durable_together(journal: Journal) -> None:
    count = 40
    with sqlite3.connect(journal.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = [journal.start(CALL._replace(offset=offset)) for offset in range(count)]
        other.execute("COMMIT")
    for future in waiting:
        future.result()
    assert journal.entries == count
    assert journal.commits <= 2
    assert journal.offsets(CALL.partition) == set(range(count))


def test_calls_of_committed_events_are_forgotten_and_no_others(journal: Journal) -> None:
    other = CALL._replace(partition=b"q" * 16)
    for call in (CALL._replace(offset=6), CALL, CALL._replace(offset=8), other):
        journal.start(call).result()
    journal.committed({CALL.partition: 8})
    journal.start(CALL._replace(offset=9)).result()
    assert journal.offsets(CALL.partition) == {8, 9}
    assert journal.offsets(other.partition) == {7}


def test_a_write_that_fails_fails_for_whoever_waits_and_leaves_the_journal_usable(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "calls.db", busy_timeout=0.05)
    with sqlite3.connect(journal.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            journal.start(CALL).result()
        other.execute("COMMIT")
    journal.start(CALL).result()
    journal.close()


def test_what_could_not_be_forgotten_is_forgotten_with_the_next_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "calls.db", busy_timeout=0.05)
    elsewhere = CALL._replace(partition=b"q" * 16)
    journal.start(CALL).result()
    with sqlite3.connect(journal.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.committed({CALL.partition: 8})
        with pytest.raises(JournalError, match="locked"):
            journal.start(elsewhere).result()
        other.execute("COMMIT")
    journal.start(elsewhere).result()
    assert journal.offsets(CALL.partition) == set()
    journal.close()


def test_the_files_are_for_their_owner_alone(journal: Journal) -> None:
    journal.start(CALL).result()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in journal.path.parent.glob("calls.db*")}
    assert modes == {"calls.db": 0o600, "calls.db-wal": 0o600, "calls.db-shm": 0o600}


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    Journal(path).close()
    path.chmod(0o640)
    with pytest.raises(JournalError, match="chmod 600"):
        Journal(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be created"):
        Journal(tmp_path / "absent" / "calls.db")


@pytest.mark.parametrize(
    ("statement", "message"),
    [("PRAGMA user_version = 9", "newer version"), ("PRAGMA application_id = 9", "no journal of tool calls")],
)
def test_a_file_of_another_form_is_refused_and_stays_as_it_is(tmp_path: Path, statement: str, message: str) -> None:
    path = tmp_path / "calls.db"
    Journal(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
    with pytest.raises(JournalError, match=message):
        Journal(path)
    with closing(sqlite3.connect(path)) as other:
        name = statement.split()[1]
        assert other.execute(f"PRAGMA {name}").fetchone() == (9,)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    path.write_bytes(b"something else" * 100)
    path.chmod(0o600)
    with pytest.raises(JournalError, match="cannot be used"):
        Journal(path)


def test_a_closed_journal_and_one_from_before_a_fork_take_nothing(journal: Journal) -> None:
    child = os.fork()
    if child == 0:
        try:
            journal.start(CALL)
        except JournalError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.start(CALL)


def test_the_journal_is_not_named_as_the_rollback_journal_of_the_log() -> None:
    assert SUFFIX not in {"-journal", "-wal", "-shm"}


def test_members_that_open_it_at_the_same_moment_find_one_file(tmp_path: Path) -> None:
    count = 8
    barrier, opened = threading.Barrier(count), []

    def use(number: int) -> None:
        barrier.wait()
        journal = Journal(tmp_path / "calls.db")
        opened.append(journal)
        journal.start(CALL._replace(offset=number)).result()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened[0].offsets(CALL.partition) == set(range(count))
    for journal in opened:
        journal.close()

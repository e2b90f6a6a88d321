"""The journal of tool calls: which ones were begun for an event, and what they gave.

A file of its own beside the receipt log, so that the members of one host share it and a partition finds its calls
wherever on the host it moves. What one thread writes for many handlers becomes durable together. A crash
  before a start is durable: the tool was not called
  after it: the call is unknown, whether the tool did its work or not
  after its result is durable: the call is answered from here when its event is delivered again
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from chio_fast.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chio_fast._native import StrPath

SUFFIX = "-calls"
"""What the name of the receipt log is followed by; `-journal` would be taken for the log's own rollback journal."""
BUSY_TIMEOUT = 10.0
"""Seconds that one process waits for another one's write."""
APPLICATION = 0x43484331
VERSION = 1
"""What the file says of itself: whose it is (`CHC1`), and which form it has."""
PRIVATE = 0o600

SCHEMA = """
CREATE TABLE calls (
    partition BLOB NOT NULL,     -- partition key of the event
    offset    INTEGER NOT NULL,  -- its offset
    key       BLOB NOT NULL,     -- idempotency key of the call
    event     BLOB NOT NULL,     -- digest of the event's key and value
    position  INTEGER,           -- which call of the handler it was, from 1; none for one with a call_id
    call_id   TEXT,
    tool      TEXT NOT NULL,
    scope     TEXT NOT NULL,
    identity  TEXT NOT NULL,
    receipt   TEXT NOT NULL,     -- id of the receipt that allowed it
    started   INTEGER NOT NULL,  -- Unix ms
    state     TEXT NOT NULL,     -- started, completed, failed
    result    BLOB,              -- JSON
    digest    BLOB,              -- of the result
    error     TEXT,
    PRIMARY KEY (partition, offset, key)
) WITHOUT ROWID
"""
COLUMNS = "partition, offset, key, event, position, call_id, tool, scope, identity, receipt, started, state"
START = (
    f"INSERT INTO calls ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'started') ON CONFLICT DO UPDATE SET "  # noqa: S608
    "event = excluded.event, position = excluded.position, call_id = excluded.call_id, tool = excluded.tool, "
    "scope = excluded.scope, identity = excluded.identity, receipt = excluded.receipt, started = excluded.started, "
    "state = excluded.state, result = NULL, digest = NULL, error = NULL "
    "WHERE calls.receipt IS ? OR calls.event != excluded.event"
)
FINISH = (
    "UPDATE calls SET state = ?, result = ?, digest = ?, error = ? "
    "WHERE partition = ? AND offset = ? AND key = ? AND receipt = ?"
)
RECORDED = f"SELECT {COLUMNS}, result, digest, error FROM calls WHERE partition = ? AND offset = ?"  # noqa: S608
OFFSETS = "SELECT DISTINCT offset FROM calls WHERE partition = ?"
FORGET = "DELETE FROM calls WHERE partition = ? AND offset < ?"

State = Literal["started", "completed", "failed"]


class Call(NamedTuple):
    """One tool call of a handler.

    Attributes:
        partition: partition key of the event that is handled.
        offset: its offset.
        key: idempotency key of the call.
        event: digest of the event's key and value.
        position: which call of the handler it is, from 1; None for one with a `call_id`.
        call_id: the handler's own name for the call.
        tool: its tool.
        scope: the permission that it needed.
        identity: who made it.
        receipt: id of the receipt that allowed it.
    """

    partition: bytes
    offset: int
    key: bytes
    event: bytes
    position: int | None
    call_id: str | None
    tool: str
    scope: str
    identity: str
    receipt: str

    @property
    def place(self) -> tuple[int | None, str | None]:
        """Which call of the handler it is: its position or its `call_id`."""
        return self.position, self.call_id


class Recorded(NamedTuple):
    """What the journal holds of a call.

    Attributes:
        call: the call.
        started: when it was begun, Unix ms.
        state: `started` if nothing is known of its end, `completed`, or `failed` if the tool raised.
        result: JSON of what it gave, if that was kept.
        digest: of the result, if that was kept.
        error: name of the exception that the tool raised.
    """

    call: Call
    started: int
    state: State
    result: bytes | None
    digest: bytes | None
    error: str | None


class Entry(NamedTuple):
    """One change that waits to be written, and what tells whoever waits whether it changed anything."""

    statement: str
    values: tuple[Any, ...]
    written: Future[bool]


class Journal:
    """Keeps the calls of events that are not committed; any thread may use it, and any process of the host.

    Args:
        path: the file; it is created, for its owner alone.
        clock: gives the time, in seconds since 1970.
        busy_timeout: seconds to wait for a write of another process.

    Attributes:
        commits: how often something was made durable.
        entries: how many starts and results that were.

    Raises:
        JournalError: the file cannot be used, or others than its owner may read it.
    """

    def __init__(
        self, path: StrPath, *, clock: Callable[[], float] = time.time, busy_timeout: float = BUSY_TIMEOUT
    ) -> None:
        self.path = Path(path)
        self.commits = 0
        self.entries = 0
        self._clock = clock
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: list[Entry] = []  # this and the next two are guarded by `_changed`
        self._committed: dict[bytes, int] = {}
        self._closed = False
        self._read_lock = threading.Lock()
        _create(self.path)
        try:
            self._reader = _open(self.path, busy_timeout)
            self._writer = _open(self.path, busy_timeout)
        except sqlite3.Error as error:
            raise JournalError(f"`{self.path}` cannot be used as journal of tool calls: {error}") from error
        self._thread = threading.Thread(target=self._run, name="chio-journal", daemon=True)
        self._thread.start()

    @classmethod
    def beside(cls, receipt_log: StrPath) -> Self:
        """Open the journal that belongs to a receipt log."""
        return cls(f"{os.fspath(receipt_log)}{SUFFIX}")

    def recorded(self, partition: bytes, offset: int) -> list[Recorded]:
        """Give the calls that were begun for an event, by whichever process of the host; waits for no write.

        Raises:
            JournalError: the file cannot be read.
        """
        return [Recorded(Call(*row[:10]), *row[10:]) for row in self._read(RECORDED, (partition, offset))]

    def offsets(self, partition: bytes) -> set[int]:
        """Give the offsets of the partition's events for which calls were begun; waits for no write.

        Raises:
            JournalError: the file cannot be read.
        """
        return {offset for (offset,) in self._read(OFFSETS, (partition,))}

    def start(self, call: Call, replaces: Recorded | None = None) -> Future[bool]:
        """Record that a call begins; the tool may be called once the future gives True.

        It gives False if another attempt at the event has begun the same call meanwhile, and raises `JournalError` if
        nothing was recorded.

        Args:
            call: the call.
            replaces: what was recorded under its key, if the call is made again.
        """
        former = None if replaces is None else replaces.call.receipt
        return self._put(START, (*call, round(self._clock() * 1000), former))

    def complete(self, call: Call, *, result: bytes | None, digest: bytes | None) -> Future[bool]:
        """Record that a call gave a result; it may be given to the handler once the future is done.

        Args:
            call: as it was given to `start`.
            result: JSON of the result, or None if it is not kept.
            digest: of the result, or None if it is not kept.
        """
        return self._put(FINISH, ("completed", result, digest, None, *call[:3], call.receipt))

    def fail(self, call: Call, error: str) -> Future[bool]:
        """Record that the tool raised, so that the call may be made again."""
        return self._put(FINISH, ("failed", None, None, error, *call[:3], call.receipt))

    def committed(self, offsets: Mapping[bytes, int]) -> None:
        """Forget the calls of events that are committed, soon: partition key → the next offset.

        What a crash leaves behind goes with the next commit of its partition.
        """
        with self._changed:
            for partition, offset in offsets.items():
                self._committed[partition] = max(offset, self._committed.get(partition, 0))
            self._changed.notify()

    def close(self) -> None:
        """Write what waits and close the file; closing twice does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._process == os.getpid():
            self._thread.join()
            with self._read_lock:
                self._reader.close()

    def _require_open(self) -> None:
        if self._closed:
            raise JournalError(f"the journal `{self.path}` was closed")
        if self._process != os.getpid():
            raise JournalError(f"the journal `{self.path}` was opened before a fork; open another one in the child")

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        self._require_open()
        try:
            with self._read_lock:
                return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"`{self.path}` cannot be read: {error}") from error

    def _put(self, statement: str, values: tuple[Any, ...]) -> Future[bool]:
        written: Future[bool] = Future()
        with self._changed:
            self._require_open()
            self._waiting.append(Entry(statement, values, written))
            self._changed.notify()
        return written

    def _run(self) -> None:
        left: dict[bytes, int] = {}
        with closing(self._writer):
            while True:
                with self._changed:
                    while not (self._waiting or self._committed or self._closed):
                        self._changed.wait()
                    waiting, self._waiting = self._waiting, []
                    committed, self._committed = left | self._committed, {}
                    is_last = self._closed and not waiting
                entries = [entry for entry in waiting if entry.written.set_running_or_notify_cancel()]
                left = self._write(entries, committed) if entries or committed else {}
                if is_last:
                    return

    def _write(self, entries: list[Entry], committed: dict[bytes, int]) -> dict[bytes, int]:
        """Make all of it durable at once, or none of it; give what is to be forgotten with the next write then."""
        db = self._writer
        try:
            db.execute("BEGIN IMMEDIATE")
            changed = [db.execute(entry.statement, entry.values).rowcount > 0 for entry in entries]
            db.executemany(FORGET, committed.items())
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            for entry in entries:
                entry.written.set_exception(JournalError(f"`{self.path}` cannot be written: {error}"))
            return committed
        self.commits += bool(entries)
        self.entries += len(entries)
        for entry, has_changed in zip(entries, changed, strict=True):
            entry.written.set_result(has_changed)
        return {}


def _create(path: Path) -> None:
    """Create the file unless it is there, and refuse one that others may read.

    A file that is there is not opened here: closing it would drop the locks that SQLite holds on it for this process.
    """
    try:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))
        except FileExistsError:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & ~PRIVATE:
                raise JournalError(
                    f"`{path}` has mode {mode:04o}, and it holds results of tools; write `chmod 600 {path}`"
                ) from None
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise JournalError(f"the journal of tool calls cannot be created: {error}") from error


def _open(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open the file in WAL mode, every commit durable, and make sure of its form.

    Raises:
        sqlite3.Error: that is not possible.
        JournalError: it is another file, or one of a newer version of chio_fast.
    """
    db = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    try:
        _switch_to_wal(db, time.monotonic() + busy_timeout)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = FAST")  # results of tools do not stay behind in free pages
        _settle_form(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _settle_form(db: sqlite3.Connection, path: Path) -> None:
    """Give an empty file its form, and refuse one of another form."""
    db.execute("BEGIN IMMEDIATE")
    [application], [version] = (db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    if application == APPLICATION and version > VERSION:
        raise JournalError(f"`{path}` was written by a newer version of chio_fast; update, or write another path")
    if application != APPLICATION:
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise JournalError(f"`{path}` is no journal of tool calls; write another path")
        db.execute(SCHEMA)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _switch_to_wal(db: sqlite3.Connection, deadline: float) -> None:
    """Switch to WAL mode; SQLite does not wait for others who switch at the same moment, so this does."""
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return

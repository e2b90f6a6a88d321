"""The books of a reconciliation: what receipt logs and topics say, in tables of a temporary file.

Logs and topics may be larger than memory, and each has an order of its own; the tables sort and join them.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from chio_fast.kafka.attestation import Attestation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from chio_fast.log import ReceiptLog
    from chio_fast.records import Batch, Receipt

SCHEMA = """
CREATE TABLE transactions (id INTEGER PRIMARY KEY, attestation TEXT, state TEXT, log INTEGER, batch INTEGER,
    generation INTEGER, UNIQUE (attestation, state, log));
CREATE TABLE batches (log INTEGER, batch INTEGER, checkpoint TEXT, signature TEXT, state TEXT,
    transaction_id INTEGER, time INTEGER, transactional_id TEXT, PRIMARY KEY (log, batch)) WITHOUT ROWID;
CREATE TABLE ranges (transaction_id INTEGER, topic TEXT, partition INTEGER, first INTEGER, next INTEGER, state TEXT);
CREATE TABLE receipts (id TEXT PRIMARY KEY, kind TEXT, verdict TEXT, state TEXT, transaction_id INTEGER, topic TEXT,
    partition INTEGER, offset INTEGER, timestamp INTEGER, topic_id TEXT, digest TEXT) WITHOUT ROWID;
CREATE TABLE topic_ids (topic TEXT PRIMARY KEY, id TEXT) WITHOUT ROWID;
CREATE TABLE taken_back (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE events (topic TEXT, partition INTEGER, offset INTEGER, timestamp INTEGER,
    PRIMARY KEY (topic, partition, offset)) WITHOUT ROWID;
CREATE TABLE altered (topic TEXT, partition INTEGER, offset INTEGER);
CREATE TABLE letters (place TEXT, receipt TEXT, topic TEXT, partition INTEGER, offset INTEGER, fresh INTEGER);
CREATE TABLE failures (place TEXT, receipt TEXT, fresh INTEGER);
CREATE TABLE outputs (place TEXT, topic TEXT, receipt TEXT, digest INTEGER, fresh INTEGER);
CREATE TABLE shown (checkpoint TEXT, signature TEXT, transactional_id TEXT, place TEXT, fresh INTEGER);
"""
INDICES = """
CREATE INDEX IF NOT EXISTS receipts_place ON receipts (kind, topic, partition, offset);
CREATE INDEX IF NOT EXISTS receipts_transaction ON receipts (transaction_id);
CREATE INDEX IF NOT EXISTS letters_receipt ON letters (receipt);
CREATE INDEX IF NOT EXISTS letters_place ON letters (topic, partition, offset);
CREATE INDEX IF NOT EXISTS outputs_receipt ON outputs (receipt);
CREATE INDEX IF NOT EXISTS failures_receipt ON failures (receipt);
CREATE INDEX IF NOT EXISTS shown_checkpoint ON shown (checkpoint);
CREATE INDEX IF NOT EXISTS batches_checkpoint ON batches (checkpoint);
CREATE INDEX IF NOT EXISTS ranges_place ON ranges (topic, partition, first);
"""
CHUNK = 2000
_LENGTHS_AT = 24
"""Where a frame tells the lengths of checkpoint and attestation, which are its last parts; see receipt-format.md."""
_SIGNATURE = slice(32, 96)
"""Where its signature is."""


class _Mode(msgspec.Struct):
    mode: str
    group: str | None = None
    digest_key: str | None = None


class Loaded(NamedTuple):
    """How far a log was read, and how many of its records have no body any more."""

    after: str | None
    withheld: int


class Books:
    """The tables, which are gone when it is closed.

    Args:
        group: only consume receipts and transactions of this consumer group are kept.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.has_digest_key = False
        self._directory = tempfile.TemporaryDirectory(prefix="chio-reconcile-")
        self._tables = sqlite3.connect(Path(self._directory.name) / "books.db", isolation_level=None)
        self._tables.create_function("place", 3, lambda *place: "/".join(map(str, place)), deterministic=True)
        # The file lives as long as the process: nothing in it has to survive a crash.
        self.run("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tables.close()
        self._directory.cleanup()

    def run(self, script: str) -> None:
        """Run statements, and begin the transaction in which what is put next is."""
        self._tables.executescript(script)
        self._tables.execute("BEGIN")

    def ask(self, query: str, **arguments: Any) -> Iterator[tuple[Any, ...]]:
        """Give the rows that a query finds."""
        return self._tables.execute(query, arguments)

    def one(self, query: str, **arguments: Any) -> Any:
        """Give the only value that a query finds."""
        return self._tables.execute(query, arguments).fetchone()[0]

    def put(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows to a table."""
        width = len(self._tables.execute(f"SELECT * FROM {table} LIMIT 0").description)  # noqa: S608 - a table of ours
        self._tables.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)  # noqa: S608

    def index(self) -> None:
        """Make what queries need, once much was put."""
        self.run(INDICES)

    def forget_former_topics(self, ids: Mapping[str, str]) -> dict[str, int]:
        """Drop what concerns topics that were created anew since.

        Args:
            ids: of the topics as they are now.

        Returns:
            How many consume receipts of which topic were dropped.
        """
        self.put("topic_ids", ids.items())
        former = "kind = 'consume' AND topic_id <> (SELECT i.id FROM topic_ids i WHERE i.topic = receipts.topic)"
        found = dict(self._tables.execute(f"SELECT topic, COUNT(*) FROM receipts WHERE {former} GROUP BY topic"))  # noqa: S608 - texts of ours
        if found:
            of_them = f"SELECT transaction_id, topic FROM receipts WHERE {former}"  # noqa: S608
            self._tables.execute(f"DELETE FROM ranges WHERE (transaction_id, topic) IN ({of_them})")  # noqa: S608
            self._tables.execute(f"DELETE FROM receipts WHERE {former}")  # noqa: S608
        return found

    def load(self, number: int, log: ReceiptLog, after: str | None = None) -> Loaded:
        """Take the receipts of a log from a position to its present end.

        Args:
            number: of the log, among those that are reconciled.
            log: the log.
            after: position of the last record that was taken before.
        """
        transactions: dict[int, int | None] = {}
        left: dict[int, int] = {}
        while True:
            page = log.page(after=after, limit=CHUNK)
            for receipt in page.receipts:
                batch = receipt.batch
                if batch.batch not in transactions:
                    transactions[batch.batch] = self._batch(number, log, batch)
                left[batch.batch] = left.get(batch.batch, batch.count) - 1
            self._receipts(page.receipts, transactions)
            after = page.receipts[-1].position if page.receipts else after
            if page.next is None:
                return Loaded(after, sum(left.values()))
            done = page.receipts[-1].batch.batch
            withheld = sum(count for batch, count in left.items() if batch < done)
            left = {-1: withheld} | {batch: count for batch, count in left.items() if batch == done}
            transactions = {batch: known for batch, known in transactions.items() if batch == done}

    def refresh(self, number: int, log: ReceiptLog) -> None:
        """Look again at what was prepared: whose transactions have an outcome now."""
        waiting = self._tables.execute(
            "SELECT batch, transaction_id FROM batches WHERE log = ? AND state = 'prepared'", (number,)
        ).fetchall()
        for position, transaction in waiting:
            [batch] = log.batches(position, position)
            if batch.state != "prepared":
                change = (batch.state, transaction)
                self._tables.execute("UPDATE transactions SET state = ? WHERE id = ?", change)
                for table in ("batches", "ranges", "receipts"):
                    self._tables.execute(f"UPDATE {table} SET state = ? WHERE transaction_id = ?", change)  # noqa: S608

    def _batch(self, number: int, log: ReceiptLog, batch: Batch) -> int | None:
        """Take a transaction's batch; gives the transaction, -1 for one of another group, None for any other batch."""
        frame = log.frame(batch.batch)
        lengths = memoryview(frame)[_LENGTHS_AT : _LENGTHS_AT + 8].cast("I")
        checkpoint_at = len(frame) - lengths[0] - lengths[1]
        mode = msgspec.json.decode(frame[checkpoint_at : checkpoint_at + lengths[0]], type=_Mode)
        self.has_digest_key |= mode.digest_key is not None
        if mode.mode != "transaction":
            return None
        text = frame[len(frame) - lengths[1] :]
        if mode.group != self.group or not text:
            return -1
        told = Attestation.from_json(text)
        # The batches of one transaction, one for each policy version, attest the same.
        known = self._tables.execute(
            "SELECT id FROM transactions WHERE attestation = ? AND state = ? AND log = ?", (text, batch.state, number)
        ).fetchone()
        transaction = known[0] if known else self._transaction(number, batch, text, told)
        names = (batch.checkpoint, frame[_SIGNATURE].hex())
        row = (number, batch.batch, *names, batch.state, transaction, batch.time, told.transactional_id)
        self.put("batches", [row])
        return transaction

    def _transaction(self, number: int, batch: Batch, text: bytes, told: Attestation) -> int:
        cursor = self._tables.execute(
            "INSERT INTO transactions (attestation, state, log, batch, generation) VALUES (?, ?, ?, ?, ?)",
            (text, batch.state, number, batch.batch, told.generation),
        )
        transaction = cursor.lastrowid or 0
        self.put(
            "ranges",
            (
                (transaction, topic, int(partition), first, end, batch.state)
                for topic, partitions in told.ranges.items()
                for partition, (first, end) in partitions.items()
            ),
        )
        return transaction

    def _receipts(self, receipts: Iterable[Receipt], transactions: dict[int, int | None]) -> None:
        rows, taken_back = [], []
        for receipt in receipts:
            target, transaction = receipt.target, transactions[receipt.batch.batch]
            if receipt.rollback is not None:
                taken_back.append((receipt.rollback,))
            elif receipt.kind == "produce" or (receipt.kind == "consume" and target.group == self.group):
                place = (target.topic, target.partition, _number(target.offset), _number(target.timestamp))
                what = (receipt.id, receipt.kind, receipt.verdict, receipt.batch.state, transaction)
                rows.append((*what, *place, target.topic_id, receipt.digest))
        self.put("receipts", rows)
        self.put("taken_back", taken_back)


def _number(value: int | str | None) -> int | None:
    return None if value is None else int(value)

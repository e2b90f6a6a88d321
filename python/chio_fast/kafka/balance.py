"""Striking the balance of the books: every discrepancy, and the figures."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chio_fast.errors import ReceiptNotFoundError
from chio_fast.kafka.discrepancies import DISCREPANCIES, Discrepancy
from chio_fast.kafka.reconciliation import Finding, PartitionBooks, PreparedBatch, Reconciliation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.books import Books
    from chio_fast.kafka.scan import Span
    from chio_fast.log import ReceiptLog

Roles = dict[str, set[str]]
"""Topics by role: `source` is consumed; written are `dlq` for denied events, `error` for events whose handler failed,
`output` for what is produced, and `checkpoint` for the records of transactions."""

MAX_FINDINGS = 1000
GRACE = 60.0
"""Seconds after which a batch should have an outcome: the longest that a transaction takes, and a restart."""

VIEWS = """
CREATE TABLE sources (topic TEXT, partition INTEGER, low INTEGER, committed INTEGER, begins INTEGER, uncovered INTEGER);
CREATE TABLE roles (topic TEXT, role TEXT);
CREATE VIEW counted AS SELECT * FROM receipts WHERE state = 'committed'
    OR (state = 'recorded' AND id NOT IN (SELECT id FROM taken_back));
CREATE VIEW denied AS SELECT * FROM counted WHERE kind = 'consume' AND verdict <> 'allow';
"""


class Balance:
    """The balance of one group's books.

    Args:
        books: with everything in it.
        logs: the receipt logs.
        roles: topics by role.
        spans: what each partition of them holds.
        committed: the group's committed offsets.
        hidden: topics whose end cannot be read, because a transaction is open.
        compacted: topics that do not keep every record.
        withheld: how many records of the logs have no body.
        former: how many receipts of which topic are of one that was deleted since and created anew.
    """

    def __init__(
        self,
        books: Books,
        logs: Sequence[ReceiptLog],
        roles: Roles,
        spans: Mapping[Key, Span],
        committed: Mapping[Key, int],
        *,
        hidden: Collection[str],
        compacted: Collection[str],
        withheld: int,
        former: Mapping[str, int],
    ) -> None:
        self._books = books
        self._logs = logs
        self._roles = roles
        self._spans = spans
        self._committed = committed
        self._withheld = withheld
        self._former = former
        self._compacted = frozenset(compacted)
        lossy = {key[0] for key, span in spans.items() if span.first > 0} | set(hidden)
        self._lossy = {role for role, topics in roles.items() if lossy & topics}
        self._result = Reconciliation(group=books.group, withheld=withheld)

    def strike(self) -> Reconciliation:
        """Look for every discrepancy, and give what is found and the figures."""
        self._prepare()
        for kind in DISCREPANCIES:
            if kind.role and not self._roles[kind.role]:
                continue
            for row in self._books.ask(kind.query):
                self._note(kind, *row)
        self._check_letters()
        for key in sorted(self._committed):
            self._check_tiles(key)
            self._check_retention(key)
        self._list_prepared()
        self._count()
        self._check_what_cannot_be_told()
        return self._result

    def _prepare(self) -> None:
        self._books.run(VIEWS)
        self._books.put("roles", ((topic, role) for role, topics in self._roles.items() for topic in topics))
        self._books.put("sources", (self._source(key) for key in self._committed))

    def _source(self, key: Key) -> tuple[str, int, int, int, int, int]:
        place = {"topic": key[0], "partition": key[1]}
        first = self._books.one(
            "SELECT MIN(first) FROM ranges WHERE topic = :topic AND partition = :partition AND state <> 'rolled_back'",
            **place,
        )
        lowest = self._books.one(
            "SELECT MIN(offset) FROM counted WHERE kind = 'consume' AND topic = :topic AND partition = :partition",
            **place,
        )
        begins = min((offset for offset in (first, lowest) if offset is not None), default=-1)
        committed = self._committed[key]
        return *key, self._spans[key].first, committed, begins, committed if first is None else min(first, committed)

    def _note(self, kind: Discrepancy, place: str | None, receipt: str | None, number: Any = None) -> None:
        finding = Finding(kind.what, kind.detail.format(number=number), place, receipt)
        is_lost = kind.role in self._lossy and not (isinstance(number, int) and number > 1)
        is_compacted = kind.of_whole_topics and place is not None and place.rsplit("/", 2)[0] in self._compacted
        if is_lost or is_compacted or (kind.of_bodies and self._withheld):
            self._unverifiable(finding)
        else:
            self._wrong(finding)

    def _wrong(self, finding: Finding) -> None:
        self._result.discrepancies_found += 1
        if len(self._result.discrepancies) < MAX_FINDINGS:
            self._result.discrepancies.append(finding)

    def _unverifiable(self, finding: Finding) -> None:
        self._result.unverifiable_found += 1
        if len(self._result.unverifiable) < MAX_FINDINGS:
            self._result.unverifiable.append(finding)

    def _check_letters(self) -> None:
        """Every denial of our topics in the DLQ has a receipt, if only one of another group in the same logs."""
        for place, receipt in self._books.ask(
            """SELECT l.place, l.receipt FROM letters l JOIN roles ON roles.topic = l.topic AND role = 'source'
            WHERE NOT l.fresh AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.id = l.receipt)"""
        ):
            if not self._is_known(receipt):
                detail = "a DLQ record whose receipt no log holds"
                self._note(Discrepancy("letter_without_receipt", "", detail, of_bodies=True), place, receipt)

    def _is_known(self, receipt: str | None) -> bool:
        for log in self._logs if receipt else ():
            with suppress(ReceiptNotFoundError, ValueError):
                log.get(receipt or "")
                return True
        return False

    def _check_tiles(self, key: Key) -> None:
        """The ranges of a replay generation follow each other; a range that goes back begins another generation.

        Of a batch without an outcome it is not known whether its range counts, so the next one may begin before or
        after it. Offsets cannot be moved back while members are in the group, so a range that goes back within one
        generation of the group is an overlap.
        """
        reached: tuple[int, ...] = ()
        generations, former, ranges = 0, None, 0
        for first, end, state, generation in self._ranges(key):
            ranges += state == "committed"
            if not reached:
                generations += 1
            elif first > max(reached):
                self._check_gap(key, max(reached), first)
            elif first not in reached and first < min(reached):
                if generation == former:
                    detail = f"a transaction covers offsets {first} to {end - 1}, those from {min(reached)} on were due"
                    self._wrong(Finding("overlap", detail, f"{key[0]}/{key[1]}/{first}"))
                generations += 1
            elif first not in reached:
                self._check_gap(key, min(reached), first)
            reached = (end,) if state == "committed" else (first, end)
            former = generation
        if reached and self._committed[key] > max(reached):
            self._check_gap(key, max(reached), self._committed[key])
        self._figures(key, ranges, max(1, generations))

    def _ranges(self, key: Key) -> Iterable[tuple[int, int, str, int]]:
        # A group's generation rises whenever a partition moves, so it orders the ranges of several logs.
        order = "t.generation, t.batch" if len(self._logs) > 1 else "t.batch"
        return self._books.ask(
            f"""SELECT r.first, r.next, r.state, t.generation FROM ranges r
            JOIN transactions t ON t.id = r.transaction_id
            WHERE r.topic = :topic AND r.partition = :partition AND r.state <> 'rolled_back' ORDER BY {order}""",  # noqa: S608 - one of two texts of ours
            topic=key[0],
            partition=key[1],
        )

    def _check_gap(self, key: Key, first: int, end: int) -> None:
        """Between two ranges lies nothing, or what an at-least-once consumer of the group receipted."""
        skipped = self._books.one(
            """SELECT COUNT(*) FROM events e WHERE topic = :topic AND partition = :partition AND offset >= :first
            AND offset < :end AND NOT EXISTS (SELECT 1 FROM counted c WHERE c.kind = 'consume' AND c.state = 'recorded'
            AND c.topic = e.topic AND c.partition = e.partition AND c.offset = e.offset)""",
            topic=key[0],
            partition=key[1],
            first=first,
            end=end,
        )
        if skipped:
            detail = (
                f"{skipped} events from here to offset {end - 1} are committed past, and no transaction covers them"
            )
            self._wrong(Finding("gap", detail, f"{key[0]}/{key[1]}/{first}"))

    def _check_retention(self, key: Key) -> None:
        low, begins = self._spans[key].first, self._result.partitions[-1].begins
        if 0 <= begins < low:
            detail = f"events before offset {low} are deleted, so nobody can say whether each had its receipt"
            self._unverifiable(Finding("deleted_events", detail, f"{key[0]}/{key[1]}/{begins}"))

    def _figures(self, key: Key, ranges: int, generations: int) -> None:
        place = {"topic": key[0], "partition": key[1]}
        here = "topic = :topic AND partition = :partition"
        low, committed, begins = next(
            self._books.ask(f"SELECT low, committed, begins FROM sources WHERE {here}", **place)  # noqa: S608 - a text of ours
        )
        events = self._books.one(
            f"SELECT COUNT(*) FROM events WHERE {here} AND offset >= :begins AND offset < :committed",  # noqa: S608
            **place,
            begins=begins,
            committed=committed,
        )
        receipts = self._books.one(f"SELECT COUNT(*) FROM counted WHERE kind = 'consume' AND {here}", **place)  # noqa: S608
        denied = self._books.one(f"SELECT COUNT(*) FROM denied WHERE {here}", **place)  # noqa: S608
        self._result.partitions.append(
            PartitionBooks(*key, low, committed, begins, events, receipts, denied, ranges, generations)
        )

    def _list_prepared(self) -> None:
        now = time.time()
        for checkpoint, transactional_id, sealed, shown in self._books.ask(
            """SELECT checkpoint, transactional_id, time, EXISTS (
            SELECT 1 FROM shown s WHERE s.checkpoint = b.checkpoint AND s.signature = b.signature)
            FROM batches b WHERE state = 'prepared'"""
        ):
            self._result.prepared.append(PreparedBatch(checkpoint, transactional_id, sealed, bool(shown)))
            if now - sealed / 1000 > GRACE:
                detail = f"batch {checkpoint} of `{transactional_id}` has no outcome; the next start of it resolves it"
                self._unverifiable(Finding("prepared", detail))

    def _check_what_cannot_be_told(self) -> None:
        if not self._roles["dlq"] and (denials := self._books.one("SELECT COUNT(*) FROM denied")):
            self._unverifiable(Finding("denials", f"{denials} denials, and no DLQ topic is given to look for them"))
        if self._result.committed and not self._roles["checkpoint"]:
            self._unverifiable(Finding("no_topic", "the topic with the checkpoint records is not there any more"))
        if untold := self._books.one("SELECT COUNT(*) FROM outputs WHERE digest IS NULL AND receipt IS NOT NULL"):
            detail = f"{untold} outputs whose digest is keyed, withheld, or covers unknown headers"
            self._unverifiable(Finding("digests", detail))
        strangers = {topic for (topic,) in self._books.ask("SELECT DISTINCT topic FROM counted WHERE kind = 'consume'")}
        for topic in sorted(strangers - {key[0] for key in self._committed}):
            self._unverifiable(Finding("no_topic", f"receipts of topic `{topic}`, which is not there any more"))
        for topic, receipts in sorted(self._former.items()):
            detail = f"{receipts} receipts of a former topic `{topic}`, which was deleted and created anew"
            self._unverifiable(Finding("no_topic", detail))

    def _count(self) -> None:
        books, result = self._books, self._result
        result.committed = books.one("SELECT COUNT(*) FROM transactions WHERE state = 'committed'")
        result.rolled_back = books.one("SELECT COUNT(*) FROM transactions WHERE state = 'rolled_back'")
        result.dead_letters = books.one("SELECT COUNT(*) FROM letters")
        result.failed_events = books.one("SELECT COUNT(*) FROM failures")
        result.outputs = books.one("SELECT COUNT(*) FROM outputs")
        result.produce_receipts = books.one("SELECT COUNT(*) FROM counted WHERE kind = 'produce' AND verdict = 'allow'")

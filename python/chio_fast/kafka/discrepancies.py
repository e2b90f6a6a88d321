"""What may not balance, and the queries that find it; `place(topic, partition, offset)` names a record."""

from __future__ import annotations

from typing import NamedTuple


class Discrepancy(NamedTuple):
    """One kind of thing that does not balance; its query has to find nothing.

    Attributes:
        what: what a row is, see `docs/operations.md`.
        query: gives (place, receipt) or (place, receipt, number).
        detail: what is wrong, with `{number}`.
        role: rows are unverifiable if topics of this role lost records, or some cannot be read yet.
        of_bodies: rows are unverifiable if bodies are withheld.
        of_whole_topics: rows are unverifiable if the topic of the place is compacted.
    """

    what: str
    query: str
    detail: str
    role: str = ""
    of_bodies: bool = False
    of_whole_topics: bool = False


# Where `fresh` is asked for, the other side may have come after it was read.
DISCREPANCIES = (
    Discrepancy(
        "missing_receipt",
        """SELECT place(e.topic, e.partition, e.offset), NULL FROM ranges r
        JOIN events e ON e.topic = r.topic AND e.partition = r.partition AND e.offset >= r.first AND e.offset < r.next
        LEFT JOIN receipts c ON c.kind = 'consume' AND c.topic = e.topic AND c.partition = e.partition
            AND c.offset = e.offset AND c.transaction_id = r.transaction_id
        WHERE r.state = 'committed' GROUP BY r.rowid, e.topic, e.partition, e.offset HAVING COUNT(c.id) = 0""",
        "a committed transaction covers this event, and holds no consume receipt of it",
        of_bodies=True,
    ),
    Discrepancy(
        "double_receipt",
        """SELECT place(c.topic, c.partition, c.offset), MAX(c.id), COUNT(*) FROM receipts c WHERE c.kind = 'consume'
        AND c.state = 'committed' AND c.transaction_id > 0
        GROUP BY c.transaction_id, c.topic, c.partition, c.offset HAVING COUNT(*) > 1""",
        "{number} consume receipts of this event in one committed transaction, expected one",
    ),
    Discrepancy(
        "outside_range",
        """SELECT place(c.topic, c.partition, c.offset), c.id FROM receipts c
        WHERE c.kind = 'consume' AND c.state = 'committed' AND c.transaction_id > 0
        AND NOT EXISTS (SELECT 1 FROM ranges r WHERE r.transaction_id = c.transaction_id
        AND r.topic = c.topic AND r.partition = c.partition AND c.offset >= r.first AND c.offset < r.next)""",
        "a committed transaction holds this consume receipt, and does not cover the event",
    ),
    Discrepancy(
        "missing_receipt",
        """SELECT place(e.topic, e.partition, e.offset), NULL FROM sources s
        JOIN events e ON e.topic = s.topic AND e.partition = s.partition
            AND e.offset >= s.begins AND e.offset < s.uncovered
        WHERE s.begins >= 0 AND NOT EXISTS (SELECT 1 FROM counted c WHERE c.kind = 'consume' AND c.topic = e.topic
            AND c.partition = e.partition AND c.offset = e.offset)""",
        "the group committed past this event, and no log holds a consume receipt of it",
        of_bodies=True,
    ),
    Discrepancy(
        "no_event",
        """SELECT place(c.topic, c.partition, c.offset), c.id FROM counted c JOIN sources s USING (topic, partition)
        WHERE c.kind = 'consume' AND c.offset >= s.low AND NOT EXISTS (SELECT 1 FROM events e
        WHERE e.topic = c.topic AND e.partition = c.partition AND e.offset = c.offset)""",
        "this consume receipt is of an event that the topic does not show",
        of_whole_topics=True,
    ),
    Discrepancy(
        "changed_event",
        """SELECT place(c.topic, c.partition, c.offset), c.id, e.timestamp
        FROM counted c JOIN events e USING (topic, partition, offset)
        WHERE c.kind = 'consume' AND c.timestamp <> e.timestamp""",
        "the event has timestamp {number}, its consume receipt another one: the topic was created anew, or rewritten",
    ),
    Discrepancy(
        "changed_event",
        "SELECT place(a.topic, a.partition, a.offset), NULL FROM altered a",
        "the event's digest is not the one in its consume receipt",
    ),
    Discrepancy(
        "dead_letters",
        """SELECT place(c.topic, c.partition, c.offset), c.id, COUNT(l.place)
        FROM denied c LEFT JOIN letters l ON l.receipt = c.id
        WHERE c.state = 'committed' AND c.transaction_id > 0 GROUP BY c.id HAVING COUNT(l.place) <> 1""",
        "{number} DLQ records of this denial, expected one",
        role="dlq",
    ),
    Discrepancy(
        "dead_letters",
        """SELECT place(c.topic, c.partition, c.offset), MIN(c.id) FROM denied c JOIN sources s USING (topic, partition)
        WHERE c.state = 'recorded' AND c.offset < s.committed
        AND NOT EXISTS (SELECT 1 FROM counted a WHERE a.kind = 'consume' AND a.verdict = 'allow' AND a.topic = c.topic
            AND a.partition = c.partition AND a.offset = c.offset)
        AND NOT EXISTS (SELECT 1 FROM letters l WHERE l.topic = c.topic AND l.partition = c.partition
            AND l.offset = c.offset)
        GROUP BY c.topic, c.partition, c.offset""",
        "no DLQ record of this denial, although the group committed past the event",
        role="dlq",
    ),
    Discrepancy(
        "letter_of_allowed",
        "SELECT l.place, l.receipt FROM letters l JOIN receipts r ON r.id = l.receipt WHERE r.verdict = 'allow'",
        "a DLQ record whose receipt allows",
    ),
    Discrepancy(
        "rolled_back_is_visible",
        """SELECT v.place, v.receipt FROM (SELECT place, receipt FROM letters UNION ALL SELECT place, receipt
        FROM failures UNION ALL SELECT place, receipt FROM outputs) v JOIN receipts r ON r.id = v.receipt
        WHERE r.state IN ('rolled_back', 'attempt')""",
        "this record can be read, and its receipt belongs to what was rolled back",
    ),
    Discrepancy(
        "failure_without_receipt",
        """SELECT f.place, f.receipt FROM failures f LEFT JOIN receipts r ON r.id = f.receipt AND r.kind = 'consume'
        WHERE r.id IS NULL AND NOT f.fresh""",
        "an error record without a consume receipt of this group",
        of_bodies=True,
    ),
    Discrepancy(
        "output_without_receipt",
        """SELECT o.place, o.receipt FROM outputs o LEFT JOIN receipts r ON r.id = o.receipt
        AND r.kind = 'produce' AND r.topic = o.topic AND r.verdict = 'allow' WHERE r.id IS NULL AND NOT o.fresh""",
        "a record without a produce receipt that allows it into this topic",
        of_bodies=True,
    ),
    Discrepancy(
        "changed_output",
        "SELECT o.place, o.receipt FROM outputs o WHERE o.digest = 0",
        "the record's digest is not the one in its produce receipt",
    ),
    Discrepancy(
        "outputs",
        """SELECT NULL, p.id, COUNT(o.place) FROM counted p JOIN roles ON roles.topic = p.topic AND role = 'output'
        LEFT JOIN outputs o ON o.receipt = p.id WHERE p.kind = 'produce' AND p.verdict = 'allow'
        GROUP BY p.id HAVING COUNT(o.place) > 1 OR (COUNT(o.place) = 0 AND p.state = 'committed')""",
        "{number} records of this produce receipt, expected one",
        role="output",
    ),
    Discrepancy(
        "commit_not_shown",
        """SELECT NULL, NULL, b.batch FROM batches b WHERE b.state = 'committed'
        AND NOT EXISTS (SELECT 1 FROM shown s WHERE s.checkpoint = b.checkpoint AND s.signature = b.signature)""",
        "batch {number} is recorded as committed, and the checkpoint topic does not show it",
        role="checkpoint",
    ),
    Discrepancy(
        "contradicted_outcome",
        """SELECT s.place, NULL, b.batch FROM batches b JOIN shown s USING (checkpoint, signature)
        WHERE b.state = 'rolled_back'""",
        "batch {number} is recorded as rolled back, and the checkpoint topic shows that it was committed",
    ),
    Discrepancy(
        "log_lacks_batch",
        """SELECT s.place, NULL FROM shown s WHERE NOT s.fresh
        AND s.transactional_id IN (SELECT transactional_id FROM batches)
        AND s.checkpoint NOT IN (SELECT checkpoint FROM batches)""",
        "the checkpoint topic shows a committed batch that no log holds: a log was cut off, or is not given",
    ),
    Discrepancy(
        "forged_record",
        """SELECT s.place, NULL FROM shown s
        WHERE s.checkpoint IS NULL AND s.transactional_id IN (SELECT transactional_id FROM batches)
        OR EXISTS (SELECT 1 FROM batches b WHERE b.checkpoint = s.checkpoint AND b.signature <> s.signature)""",
        "a record of the checkpoint topic is none of a processor's: hash or signature is not that of the checkpoint",
    ),
)

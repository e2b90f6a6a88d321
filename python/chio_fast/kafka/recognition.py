"""Recognising events that were decided before: replays, and duplicates by an id of the producer's.

A **replay** is an event that stands in the log already: same place, same timestamp, same content, and its receipt
counts. That happens when an operator moves the group's offsets back, and after a crash between receipt and commit. Only
events at or below the highest offset that the log holds when the partition is assigned are looked up.

A **duplicate** is another event that carries an id which was seen not long ago: a producer has sent the same thing
twice. Ids are remembered by this process, so a restart forgets them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, get_args

from chio_fast.errors import ChioConfigError
from chio_fast.kafka import digests
from chio_fast.repeats import MAX_REMEMBERED, OnReplay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chio_fast._native import Event, Partition
    from chio_fast.kafka.assignment import Key
    from chio_fast.log import ReceiptLog
    from chio_fast.records import Receipt
    from chio_fast.repeats import Duplicates

DUPLICATE_RULE = "duplicate"
"""The rule that receipts of denied duplicates name."""
STRETCH = 1000
"""Offsets whose receipts are read together."""
COUNTING = frozenset({"recorded", "committed"})
"""States of batches whose receipts count; what was rolled back or only attempted is no decision that took effect."""


class _Past:
    """What the log holds of a partition when it is assigned, read a stretch of offsets at a time.

    Attributes:
        highest: the highest offset that a consume receipt names.
    """

    def __init__(self, receipt_log: ReceiptLog, partition: Partition, highest: int) -> None:
        self.highest = highest
        self._receipt_log = receipt_log
        self._partition = partition
        self._stretch = range(0)
        self._receipts: dict[int, list[Receipt]] = {}
        self._taken_back: frozenset[str] | None = None

    def receipts(self, offset: int) -> list[Receipt]:
        """Give the consume receipts of an offset that count, the newest first.

        Raises:
            LogError: the log cannot be read.
        """
        if offset not in self._stretch:
            self._read(offset)
        return self._receipts.get(offset, [])

    def _read(self, offset: int) -> None:
        self._stretch = range(offset, min(offset + STRETCH, self.highest + 1))
        self._receipts = {}
        for receipt in self._receipt_log.consumed(self._partition, offset, self._stretch.stop - 1):
            if receipt.batch.state in COUNTING and receipt.id not in self._rollbacks():
                self._receipts.setdefault(int(receipt.target.offset or 0), []).insert(0, receipt)

    def _rollbacks(self) -> frozenset[str]:
        """Give the receipts of the partition that were taken back; there are few at any time."""
        if self._taken_back is None:
            topic, number = self._partition.topic, self._partition.number
            found = self._receipt_log.query(kind="rollback", topic=topic, partition=number)
            self._taken_back = frozenset(receipt.rollback for receipt in found if receipt.rollback)
        return self._taken_back


class _Original(NamedTuple):
    place: tuple[str, int, int]
    receipt: str
    since: float


class Recognition:
    """Tells events what was decided before, ahead of their receipts. Used by the thread that hands out.

    Args:
        receipt_log: where earlier receipts are.
        on_replay: `re-evaluate`: a replay is decided anew; `honor`: the earlier decision stands, whatever policy and
            guards say now. The receipt names the earlier one as its parent either way.
        duplicates: how duplicates are recognised; None if they are not.
        is_keyed: whether the log's digests have a key, so that they cannot be computed here: then place and timestamp
            say which event is the same.

    Attributes:
        is_active: whether events have to be shown to `recognise` now. A plain attribute, because every hand-out reads
            it.
        replays: replays recognised so far.
        duplicates: duplicates recognised so far.

    Raises:
        ChioConfigError: there is no such `on_replay`.
    """

    def __init__(
        self, receipt_log: ReceiptLog, on_replay: OnReplay, duplicates: Duplicates | None, *, is_keyed: bool
    ) -> None:
        if on_replay not in get_args(OnReplay):
            raise ChioConfigError(f"`on_replay` is `{on_replay}`; write `re-evaluate` or `honor`")
        self.replays = 0
        self.duplicates = 0
        self._receipt_log = receipt_log
        self._honor = on_replay == "honor"
        self._how = duplicates
        self._is_keyed = is_keyed
        self._past: dict[Key, _Past] = {}
        self._seen: OrderedDict[tuple[str, bytes], _Original] = OrderedDict()
        self.is_active = duplicates is not None

    def begin(self, partition: Partition) -> None:
        """Learn, when a partition is assigned, up to which offset its events may have been decided before.

        Raises:
            LogError: the log cannot be read.
        """
        key, highest = (partition.topic, partition.number), self._receipt_log.highest_offset(partition)
        if highest is None:
            self._past.pop(key, None)
        else:
            self._past[key] = _Past(self._receipt_log, partition, highest)
        self._judge()

    def recognise(self, events: Sequence[Event]) -> int:
        """Tell events what they repeat, and give how many of them may get receipts now.

        A duplicate whose original is among those before it has to wait until that one has its receipt.

        Raises:
            LogError: the log cannot be read.
        """
        fresh: set[tuple[str, bytes]] = set()
        for index, event in enumerate(events):
            if event.ordinal is not None:
                continue
            stands = self._recognise_replay(event)
            name = self._id_of(event)
            if name is None or stands:
                continue
            if name in fresh:
                return index
            if not self._recognise_duplicate(event, name):
                fresh.add(name)
        return len(events)

    def note(self, events: Sequence[Event]) -> None:
        """Remember the ids of events that have their receipts now."""
        if self._how is None:
            return
        now = time.monotonic()
        for event in events:
            name, receipt = self._id_of(event), event.chio_receipt_id
            if name is None or receipt is None:
                continue
            place, known = (event.topic(), event.partition(), event.offset()), self._original(name, now)
            if known is None or known.place == place:
                self._seen[name] = _Original(place, receipt, now)
        limit = self._how.window if isinstance(self._how.window, int) else MAX_REMEMBERED
        while len(self._seen) > limit:
            self._seen.popitem(last=False)

    def _recognise_replay(self, event: Event) -> bool:
        """Look an event up if it may have been decided before; True if the earlier decision stands."""
        key = (event.topic(), event.partition())
        past = self._past.get(key)
        if past is None:
            return False
        if event.offset() > past.highest:
            del self._past[key]
            self._judge()
            return False
        earlier = next((receipt for receipt in past.receipts(event.offset()) if self._is_of(receipt, event)), None)
        if earlier is None:
            return False
        self.replays += 1
        if not self._honor:
            event.recall(earlier.id)
            return False
        reason = f"decided before, see {earlier.id}" + (f": {earlier.reason}" if earlier.reason else "")
        event.recall(earlier.id, verdict=earlier.verdict, rule=earlier.rule, reason=reason)
        return True

    def _is_of(self, receipt: Receipt, event: Event) -> bool:
        """Say whether a receipt of the same place is of the same event: same timestamp and content."""
        if int(receipt.target.timestamp or 0) != event.timestamp()[1]:
            return False
        if receipt.digest is None or self._is_keyed:
            return True
        return digests.is_content_of(receipt.digest, event) is not False

    def _recognise_duplicate(self, event: Event, name: tuple[str, bytes]) -> bool:
        original = self._original(name, time.monotonic())
        if self._how is None or original is None:
            return False
        if original.place != (event.topic(), event.partition(), event.offset()):
            self.duplicates += 1
            denies = self._how.action == "deny"
            event.recall(
                original.receipt,
                verdict="deny" if denies else None,
                rule=DUPLICATE_RULE if denies else None,
                reason=f"duplicate of {original.receipt}",
            )
        return True

    def _original(self, name: tuple[str, bytes], now: float) -> _Original | None:
        """Give what was remembered of an id, unless it is too long ago."""
        original = self._seen.get(name)
        if original is None or self._how is None:
            return None
        if isinstance(self._how.window, timedelta) and now - original.since > self._how.window.total_seconds():
            del self._seen[name]
            return None
        return original

    def _id_of(self, event: Event) -> tuple[str, bytes] | None:
        if self._how is None:
            return None
        for name, value in digests.header_pairs(event):
            if name == self._how.header and value is not None:
                return event.topic(), value.encode() if isinstance(value, str) else bytes(value)
        return None

    def _judge(self) -> None:
        self.is_active = self._how is not None or bool(self._past)

"""The receipt log: reading it, and opening it for issuing."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from chio_fast import _native
from chio_fast._native import Log, Reader
from chio_fast.errors import VerifyError
from chio_fast.keys import TrustFile
from chio_fast.location import LogLocation
from chio_fast.records import (
    Batch,
    Chain,
    Direction,
    Imported,
    LogStats,
    Page,
    PreparedBatch,
    Receipt,
    VerifiedReceipt,
    VerifyReport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from chio_fast._native import Partition, Signer, StrPath

log = logging.getLogger("chio_fast.log")

PAGE = 500
"""Receipts that are read at a time while a query is iterated."""

_receipt = msgspec.json.Decoder(Receipt)
_receipts = msgspec.json.Decoder(tuple[Receipt, ...])
_page = msgspec.json.Decoder(Page)
_chain = msgspec.json.Decoder(Chain)
_batches = msgspec.json.Decoder(tuple[Batch, ...])
_prepared = msgspec.json.Decoder(tuple[PreparedBatch, ...])
_report = msgspec.json.Decoder(VerifyReport)
_imported = msgspec.json.Decoder(Imported)
_stats = msgspec.json.Decoder(LogStats)
_verified = msgspec.json.Decoder(VerifiedReceipt)


class _Refused(msgspec.Struct):
    fault: str | None = None
    detail: str = ""


class ReceiptLog:
    """A receipt log: a file, or a schema of a database, that holds signed batches of receipts.

    Reading needs no claim and disturbs nobody who writes. An `Enforcer` that is given this object issues into the same
    log. Make one with `open`.

    Attributes:
        location: where it is.
    """

    def __init__(self, location: StrPath) -> None:
        self.location = LogLocation.of(location)
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._pid = os.getpid()

    @classmethod
    def open(cls, location: StrPath) -> Self:
        """Give the log at a path or URL; it is opened when first used, and created by the first enforcer.

        Args:
            location: path of a file, or `postgresql://user:password@host:5432/database?schema=chio`.

        Raises:
            LogOptionsError: the URL cannot be used.
        """
        return cls(location)

    @property
    def path(self) -> Path | None:
        """The file, where it is one."""
        return self.location.path

    def issuing(
        self,
        *,
        identity: str | None = None,
        issuer: str | None = None,
        signer: Signer | None = None,
        durability: Literal["full", "relaxed"] = "full",
        digest_key: bytes | None = None,
        linger_ms: int | None = None,
        max_batch: int | None = None,
        max_unsealed_bytes: int | None = None,
    ) -> Log:
        """Claim an issuer's name and open the log for issuing; all users of one process share claim and epoch.

        Args:
            identity: first part of the default issuer name.
            issuer: the issuer's name, by default `{identity}@{host}#{lowest free slot}`.
            signer: whose key signs, by default the key file beside the log; a log in a database has none.
            durability: `full`, or `relaxed`, which survives a crash of the process and not one of the machine.
            digest_key: 32 bytes that key the content digests.
            linger_ms: how long a receipt waits for company while nobody waits for it.
            max_batch: receipts per batch at most; 1 signs each by itself.
            max_unsealed_bytes: above it issuing waits.

        Raises:
            LogError: the log cannot be opened, or the name is claimed.
            SigningKeyError: the key cannot be used.
        """
        opened = Log.open(
            self.location,
            issuer=issuer,
            identity=identity,
            signer=signer,
            durability=durability,
            digest_key=digest_key,
            linger_ms=linger_ms,
            max_batch=max_batch,
            max_unsealed_bytes=max_unsealed_bytes,
        )
        if opened.created_key is not None:
            log.warning(
                "receipt log `%s` is new and no key was given: created key file `%s`", self.location, opened.created_key
            )
        return opened

    def get(self, receipt_id: str) -> Receipt:
        """Give one receipt.

        Raises:
            ReceiptNotFoundError: this log does not hold it.
        """
        return _receipt.decode(self._read().get(receipt_id))

    def query(self, *, newest_first: bool = False, limit: int | None = None, **filters: Any) -> Iterator[Receipt]:
        """Give the receipts that pass every filter, in the order of the log.

        Writes that go on meanwhile neither repeat nor hide a receipt.

        Args:
            newest_first: begin at the end.
            limit: at most so many; None for all.
            **filters: `kind`, `verdict`, `identity`, `scope` (exact or `prefix*`), `rule`, `topic`, `partition`,
                `offset`, `tool`, `since` and `until` (Unix ms), `state`, `policy_version`, `correlation`, `issuer`,
                `parent`; None is no filter.

        Raises:
            LogQueryError: a filter means nothing.
            TypeError: there is no such filter.
        """
        after: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.page(newest_first=newest_first, after=after, limit=min(PAGE, left or PAGE), **filters)
            yield from page.receipts
            left = None if left is None else left - len(page.receipts)
            after = page.next
            if after is None:
                return

    def page(self, *, newest_first: bool = False, after: str | None = None, limit: int = PAGE, **filters: Any) -> Page:
        """Give one page of a query; the arguments are those of `query`, `after` is `next` of the page before."""
        return _page.decode(self._read().query(filters, newest_first=newest_first, after=after, limit=limit))

    def chain(
        self,
        receipt_id: str,
        direction: Direction = "backward",
        *,
        limit: int = 1000,
    ) -> Chain:
        """Walk from a receipt to what it led to (`forward`) or to what led to it (`backward`).

        Raises:
            ReceiptNotFoundError: this log does not hold the start.
        """
        return _chain.decode(self._read().chain(receipt_id, direction, limit))

    @property
    def log_id(self) -> str:
        """The log's random id, which follows the `@` in its issuers' names."""
        return self._read().log_id

    def highest_offset(self, partition: Partition) -> int | None:
        """Give the highest offset of an assigned partition that a consume receipt of its group and identity names."""
        return self._read().highest_offset(partition)

    def consumed(self, partition: Partition, first: int, last: int) -> tuple[Receipt, ...]:
        """Give the consume receipts of an assigned partition, of its group and identity, at offsets `first` to `last`.

        They are in the order of the log.
        """
        return _receipts.decode(self._read().consumed(partition, first, last))

    def batches(self, first: int = 1, last: int | None = None) -> Iterator[Batch]:
        """Give the batches in order, from position `first` to `last` or the present end."""
        while last is None or first <= last:
            limit = PAGE if last is None else min(PAGE, last + 1 - first)
            page = _batches.decode(self._read().batches(first, limit))
            if not page:
                return
            yield from page
            first = page[-1].batch + 1

    def state(self, batch: int) -> str:
        """Give the state of a batch.

        Raises:
            ReceiptNotFoundError: there is no such batch.
        """
        return self._read().state(batch)

    def prepared(self) -> tuple[PreparedBatch, ...]:
        """Give every batch whose transaction is not resolved, in the order of the log."""
        return _prepared.decode(self._read().prepared())

    def frame(self, batch: int) -> bytes:
        """Give the stored frame of a batch: checkpoint, signature and bodies."""
        return self._read().frame(batch)

    def verify(self, trust: TrustFile | StrPath, *, progress: Callable[[int], None] | None = None) -> VerifyReport:
        """Verify the whole log up to its present end.

        Args:
            trust: a trust file or its path.
            progress: is told how many records are done.

        Raises:
            VerifyError: something is wrong; its `report` says what.
            SigningKeyError: the trust file is malformed.
        """
        report = _report.decode(self._read().verify(_text_of(trust), progress))
        if report.found:
            first = report.findings[0]
            raise VerifyError(
                f"receipt log `{self.location}` does not verify: {report.found} findings, the first: {first.fault}: "
                f"{first.detail}",
                report,
            )
        return report

    def export(self, receipt_id: str) -> bytes:
        """Give what is needed to verify one receipt offline, as JSON; with the outcome where one is recorded.

        Raises:
            ReceiptNotFoundError: this log does not hold it.
        """
        return self._read().export(receipt_id)

    def export_log(self, path: StrPath, *, first: int = 1, last: int | None = None) -> int:
        """Write batches to a file, one frame after the other, and give their number.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            return self._read().export_stream(path, first=first, last=last)
        except OSError as error:
            raise OSError(f"`{os.fspath(path)}` cannot be written: {error}") from None

    def import_frames(self, path: StrPath, trust: TrustFile | StrPath) -> Imported:
        """Take over the batches that other logs exported to a file (`export_log`); what this log holds is skipped.

        Every batch is verified before any is appended: signature, records, and that it continues what this log holds of
        its issuer. Issuers may be mixed; those of other logs may be imported while processes issue into this one. After
        an interruption the same call goes on where it ended. A file log is created if there is none.

        Args:
            path: the exported file.
            trust: a trust file or its path: whose signatures count.

        Raises:
            LogImportError: a batch is not authentic, or leaves a gap or a fork; nothing of the file was taken over.
            LogStateError: an outcome contradicts the one that this log holds.
            LogClaimedError: the file holds new batches of an issuer of this very log that is running.
            SigningKeyError: the trust file is malformed.
        """
        return _imported.decode(_native.import_frames(self.location, path, _text_of(trust)))

    def withhold(self, ids: Iterable[str]) -> int:
        """Replace bodies by their leaf hashes, for retention and erasure; the log still verifies.

        Raises:
            ReceiptNotFoundError: this log does not hold one of them; nothing was changed.
        """
        with self._lock:
            # A reader keeps the frames that it read last.
            self._reader = None
        return _native.withhold(self.location, list(ids))

    def rebuild_index(self) -> None:
        """Make the derived index anew."""
        self._read().rebuild_index()

    def _read(self) -> Reader:
        with self._lock:
            if self._reader is None or self._pid != os.getpid():
                self._reader = Reader.open(self.location)
                self._pid = os.getpid()
            return self._reader

    def __repr__(self) -> str:
        return f"ReceiptLog({str(self.location)!r})"


def verify_export(export: bytes, trust: TrustFile | StrPath) -> VerifiedReceipt:
    """Verify one exported receipt, as `ReceiptLog.export` gives it; no log is needed.

    Args:
        export: the exported JSON.
        trust: a trust file or its path.

    Raises:
        VerifyError: it is not authentic, or contradicts itself; the message begins with the fault.
        SigningKeyError: the trust file is malformed.
    """
    told = _native.verify_export(export, _text_of(trust))
    refused = msgspec.json.decode(told, type=_Refused)
    if refused.fault is not None:
        raise VerifyError(f"{refused.fault}: {refused.detail}")
    return _verified.decode(told)


def log_stats(opened: Log) -> LogStats:
    """Give the counters of a log that is open for issuing."""
    return _stats.decode(opened.stats())


def _text_of(trust: TrustFile | StrPath) -> bytes:
    """Give the text of a trust file, or of the one at a path."""
    return (trust if isinstance(trust, TrustFile) else TrustFile.load(trust)).to_json()

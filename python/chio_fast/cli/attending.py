"""Attending to a processor while it runs: signals, a line of progress now and then, an end when nothing comes."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from chio_fast.cli.wishes import Wishes
from chio_fast.errors import ChioError

if TYPE_CHECKING:
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka import ChioTransactionalProcessor
    from chio_fast.kafka.stats import ProcessorStats

log = logging.getLogger("chio_fast.process")

LOOK_SECONDS = 0.25
REPORT_SECONDS = 10.0


def attended(processor: ChioTransactionalProcessor, enforcer: Enforcer, idle_exit: float | None) -> dict[str, Any]:
    """Run a processor until a signal, or silence, ends it; give a summary of what it did.

    Args:
        processor: with its handlers.
        enforcer: its own.
        idle_exit: seconds without an event, partitions being assigned, after which it ends; None for never.

    Raises:
        ChioError: the processor cannot go on; what was not committed is delivered again.
    """
    wishes, over = Wishes(), threading.Event()
    attendant = threading.Thread(target=_attend, args=(processor, enforcer, wishes, over, idle_exit), daemon=True)
    with wishes.listening():
        attendant.start()
        try:
            _over_already = processor.run()
        finally:
            over.set()
            attendant.join()
    return summary(processor.stats(), enforcer)


def summary(stats: ProcessorStats, enforcer: Enforcer) -> dict[str, Any]:
    """Say what a processor did."""
    return {
        "allowed": stats.taken - stats.denied,
        "denied": stats.denied,
        "committed": stats.committed,
        "transactions": stats.transactions,
        "aborted": stats.aborts,
        "retried": stats.retried,
        "failed": stats.failed,
        "calls_replayed": stats.calls_replayed,
        "calls_unknown": stats.calls_unknown,
        "calls_diverged": stats.calls_diverged,
        "receipts": enforcer.log.issued,
        "log": str(enforcer.receipt_log.location),
        "policy_version": enforcer.policy.version,
    }


def reload(enforcer: Enforcer) -> None:
    """Read the policy again; a malformed one leaves the former in force."""
    try:
        version = enforcer.reload()
    except ChioError:
        # The enforcer has logged why, and decides on by the former policy.
        return
    log.info("policy read again, version %s", version)


def _attend(
    processor: ChioTransactionalProcessor,
    enforcer: Enforcer,
    wishes: Wishes,
    over: threading.Event,
    idle_exit: float | None,
) -> None:
    """Look every moment, on a thread of its own, for `run` blocks the one that hears signals."""
    taken, last_event = 0, time.monotonic()
    last_report = last_event
    while not over.wait(LOOK_SECONDS):
        if wishes.reload:
            wishes.reload = False
            reload(enforcer)
        if wishes.stop:
            log.info("asked to stop: finishing and committing what is in flight")
            processor.stop()
            return
        try:
            stats = processor.stats()
        except ChioError:  # it has not started
            continue
        now = time.monotonic()
        if stats.taken > taken or stats.in_flight or not stats.partitions:
            # Joining the group may take longer than the stream may be silent.
            taken, last_event = stats.taken, now
        if now - last_report >= REPORT_SECONDS:
            last_report = now
            log.info("%d taken, %d denied, %d committed", stats.taken, stats.denied, stats.committed)
        if idle_exit is not None and now - last_event >= idle_exit:
            log.info("no event for %g s", idle_exit)
            processor.stop()
            return

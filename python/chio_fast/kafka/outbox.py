"""Messages between their receipts and the client: a bounded queue, and the thread that empties it.

A message passes in this order; a crash in between leaves a receipt, which says *authorised*, of a message that was not
sent, never a message without its receipt:
  1. its receipt is issued, then it is put here, on the thread of the application
  2. the flusher takes everything that waits, and waits until the receipts of all of it are durable
  3. the flusher hands the messages to the client in the order in which they were put
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaError, KafkaException, Message

from chio_fast._native import Refused
from chio_fast.errors import ChioError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Producer

    from chio_fast._native import Backlog, Check, Gate

log = logging.getLogger("chio_fast.kafka")

MAX_MESSAGES = 100_000
"""Messages that wait at most, as in the client."""
MAX_BYTES = 256 * 1024 * 1024
"""Bytes of keys and values that wait at most."""
SLICE = 0.05
"""Seconds between two looks at what nobody announces."""

Content = bytes | str | None
OnDelivery: TypeAlias = "Callable[[KafkaError | None, Message], Any]"
Parcel: TypeAlias = "tuple[Check, OnDelivery | None]"
"""An output that has its receipt, and `on_delivery`."""


class Outbox:
    """Holds messages until their receipts are durable.

    A message that nobody wants to hear of is handed to the client natively, without Python's lock. One that has a
    callback is given to the client's own `produce`, in its turn; so are all where the native road is closed.

    Args:
        client: takes the messages; nobody else may produce with it.
        backlog: where they wait.
        gate: issued their receipts.
        on_delivery: hears of messages that have no callback of their own.

    Attributes:
        refused: messages that the client did not get or take; each receipt is taken back.
    """

    def __init__(self, client: Producer, backlog: Backlog, gate: Gate, on_delivery: OnDelivery | None) -> None:
        self.refused = 0
        self._client = client
        self.backlog = backlog
        self._gate = gate
        self._on_delivery = on_delivery
        self._failure: BaseException | None = None
        self._failing = threading.Lock()  # guards the failure
        # The flusher's alone: what the client is given in Python, and how much of it was.
        self._parcels: deque[Parcel] = deque()
        self._sent = 0
        # Filled by the flusher, emptied by whoever polls.
        self._unsent: deque[tuple[Parcel | Refused, KafkaError]] = deque()
        self._closing = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="chio-outbox", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self.backlog) + len(self._unsent)

    @property
    def sent(self) -> int:
        """Messages handed to the client, whose receipts were durable by then."""
        return self._sent + self.backlog.sent

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to do in this process: it was closed, or made before a fork."""
        return self._closing or os.getpid() != self._pid

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be put now."""
        return self.backlog.is_full

    def require_room(self) -> None:
        """Raise unless a message may be put.

        Raises:
            BufferError: the queue is full; poll, then try again.
            LogError: receipts cannot be made durable.
            ChioError: the producer is closed.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self.backlog.is_full:
            raise BufferError("the queue of the producer is full: call poll() or flush(), then produce again")

    def put(self, parcels: Sequence[Parcel], size: int) -> None:
        """Take messages whose receipts are issued, with no other in between; `size` in bytes."""
        if not self.backlog.put(parcels, size) and self._failure is not None:
            raise self._failure.with_traceback(None)

    def poll(self, timeout: float) -> int:
        """Serve callbacks, the client's too, until there was one, at most `timeout` seconds (below 0: without end).

        Raises:
            ChioError: the process was forked meanwhile.
        """
        self._require_own_process()
        deadline = None if timeout < 0 else time.monotonic() + timeout
        while True:
            left = SLICE if deadline is None else max(0.0, deadline - time.monotonic())
            served = self._report()
            served += self._client.poll(0 if served else min(SLICE, left))
            # Messages without callbacks leave the client without a word.
            self.backlog.polled()
            if served or left == 0:
                return served

    def flush(self, timeout: float) -> int:
        """Wait until nothing is left, here and in the client, at most `timeout` seconds (below 0: without end).

        Returns:
            How many messages are left.

        Raises:
            ChioError: the process was forked meanwhile.
        """
        self._require_own_process()
        deadline = None if timeout < 0 else time.monotonic() + timeout
        while True:
            self._report()
            left = SLICE if deadline is None else max(0.0, deadline - time.monotonic())
            if len(self) == 0:
                return self._client.flush(-1 if deadline is None else left)
            if left == 0:
                return len(self) + len(self._client)
            self.await_progress(min(SLICE, left))
            self._client.poll(0)
            self.backlog.polled()

    def await_progress(self, timeout: float) -> None:
        """Wait until the flusher has got somewhere, at most `timeout` seconds."""
        self.backlog.await_move(timeout)

    def _report(self) -> int:
        """Call back for the messages that did not reach the client; give their number."""
        reported = 0
        unheard: list[str] = []
        while self._unsent:
            parcel, error = self._unsent.popleft()
            reported += 1
            callback = None if isinstance(parcel, Refused) else parcel[1] or self._on_delivery
            if callback is None or isinstance(parcel, Refused):
                topic = parcel.topic if isinstance(parcel, Refused) else _unsent_message(parcel[0], error).topic()
                unheard.append(f"for topic `{topic}`: {error.str()}")
            else:
                callback(error, _unsent_message(parcel[0], error))
        if unheard:
            log.error("%d messages were not sent, the first %s", len(unheard), unheard[0])
        return reported

    def close(self) -> None:
        """End the thread; what still waits is not sent, its receipts are taken back, its callbacks run here."""
        with self._failing:
            self._closing = True
            if self._failure is None:
                self._failure = ChioError("the producer is closed; build another one")
        self.backlog.shut(True)
        self._thread.join()
        self._report()

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise ChioError("the producer was made before a fork: make another one in this process")

    # The flusher.

    def _run(self) -> None:
        while True:
            try:
                stop = self.backlog.forward()
                if stop is None:
                    break
                if isinstance(stop, Refused):
                    self._give_up([stop], KafkaError(stop.code, stop.reason))
                else:
                    self._parcels.extend(stop)
                    self._send()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the application has to hear of it
                self._fail(error)
        self._give_up(self._left(), KafkaError(KafkaError._PURGE_QUEUE, "the producer was closed"))

    def _send(self) -> None:
        """Hand messages to the client. While its queue is full this waits for somebody to poll."""
        produce = self._client.produce
        while self._parcels:
            parcel = self._parcels[0]
            output, on_delivery = parcel
            while True:
                try:
                    output.send(produce, on_delivery)
                    self._sent += 1
                    self.backlog.passed(1)
                except BufferError as full:
                    if not self.backlog.await_poll():
                        continue
                    self._give_up([parcel], KafkaError(KafkaError._QUEUE_FULL, str(full)))
                except Exception as refusal:  # noqa: BLE001 - arguments that the client does not take, too
                    self._give_up([parcel], _reason(refusal))
                break
            self._parcels.popleft()

    def _left(self) -> list[Parcel | Refused]:
        """Take out what was not sent."""
        parcels, refused = self.backlog.drain()
        left: list[Parcel | Refused] = [*self._parcels, *parcels, *refused]
        self._parcels.clear()
        return left

    def _give_up(self, parcels: Sequence[Parcel | Refused], reason: KafkaError) -> None:
        """Take back the receipts of messages that the client did not get, and have them reported."""
        self.refused += len(parcels)
        try:
            self._gate.rollback_checks([parcel[0] for parcel in parcels if not isinstance(parcel, Refused)])
            self.backlog.take_back([parcel for parcel in parcels if isinstance(parcel, Refused)])
        except ChioError as error:
            log.error("receipts of messages that were not sent cannot be taken back: %s", error)
        # In this order: whoever counts meanwhile counts too many rather than too few.
        self._unsent.extend((parcel, reason) for parcel in parcels)
        self.backlog.passed(len(parcels))

    def _fail(self, error: BaseException) -> None:
        """Send nothing more: what has no durable receipt may not be seen by anybody."""
        log.error("messages are not sent any longer: %s", error)
        with self._failing:
            self._failure = self._failure or error
        self.backlog.shut(False)
        self._give_up(self._left(), KafkaError(KafkaError._FAIL, str(error)))


def _unsent_message(output: Check, error: KafkaError) -> Message:
    """Give what a delivery callback gets for an output that did not reach the client."""
    shown: Any = output.output
    return Message(
        topic=shown["topic"],
        value=_bytes(shown["value"]),
        key=_bytes(shown["key"]),
        partition=-1 if shown["partition"] is None else shown["partition"],
        headers=output.headers,
        timestamp=(TIMESTAMP_CREATE_TIME, shown["timestamp"]),
        error=error,
    )


def _bytes(content: Content) -> bytes | None:
    return content.encode() if isinstance(content, str) else content


def _reason(refusal: Exception) -> KafkaError:
    if isinstance(refusal, KafkaException) and isinstance(refusal.args[0], KafkaError):
        return refusal.args[0]
    return KafkaError(KafkaError._INVALID_ARG, str(refusal))

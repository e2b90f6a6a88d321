"""Events whose handler failed: how often they are tried, and what their record in the error topic says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from chio_fast._native import FINISHED
from chio_fast.errors import ChioCallDiverged, ChioCallUnknown, ChioConfigError, ChioDeliveryError, ChioDenied
from chio_fast.kafka.client_errors import backoff
from chio_fast.kafka.envelope import (
    HEADER_RECEIPT,
    HEADER_REQUEST,
    HEADER_TOPIC,
    Form,
    Original,
    Record,
    content_of,
    original,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chio_fast._native import Work

OnHandlerError = Literal["retry", "error_topic", "stop"]

HEADER_ERROR = "X-Chio-Error"
FINAL = (ChioDenied, ChioConfigError, ChioDeliveryError, ChioCallUnknown, ChioCallDiverged)
"""Failures that will be the same the next time."""
MAX_ATTEMPTS = 5
BACKOFF = 0.1
"""Seconds before the second attempt; doubled for each further one."""
MAX_BACKOFF = 10.0
"""Seconds between two attempts at most."""
MAX_MESSAGE = 1024
"""Characters of an exception's text that are kept."""


class Failure(NamedTuple):
    """Why a handler, or the cluster, could not be done with an event.

    Attributes:
        type: name of the exception, or of the client's error.
        message: what it said.
        attempts: how often the event was tried.
    """

    type: str
    message: str
    attempts: int


class HandlerFailure(msgspec.Struct, frozen=True):
    """Why an event is in the error topic."""

    type: str
    message: str
    attempts: int
    receipt_id: str | None
    identity: str
    scope: str


class FailedEvent(Original, frozen=True):
    """The value of an error topic's record."""

    chio_error: HandlerFailure


class Failures:
    """Says what becomes of an event whose handler failed.

    Args:
        on_handler_error: `retry`: with backoff, `max_attempts` times in all, then the error topic if there is one, else
            stop; `error_topic`: at once; `stop`: at once.
        error_topic: the topic for events whose handler failed.
        max_attempts: how often a handler is tried, attempts that ended the process included.

    Raises:
        ChioConfigError: the arguments contradict each other.
    """

    def __init__(self, on_handler_error: OnHandlerError, error_topic: str | None, max_attempts: int) -> None:
        if on_handler_error not in get_args(OnHandlerError):
            raise ChioConfigError(f"`on_handler_error` is `{on_handler_error}`; write `retry`, `error_topic` or `stop`")
        if on_handler_error == "error_topic" and not error_topic:
            raise ChioConfigError("events whose handler fails have nowhere to go: write `error_topic=`, or `retry`")
        if max_attempts < 1:
            raise ChioConfigError(f"`max_attempts` is {max_attempts}; write 1 or more")
        self.error_topic = error_topic if on_handler_error != "stop" else None
        self._retries = on_handler_error == "retry"
        self._max_attempts = max_attempts
        self.failed = 0
        self.retried = 0
        self._final: dict[tuple[str, int, int], Failure] = {}
        self._forms: dict[tuple[str, int, int], Form] = {}

    def is_final(self, error: BaseException, attempts: int) -> bool:
        """Whether a handler that failed is not tried again."""
        return not self._retries or attempts >= self._max_attempts or isinstance(error, FINAL)

    def attempts_left(self, attempts: int) -> int:
        """Give how many more attempts an event has that was tried so often."""
        return max(0, self._max_attempts - attempts)

    def is_too_often(self, attempts: int) -> bool:
        """Whether an event whose attempts ended with the process is given up, unless that is not wanted."""
        return self.error_topic is not None and attempts >= self._max_attempts

    def backoff(self, attempts: int) -> float:
        """Give the seconds to wait after `attempts` failures, with jitter."""
        return backoff(attempts - 1, base=BACKOFF, limit=MAX_BACKOFF)

    def charge(self, work: Work, failure: Failure) -> None:
        """Remember that the cluster refused an output of `work`, so that the event fails when it comes again."""
        self._final[work.place] = failure

    def shrink(self, work: Work) -> bool:
        """Remember that the DLQ or error record of `work` must be smaller; False if it cannot be."""
        if work.form == Form.DENIAL_ONLY:
            return False
        self._forms[work.place] = Form(work.form + 1)
        return True

    def recall(self, works: Iterable[Work]) -> None:
        """Tell works that were taken what is known of their events from before; whose event has failed is finished."""
        if not self._final and not self._forms:
            return
        for work in works:
            work.failure = self._final.pop(work.place, None)
            work.form = self._forms.pop(work.place, work.form)
            if work.failure is not None:
                work.state = FINISHED


def describe(error: BaseException, attempts: int) -> Failure:
    """Give what is kept of an exception."""
    # It may quote the event, of which JSON gives Python strings that are not Unicode.
    message = str(error)[:MAX_MESSAGE].encode(errors="surrogatepass").decode(errors="replace")
    return Failure(type(error).__name__, message, attempts)


_encoder = msgspec.json.Encoder()


def error_record(event: Any, failure: Failure, *, form: Form) -> Record:
    """Give the record of an event whose handler failed."""
    decision = event.chio_decision
    told = HandlerFailure(
        failure.type, failure.message, failure.attempts, decision.receipt_id, decision.identity, decision.scope
    )
    content = content_of(event)
    letter = FailedEvent(**original(event, content, form), chio_error=told)
    headers: list[tuple[str, bytes | None]] = [
        (HEADER_RECEIPT, (decision.receipt_id or "").encode()),
        (HEADER_ERROR, failure.type.encode()),
        (HEADER_TOPIC, letter.original_topic.encode()),
        (HEADER_REQUEST, letter.request.encode()),
    ]
    return Record(content.record_key(form), _encoder.encode(letter), headers)

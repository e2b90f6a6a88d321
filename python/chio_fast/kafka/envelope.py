"""The DLQ record: what was denied, from where, and why, as one JSON object or byte-exact with the denial in headers."""

from __future__ import annotations

import base64
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import msgspec
from blake3 import blake3

from chio_fast._native import Event

HEADER_RECEIPT = "X-Chio-Receipt"
HEADER_SCOPE = "X-Chio-Scope"
HEADER_REASON = "X-Chio-Denial-Reason"
HEADER_TOPIC = "X-Chio-Original-Topic"
HEADER_REQUEST = "X-Chio-Request"
HEADER_DENIAL = "X-Chio-Denial"

Encoding = Literal["utf-8", "base64"]
TIMESTAMP_NOT_AVAILABLE = 0


class Denial(msgspec.Struct, frozen=True):
    """The decision that sent an event to the DLQ."""

    receipt_id: str | None
    verdict: str
    reason: str
    scope_requested: str
    identity: str
    rule: str | None
    guards_evaluated: list[str]
    timestamp: int | None
    """When the decision was made, in Unix milliseconds."""


class Header(msgspec.Struct, frozen=True):
    """One header of the original record; names may repeat, order counts."""

    name: str
    value: str | None
    encoding: Encoding = "utf-8"


class Original(msgspec.Struct, frozen=True):
    """What a record keeps of the event that it is about.

    Bytes that are not UTF-8 are written in base64, as the `_encoding` field says.
    """

    original_topic: str
    original_partition: int | None
    original_offset: int | None
    original_timestamp: int | None
    """Of the original record, in Unix milliseconds."""
    original_key: str | None
    original_key_encoding: Encoding
    original_value: str | None
    original_value_encoding: Encoding
    original_value_omitted: bool
    """True: the value was left out, so `original_value` is null whatever it was."""
    original_value_digest: str | None
    """BLAKE3 of the value in hexadecimal; null for a tombstone."""
    original_headers: list[Header]
    request: str
    """`chio-kafka-{topic}-{partition}-{offset}`: the same for every delivery of the same event."""


class DeadLetter(Original, frozen=True):
    """The value of a DLQ record."""

    attempt: int | None
    """1 for the first decision on this event, higher for each later one; null where it is not known."""
    chio_denial: Denial


class Form(IntEnum):
    """How much of the original a record holds; each next form is smaller."""

    FULL = 0
    WITHOUT_VALUE = 1
    DENIAL_ONLY = 2
    """Neither value nor key nor headers."""


class Record(NamedTuple):
    """A DLQ record ready to be produced."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Content(NamedTuple):
    """What an event held when it came."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def record_key(self, form: Form) -> bytes | None:
        """Give the key of a record about it: its own, so that partitioning stays the same."""
        return None if form is Form.DENIAL_ONLY else self.key


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DeadLetter)


def decode(value: bytes) -> DeadLetter:
    """Read the value of a DLQ record in JSON mode.

    Raises:
        msgspec.ValidationError: it is not one.
    """
    return _decoder.decode(value)


def restore(text: str | None, encoding: Encoding) -> bytes | None:
    """Give back the bytes that `text` stands for."""
    if text is None:
        return None
    return base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()


def content_of(event: Any) -> Content:
    """Give what `event` held when it came: a handler or a guard may have set something else since."""
    if isinstance(event, Event):
        topic, key, value, headers = event.admitted()
    else:
        topic, key, value, headers = event.topic(), event.key(), event.value(), event.headers()
    return Content(topic, _bytes(key), _bytes(value), [(name, _bytes(content)) for name, content in headers or []])


def request_of(event: Any) -> str:
    """Name the delivery-independent request of `event`, for people."""
    return (
        event.request
        if isinstance(event, Event)
        else f"chio-kafka-{event.topic()}-{event.partition()}-{event.offset()}"
    )


def build(event: Any, decision: Any, *, attempt: int | None, form: Form) -> DeadLetter:
    """Describe a denied event.

    Args:
        event: anything with the accessors of a confluent Message.
        decision: anything with the documented fields of a decision.
        attempt: how often this event has been decided on.
        form: how much of the original to keep.
    """
    return _dead_letter(event, content_of(event), decision, attempt, form)


def _dead_letter(event: Any, content: Content, decision: Any, attempt: int | None, form: Form) -> DeadLetter:
    return DeadLetter(**original(event, content, form), attempt=attempt, chio_denial=_denial(decision))


def original(event: Any, content: Content, form: Form) -> dict[str, Any]:
    """Give the fields of `Original` for `event`, as much of its content as `form` says."""
    value = content.value
    key, key_encoding = _text(content.record_key(form))
    text, encoding = _text(value if form is Form.FULL else None)
    return {
        "original_topic": content.topic,
        "original_partition": event.partition(),
        "original_offset": event.offset(),
        "original_timestamp": _timestamp(event),
        "original_key": key,
        "original_key_encoding": key_encoding,
        "original_value": text,
        "original_value_encoding": encoding,
        "original_value_omitted": form is not Form.FULL,
        "original_value_digest": None if value is None else blake3(value).hexdigest(),
        "original_headers": [] if form is Form.DENIAL_ONLY else [_header(*pair) for pair in content.headers],
        "request": request_of(event),
    }


def json_record(event: Any, decision: Any, *, attempt: int | None, form: Form) -> Record:
    """Give the record whose value is the JSON envelope; `decision` None stands for the event's own."""
    if decision is None:
        spelled = event.dead_letter(attempt=attempt, value=form is Form.FULL, rest=form is not Form.DENIAL_ONLY)
        if spelled is not None:
            return Record(*spelled)
        decision = event.chio_decision
    content = content_of(event)
    letter = _dead_letter(event, content, decision, attempt, form)
    return Record(content.record_key(form), _encoder.encode(letter), _own_headers(letter))


def exact_record(event: Any, decision: Any, *, attempt: int | None, form: Form) -> Record:
    """Give the record that repeats key, value and headers byte for byte and tells of the denial in further headers.

    `decision` None stands for the event's own.
    """
    decision = event.chio_decision if decision is None else decision
    content = content_of(event)
    letter = _dead_letter(event, content, decision, attempt, Form.DENIAL_ONLY)
    letter = msgspec.structs.replace(letter, original_value_omitted=form is not Form.FULL)
    denial: list[tuple[str, bytes | None]] = [(HEADER_DENIAL, _encoder.encode(letter))]
    if form is Form.DENIAL_ONLY:
        return Record(None, None, _own_headers(letter) + denial)
    value = content.value if form is Form.FULL else None
    return Record(content.key, value, [*content.headers, *_own_headers(letter), *denial])


def _own_headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    denial = letter.chio_denial
    return [
        (HEADER_RECEIPT, (denial.receipt_id or "").encode()),
        (HEADER_REASON, denial.reason.encode()),
        (HEADER_TOPIC, letter.original_topic.encode()),
        (HEADER_REQUEST, letter.request.encode()),
    ]


def _denial(decision: Any) -> Denial:
    guards = getattr(decision, "guards_evaluated", None) or getattr(decision, "guards", None) or []
    return Denial(
        receipt_id=getattr(decision, "receipt_id", None),
        verdict=str(getattr(decision, "verdict", "deny")),
        reason=str(decision.reason or ""),
        scope_requested=str(getattr(decision, "scope_requested", None) or getattr(decision, "scope", None) or ""),
        identity=str(decision.identity or ""),
        rule=getattr(decision, "rule", None),
        guards_evaluated=[str(getattr(guard, "name", guard)) for guard in guards],
        timestamp=getattr(decision, "timestamp", None),
    )


def _header(name: str, value: bytes | None) -> Header:
    text, encoding = _text(value)
    return Header(name, text, encoding)


def _timestamp(event: Any) -> int | None:
    kind, milliseconds = event.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds


def _text(value: bytes | None) -> tuple[str | None, Encoding]:
    if value is None:
        return None, "utf-8"
    try:
        return value.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), "base64"


def _bytes(value: bytes | str | None) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else bytes(value)

"""Requests to a policy as people write them: on the command line and in files of test cases."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chio_fast.errors import ChioConfigError

if TYPE_CHECKING:
    from chio_fast.decision import Kind


class WrittenRecord(msgspec.Struct, forbid_unknown_fields=True):
    """A Kafka record as people write it; a `value` that is no string is sent as JSON."""

    topic: str = ""
    partition: int | None = None
    offset: int | None = None
    key: str | None = None
    timestamp: int | None = None
    headers: dict[str, str | None] = {}
    value: Any = None

    def mapping(self) -> dict[str, Any]:
        """The record in the form that `Policy.decide` takes."""
        value = self.value if isinstance(self.value, str | None) else json.dumps(self.value)
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "key": None if self.key is None else self.key.encode(),
            "timestamp": self.timestamp,
            "headers": [(name, None if text is None else text.encode()) for name, text in self.headers.items()],
            "value": None if value is None else value.encode(),
        }


class WrittenRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One question to a policy as people write it.

    Attributes:
        now: RFC 3339 text or Unix milliseconds; None is the clock.
    """

    identity: str
    scope: str
    kind: str | None = None
    event: WrittenRecord | None = None
    tool: str | None = None
    arguments: Any = msgspec.UNSET
    output: WrittenRecord | None = None
    now: int | datetime.datetime | None = None

    def keywords(self) -> dict[str, Any]:
        """The request as the keyword arguments of `Policy.decide`, without identity and scope.

        Raises:
            ChioConfigError: the kind is no boundary, or the time has no zone.
        """
        return {
            "kind": self.boundary(),
            "event": self.event.mapping() if self.event else None,
            "tool": self.tool,
            "arguments": None if self.arguments is msgspec.UNSET else self.arguments,
            "output": self.output.mapping() if self.output else None,
            "now": milliseconds(self.now),
        }

    def boundary(self) -> Kind:
        """The boundary: as written, else by what the request holds."""
        match self.kind:
            case "consume" | "invoke" | "produce":
                return self.kind
            case None if self.tool is not None or self.arguments is not msgspec.UNSET:
                return "invoke"
            case None:
                return "produce" if self.output else "consume"
        raise ChioConfigError(f"kind `{self.kind}` is no boundary; write `consume`, `invoke` or `produce`")


def milliseconds(moment: int | datetime.datetime | None) -> int | None:
    """A time as people write it in Unix milliseconds."""
    if not isinstance(moment, datetime.datetime):
        return moment
    if moment.tzinfo is None:
        raise ChioConfigError(f"time `{moment.isoformat()}` has no zone; write for example `{moment.isoformat()}Z`")
    return round(moment.timestamp() * 1000)


def parse_time(text: str) -> int:
    """Unix milliseconds of RFC 3339 text, of Unix milliseconds, or of an age such as `15m`, `24h` or `7d`.

    Raises:
        ChioConfigError: it is none of these.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text[-1:] in units and text[:-1].isdigit():
        now = datetime.datetime.now(datetime.UTC).timestamp()
        return round((now - int(text[:-1]) * units[text[-1]]) * 1000)
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ChioConfigError(
            f"`{text}` is no time; write `2026-01-01T00:00:00Z`, unix milliseconds, or an age such as `15m`, `7d`"
        ) from None
    return milliseconds(moment) or 0


def parse_json(text: str, what: str) -> Any:
    """The JSON given on the command line, or in the file named after an `@`.

    Raises:
        ChioConfigError: it is not JSON, or the file holds no text.
        OSError: the file cannot be read.
    """
    content = read_argument(text)
    try:
        return json.loads(content)
    except ValueError as error:
        raise ChioConfigError(f"{what} is not json: {error}; write json, or `@` and the name of a file") from None


def read_argument(text: str) -> str:
    """`text` itself, or the content of the file that it names after an `@`.

    Raises:
        ChioConfigError: the file holds no text.
        OSError: it cannot be read.
    """
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ChioConfigError(f"`{text[1:]}` is not UTF-8; name a file of text after the `@`") from None

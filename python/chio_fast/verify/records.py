"""The schema of bodies and checkpoints."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from chio_fast.verify import canonical
from chio_fast.verify.canonical import MAX_SAFE
from chio_fast.verify.errors import MalformedError

MAX_BODY = 1 << 20
MAX_CHECKPOINT = 32 << 10
MAX_COUNT = 1 << 20
MAX_TEXT = 1024
MAX_TOPIC = 512
MAX_LIST = 16

_ID = re.compile(r"rcpt_[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}")
_HEX = re.compile(r"[0-9a-f]*")
_DIGITS = re.compile(r"[1-9][0-9]*")
_ALPHABET = {digit: value for value, digit in enumerate("0123456789abcdefghjkmnpqrstvwxyz")}

DECISIONS = {"consume", "invoke", "produce", "override"}
KINDS = DECISIONS | {"effect", "rollback"}
OUTCOMES = {"committed", "rolled_back", "unknown"}

Check: TypeAlias = Callable[[Any], object]
"""Reads the value of a member; raises MalformedError if it is not of the schema."""


def integer(value: Any) -> int:
    """Read an integer: a number up to 2^53 - 1, beyond it a string of digits up to 2^64 - 1."""
    if type(value) is int and 0 <= value <= MAX_SAFE:
        return value
    if isinstance(value, str) and len(value) <= 20 and _DIGITS.fullmatch(value) and MAX_SAFE < int(value) < 2**64:
        return int(value)
    raise MalformedError("expected a canonical integer")


def positive(value: Any) -> int:
    """Read an integer of at least 1."""
    if (number := integer(value)) == 0:
        raise MalformedError("zero: leave the member out")
    return number


def partition(value: Any) -> int:
    """Read a partition number: 31 bits."""
    if (number := integer(value)) >= 2**31:
        raise MalformedError("partition number is too large")
    return number


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """Read a text of at most ``limit`` bytes."""
    if not isinstance(value, str) or len(value.encode()) > limit:
        raise MalformedError(f"expected a text of at most {limit} bytes")
    return value


def some_text(value: Any) -> str:
    """Read a text that is not empty."""
    if not text(value):
        raise MalformedError("empty text: leave the member out")
    return str(value)


def hexadecimal(length: int) -> Callable[[Any], bytes]:
    """Read exactly ``length`` bytes in lower-case hexadecimal."""

    def check(value: Any) -> bytes:
        if not isinstance(value, str) or len(value) != 2 * length or not _HEX.fullmatch(value):
            raise MalformedError(f"expected {2 * length} lower-case hexadecimal digits")
        return bytes.fromhex(value)

    return check


def receipt_id(value: Any) -> int:
    """Read a receipt id; gives its 128 bits."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise MalformedError("expected a receipt id")
    number = 0
    for digit in value[5:]:
        number = number << 5 | _ALPHABET[digit]
    return number


def word(known: set[str]) -> Callable[[Any], str]:
    """Read a word of a closed vocabulary."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise MalformedError(f"expected one of {sorted(known)}")
        return value

    return check


def version(value: Any) -> None:
    """Read the format's version."""
    if type(value) is not int or value != 1:
        raise MalformedError("expected `v` of 1")


def items(check: Check) -> Check:
    """Read a list of 1 to 16 items."""

    def check_all(value: Any) -> None:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIST:
            raise MalformedError("expected a list of 1 to 16 items")
        for item in value:
            check(item)

    return check_all


def members(required: dict[str, Check], optional: dict[str, Check]) -> Check:
    """Read an object with these members and no others."""
    known = required | optional

    def check(value: Any) -> None:
        if not isinstance(value, dict) or not value:
            raise MalformedError("expected an object with members")
        for name, item in value.items():
            if name not in known:
                raise MalformedError(f"unknown member `{name}`")
            known[name](item)
        for name in required:
            if name not in value:
                raise MalformedError(f"expected member `{name}`")

    return check


_EVENT = members(
    {"topic": lambda value: text(value, MAX_TOPIC)},
    {
        "cluster": some_text,
        "group": some_text,
        "offset": integer,
        "partition": partition,
        "timestamp": integer,
        "topic_id": some_text,
    },
)
_TOOL = members({"tool": text}, {})


def _target(value: Any) -> None:
    (_TOOL if isinstance(value, dict) and "tool" in value else _EVENT)(value)


_RECEIPT = members(
    {"id": receipt_id, "identity": text, "kind": word(KINDS), "seq": integer, "time": integer, "v": version},
    {
        "attempt": positive,
        "correlation": some_text,
        "digest": hexadecimal(32),
        "duration_ms": integer,
        "error": some_text,
        "errors": items(members({"code": text, "rule": text}, {})),
        "errors_omitted": positive,
        "evidence": word({"before_commit", "before_action"}),
        "guards": items(
            members({"name": text, "verdict": word({"allow", "deny", "error", "timeout"})}, {"reason": some_text})
        ),
        "guards_omitted": positive,
        "parents": items(receipt_id),
        "parents_rejected": positive,
        "reason": some_text,
        "request": text,
        "rollback": receipt_id,
        "rule": some_text,
        "scope": some_text,
        "target": _target,
        "verdict": word({"allow", "deny", "escalate", "delay"}),
    },
)

_OUTCOME = members(
    {
        "batch": hexadecimal(32),
        "id": receipt_id,
        "issuer": some_text,
        "kind": word({"outcome"}),
        "outcome": word(OUTCOMES),
        "seq": integer,
        "time": integer,
        "v": version,
    },
    {
        "contradicts": word(OUTCOMES),
        "shown": members(
            {},
            {
                "cluster": some_text,
                "from": integer,
                "offset": integer,
                "partition": partition,
                "topic": some_text,
                "until": integer,
            },
        ),
    },
)

_CHECKPOINT = members(
    {
        "count": positive,
        "durability": word({"full", "relaxed"}),
        "epoch": integer,
        "first_seq": integer,
        "issuer": some_text,
        "key_id": hexadecimal(16),
        "mode": word({"recorded", "transaction", "attempt"}),
        "policy_version": hexadecimal(32),
        "previous": hexadecimal(32),
        "root": hexadecimal(32),
        "running_count": integer,
        "time": integer,
        "v": version,
    },
    {
        "attestation": hexadecimal(32),
        "digest_key": hexadecimal(16),
        "group": some_text,
        "transactional_id": some_text,
    },
)


@dataclass(frozen=True)
class Record:
    """One record of a batch: a receipt or an outcome.

    Attributes:
        members: Its members as they are in JSON.
        id: Its id, 128 bits.
        seq: Position in the issuer's epoch.
    """

    members: dict[str, Any]
    id: int
    seq: int

    @property
    def is_outcome(self) -> bool:
        """Whether it is an outcome."""
        return "batch" in self.members


@dataclass(frozen=True)
class Checkpoint:
    """The signed header of a batch; see ``docs/receipt-format.md`` for the members."""

    issuer: str
    epoch: int
    first_seq: int
    count: int
    running_count: int
    time: int
    mode: str
    key_id: bytes
    root: bytes
    previous: bytes
    attestation: bytes | None


def _load(body: bytes, limit: int) -> dict[str, Any]:
    """Read an object that must be spelled in canonical form."""
    if len(body) > limit:
        raise MalformedError(f"larger than {limit} bytes")
    value = canonical.loads(body)
    if not isinstance(value, dict) or canonical.dumps(value) != body:
        raise MalformedError("not an object in canonical form (RFC 8785)")
    return value


def parse_record(body: bytes) -> Record:
    """Read a body.

    Raises:
        MalformedError: Not canonical, not of the schema, or beyond a limit.
    """
    value = _load(body, MAX_BODY)
    if "batch" in value:
        _OUTCOME(value)
        if value.get("contradicts") == value["outcome"]:
            raise MalformedError("an outcome cannot contradict itself")
    else:
        _RECEIPT(value)
        _check_kind(value)
    return Record(value, receipt_id(value["id"]), integer(value["seq"]))


def _check_kind(receipt: dict[str, Any]) -> None:
    """Check what the kind requires and excludes, and what follows from other members."""
    kind, target = receipt["kind"], receipt.get("target", {})
    if (kind in DECISIONS) != ("verdict" in receipt) or (kind in DECISIONS and "scope" not in receipt):
        raise MalformedError("a decision has scope and verdict, an effect or rollback no verdict")
    if (kind in {"consume", "produce"} and "tool" in target) or (kind in {"invoke", "effect"} and "tool" not in target):
        raise MalformedError("target does not fit the kind")
    if (kind == "rollback") != ("rollback" in receipt):
        raise MalformedError("a rollback, and only that, names the receipt that it takes back")
    if kind != "effect" and ("duration_ms" in receipt or "error" in receipt):
        raise MalformedError("only an effect has a duration or an error")
    for name in ("errors", "guards"):
        if f"{name}_omitted" in receipt and len(receipt.get(name, ())) != MAX_LIST:
            raise MalformedError(f"`{name}_omitted` stands beside a full list only")
    expected = None
    if "offset" in target and "partition" in target:
        expected = f"chio-kafka-{target['topic']}-{target['partition']}-{target['offset']}"
    if receipt.get("request") != expected:
        raise MalformedError("request does not follow from the target")


def parse_checkpoint(body: bytes) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        MalformedError: Not canonical, not of the schema, or beyond a limit.
    """
    value = _load(body, MAX_CHECKPOINT)
    _CHECKPOINT(value)
    is_transaction = value["mode"] == "transaction"
    if is_transaction != ("group" in value) or is_transaction != ("transactional_id" in value):
        raise MalformedError("group and transactional_id stand exactly in checkpoints of mode `transaction`")
    count, running_count = integer(value["count"]), integer(value["running_count"])
    if count > MAX_COUNT or count > running_count:
        raise MalformedError("count is larger than a batch or than running_count")
    return Checkpoint(
        issuer=value["issuer"],
        epoch=integer(value["epoch"]),
        first_seq=integer(value["first_seq"]),
        count=count,
        running_count=running_count,
        time=integer(value["time"]),
        mode=value["mode"],
        key_id=bytes.fromhex(value["key_id"]),
        root=bytes.fromhex(value["root"]),
        previous=bytes.fromhex(value["previous"]),
        attestation=bytes.fromhex(value["attestation"]) if "attestation" in value else None,
    )

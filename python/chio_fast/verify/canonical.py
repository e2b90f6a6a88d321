"""Strict JSON, and its canonical form (RFC 8785)."""

import json
import math
import re
from typing import Any, NoReturn

from chio_fast.verify.errors import MalformedError

MAX_DEPTH = 64
MAX_DIGITS = 1024
MAX_SAFE = 2**53 - 1

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_ESCAPED = re.compile(r'[\x00-\x1f"\\]')


def loads(text: bytes | str) -> Any:
    """Read one JSON value.

    Raises:
        MalformedError: Not JSON to its last byte, a member name twice, NaN or an infinity, a lone surrogate, nesting
            above 64, an integer above 1024 digits.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        if decoded.startswith("\ufeff"):
            raise MalformedError("byte order mark")
        value = json.loads(
            decoded, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}") from error
    _check(value, 0)
    return value


def dumps(value: Any) -> bytes:
    """Give the canonical form of a JSON value.

    Integers beyond 2^53 - 1 are written in full instead of being rounded to a double.
    """
    return _render(value).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedError("a member name stands twice")
    return members


def _constant(name: str) -> NoReturn:
    raise MalformedError(f"`{name}` is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise MalformedError("number beyond the range of a double")
    return number


def _integer(text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        raise MalformedError("integer with more than 1024 digits")
    # Only doubles have a negative zero, so this is no integer where one is expected.
    return -0.0 if text == "-0" else int(text)


def _check(value: Any, depth: int) -> None:
    """Refuse deep nesting and texts that are not Unicode."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise MalformedError("lone surrogate") from error
    elif isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            raise MalformedError("nested deeper than 64")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)
        if isinstance(value, dict):
            for name in value:
                _check(name, depth + 1)


def _render(value: Any) -> str:
    if isinstance(value, dict):
        # Names sort by their UTF-16 code units.
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_string(name)}:{_render(item)}" for name, item in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_render, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _number(value)
    # Integers, true, false and null: `json` writes them in the one way there is.
    return json.dumps(value)


def _string(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda found: _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}", text) + '"'


def _number(number: float) -> str:
    """A double as ECMAScript writes it (ECMA-262, Number::toString)."""
    if not math.isfinite(number):
        raise ValueError("NaN and infinities have no JSON form")
    if number == 0:
        return "0"
    # Python gives the shortest digits that read back as the same double, as ECMAScript asks; only the layout differs.
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        dot = "." if len(digits) > 1 else ""
        text = f"{digits[0]}{dot}{digits[1:]}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{text}" if number < 0 else text

"""A strict JSON reader for the reference evaluator, built on the hooks of the standard library's `json`.

It accepts exactly RFC 8259 texts in valid UTF-8 whose member names are unique at every level, which nest at most 64
deep, whose integers fit i64 or u64, and whose strings are valid Unicode. Nothing of it is shared with the engine.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_NESTING = 64
I64_MIN = -(2**63)
I64_MAX = 2**63 - 1
U64_MAX = 2**64 - 1
# Longer digit strings cannot fit u64, and Python refuses to convert very long ones.
MAX_INTEGER_LENGTH = 21


class Uint(int):
    """An unsigned integer of the condition language; a type of its own because `1 + 1u` is a type error."""

    def __repr__(self) -> str:
        return f"{int(self)}u"


class StrictJsonError(ValueError):
    """The text is not acceptable JSON."""


def parse(data: bytes) -> Any:
    """Parse `data` strictly.

    Args:
        data: the whole text, in UTF-8.

    Returns:
        None, bool, int (within i64), `Uint` (above i64, within u64), float, str, list or dict.

    Raises:
        StrictJsonError: the text breaks any of the rules above.
    """
    try:
        text = data.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise StrictJsonError("not valid utf-8") from error
    _check_nesting(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise StrictJsonError(str(error)) from error
    _check_strings(value)
    return value


def _check_nesting(text: str) -> None:
    """Refuse texts deeper than `MAX_NESTING` before a recursive parser sees them.

    Braces inside strings do not count. In a text that is not JSON the count may be wrong, which does no harm: such a
    text is refused by the parser that follows, unless it was refused here.
    """
    depth = 0
    position = 0
    in_string = False
    while position < len(text):
        character = text[position]
        if in_string:
            if character == "\\":
                position += 1
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise StrictJsonError("nested too deeply")
        elif character in "]}":
            depth -= 1
        position += 1


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError("duplicate member name")
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_LENGTH:
        raise StrictJsonError("integer out of range")
    value = int(digits)
    if I64_MIN <= value <= I64_MAX:
        return value
    if value <= U64_MAX and value > 0:
        return Uint(value)
    raise StrictJsonError("integer out of range")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise StrictJsonError("number out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise StrictJsonError(f"{name} is not json")


def _check_strings(value: Any) -> None:
    """Refuse lone surrogates, which the standard library passes through from `\\ud800`."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise StrictJsonError("lone surrogate in a string") from error
    elif isinstance(value, list):
        for item in value:
            _check_strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_strings(name)
            _check_strings(item)


def decoder() -> json.JSONDecoder:
    """The decoder with every rule hooked in."""
    return json.JSONDecoder(
        object_pairs_hook=_unique_members,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )


_DECODER = decoder()

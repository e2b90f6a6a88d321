"""What an examination by `chio-fast doctor` gives: ok, a warning or an error, with what to do."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "warning", "error"]


class Diagnosis(msgspec.Struct, frozen=True):
    """One line of `chio-fast doctor`.

    Attributes:
        what: the thing examined.
        status: `ok`, `warning` or `error`.
        message: what was found.
        remedy: what to do; empty if there is nothing to do.
    """

    what: str
    status: Status
    message: str
    remedy: str = ""


def ok(what: str, message: str) -> Diagnosis:
    """Find that all is well."""
    return Diagnosis(what, "ok", message)


def warning(what: str, message: str, remedy: str) -> Diagnosis:
    """Find something that works but should not stay so."""
    return Diagnosis(what, "warning", message, remedy)


def error(what: str, message: str, remedy: str) -> Diagnosis:
    """Find something with which events would not be governed, or not at all."""
    return Diagnosis(what, "error", message, remedy)

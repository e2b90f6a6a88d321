"""Where a receipt log is: a file, or a database by its URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chio_fast import _native
from chio_fast.errors import LogOptionsError

if TYPE_CHECKING:
    from chio_fast._native import StrPath

_URL = re.compile(r"postgres(ql)?:")
_FOLDED_URL = re.compile(r"postgres(ql)?:/(?!/)")


class LogLocation(os.PathLike[str]):
    """Where a receipt log is.

    `str` and `repr` show a URL without its password; `os.fspath` gives the whole text, for whoever opens the log.

    Attributes:
        path: the file, where it is one; else None.
    """

    __slots__ = ("_shown", "_text", "path")

    def __init__(self, location: StrPath) -> None:
        self._text = os.fspath(location)
        self.path: Path | None = None
        if _FOLDED_URL.match(self._text):
            raise LogOptionsError(
                "the URL of a receipt log went through `Path`, which folds its slashes: give it as text", "options"
            )
        if _URL.match(self._text):
            self._shown = _native.show_location(self._text)
        else:
            self.path, self._shown = Path(self._text), self._text

    @classmethod
    def of(cls, location: StrPath) -> Self:
        """Give the location that a path or a URL names.

        Raises:
            LogOptionsError: a URL cannot be used.
        """
        return location if isinstance(location, cls) else cls(location)

    def exists(self) -> bool:
        """Whether there may be a log: a file is there; a database tells when it is asked."""
        return self.path is None or self.path.exists()

    def __fspath__(self) -> str:
        return self._text

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"LogLocation({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return self._text == os.fspath(other) if isinstance(other, str | os.PathLike) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

"""Volumes: small in `make test`, the documented ones in `make drill`."""

from __future__ import annotations

import os

DRILL = os.environ.get("CHIO_DRILL") == "1"


def volume(usual: int, drill: int) -> int:
    """Give `usual`, or `drill` when `CHIO_DRILL=1` asks for the long run."""
    return drill if DRILL else usual

"""How the tests wait for what a broker does in its own time."""

from __future__ import annotations

import time
from collections.abc import Iterator

PATIENCE = 45.0
"""Seconds after which a test that waits for something gives up."""


def patiently(what: str, timeout: float = PATIENCE) -> Iterator[int]:
    """Lets a loop go round until it breaks off; fails when that takes too long."""
    deadline = time.monotonic() + timeout
    turn = 0
    while time.monotonic() < deadline:
        yield turn
        turn += 1
    raise AssertionError(f"waited {timeout:g} s in vain for {what}")

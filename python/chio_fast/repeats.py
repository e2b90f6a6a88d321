"""What consumers are told to do with events that were decided before, and with those that were sent twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, get_args

import msgspec

from chio_fast.errors import ChioConfigError

OnReplay = Literal["re-evaluate", "honor"]
OnDuplicate = Literal["record", "deny"]

MAX_REMEMBERED = 1_000_000
"""Ids that are remembered at most, however long the window is."""


class Duplicates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How duplicates are recognised, and what becomes of them.

    Attributes:
        header: the header with the id that the producer gives; events without it are never duplicates.
        window: how long an id is remembered: that many events, or that much time, up to a million events.
        action: `record`: a duplicate is decided and handed out like any event, and its receipt says of what it is a
            duplicate; `deny`: it is denied by the rule `duplicate`, and goes to the DLQ.

    Raises:
        ChioConfigError: a value makes no sense.
    """

    header: str = "X-Message-Id"
    window: int | timedelta = 100_000
    action: OnDuplicate = "record"

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ChioConfigError: a value makes no sense.
        """
        if not self.header:
            raise ChioConfigError('`header` of duplicates is empty; write the name of one, such as "X-Message-Id"')
        if self.action not in get_args(OnDuplicate):
            raise ChioConfigError(f"`action` of duplicates is `{self.action}`; write `record` or `deny`")
        if isinstance(self.window, int) and not 1 <= self.window <= MAX_REMEMBERED:
            raise ChioConfigError(f"`window` of duplicates is {self.window}; write 1 to {MAX_REMEMBERED} events")
        if isinstance(self.window, timedelta) and self.window <= timedelta(0):
            raise ChioConfigError(f"`window` of duplicates is {self.window}; write a time above 0")

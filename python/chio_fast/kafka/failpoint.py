"""Places where tests end or disturb the process. Nothing but tests sets `CHIO_TEST_FAILPOINT`.

`CHIO_TEST_FAILPOINT="4:kill@2"` kills the process with SIGKILL right after step 4 of its second transaction; `pause`
instead of `kill` stops it with SIGSTOP, and `raise` makes the step fail as if the broker had refused it. Several are
joined by commas. The steps are those of `exactly_once`.
"""

from __future__ import annotations

import os
import signal

from chio_fast.errors import ChioError

VARIABLE = "CHIO_TEST_FAILPOINT"
SIGNALS = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP}


class FailpointError(ChioError):
    """A test asked for this failure."""


def _parse(text: str) -> dict[int, tuple[str, int]]:
    plan = {}
    for item in filter(None, text.split(",")):
        step, _, action = item.partition(":")
        action, _, nth = action.partition("@")
        plan[int(step)] = (action, int(nth or 1))
    return plan


_plan = _parse(os.environ.get(VARIABLE, ""))
_reached: dict[int, int] = {}


def reach(step: int) -> None:
    """Note that `step` is done; does nothing unless a test has asked for something."""
    if step not in _plan:
        return
    action, nth = _plan[step]
    _reached[step] = _reached.get(step, 0) + 1
    if _reached[step] == nth:
        if action in SIGNALS:
            os.kill(os.getpid(), SIGNALS[action])
            return
        raise FailpointError(f"failpoint {step} was reached {nth} times")

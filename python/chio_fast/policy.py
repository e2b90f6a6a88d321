"""Policies, where one comes from, and watching the file of one."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from chio_fast import settings
from chio_fast._native import Policy
from chio_fast.errors import ChioConfigError, ChioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chio_fast._native import StrPath

__all__ = ["Policy", "PolicyWatcher"]

log = logging.getLogger("chio_fast.policy")

DEFAULT_INTERVAL = 1.0
"""Seconds between two looks at a policy file."""


class PolicyWatcher:
    """Looks at a policy file now and then and hands over each new policy.

    The content counts, not the time stamp: a file that is written again with the same content changes nothing, and one
    that changes twice within the resolution of its time stamp is noticed. A file that is no policy, or that the
    receiver refuses, is reported once at level ERROR and counted; the former policy stays.

    Args:
        path: the policy file.
        interval: seconds between looks.

    Attributes:
        policy: the one that was taken over last.
        reloads: policies taken over since the first.
        failures: changes of the file that were refused.
        last_error: why the last look took nothing over, if it was for a fault.

    Raises:
        ChioConfigError: the interval is not positive.
        PolicyError: the file is not a policy now.
    """

    def __init__(self, path: str | os.PathLike[str], *, interval: float = DEFAULT_INTERVAL) -> None:
        if interval <= 0:
            raise ChioConfigError(f"`interval` is {interval}; write the seconds between looks at the policy file")
        self.path = Path(path)
        self.interval = interval
        self.reloads = 0
        self.failures = 0
        self.last_error: str | None = None
        self.policy = Policy.from_file(self.path)
        self._seen = self._fingerprint()
        self._apply: Callable[[Policy], None] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()

    def start(self, apply: Callable[[Policy], None]) -> None:
        """Look from now on, in a thread of its own.

        Args:
            apply: gets each new policy; what it raises counts as a refusal.
        """
        if self._thread is not None:
            raise ChioConfigError("this `PolicyWatcher` already serves an enforcer; give each its own")
        self._apply = apply
        self._thread = threading.Thread(target=self._watch, name="chio-policy-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def look(self) -> bool:
        """Look now; True if a new policy was taken over."""
        with self._looking:
            seen = self._fingerprint()
            if seen == self._seen:
                return False
            self._seen = seen
            try:
                policy = Policy.from_file(self.path)
                if self._apply is not None:
                    self._apply(policy)
            except ChioError as error:
                self.failures += 1
                self.last_error = str(error)
                log.error("the changed policy is not taken over, version %s stays: %s", self.policy.version, error)
                return False
            changed = policy.version != self.policy.version
            self.policy, self.last_error = policy, None
            self.reloads += changed
            return changed

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            try:
                self.look()
            except Exception:
                log.exception("looking at policy `%s` failed; the former policy stays", self.path)

    def _fingerprint(self) -> bytes | None:
        """Give the hash of the content; None for a file that cannot be read, so that this too is noticed once."""
        try:
            return hashlib.blake2b(self.path.read_bytes()).digest()
        except OSError:
            return None


def policy_from(
    given: Policy | PolicyWatcher | StrPath | None, watch: bool | float
) -> tuple[Policy, PolicyWatcher | None]:
    """Give the policy that an argument means, and what watches its file if that is wanted.

    Args:
        given: a policy, the path of one, or a watcher; by default the path in `CHIO_POLICY`.
        watch: look at the file for changes, every second or every so many seconds.

    Raises:
        ChioConfigError: there is no policy, or no file to watch.
        PolicyError: the policy is malformed.
    """
    if isinstance(given, PolicyWatcher):
        return given.policy, given
    if isinstance(given, Policy):
        if not watch:
            return given, None
        file = file_of(given)
        if file is None:
            raise ChioConfigError("`watch` needs a policy file; give its path as `policy`")
        path = file
    else:
        path = settings.policy_path() if given is None else Path(os.fspath(given))
    if watch:
        watcher = PolicyWatcher(path) if watch is True else PolicyWatcher(path, interval=watch)
        return watcher.policy, watcher
    return Policy.from_file(path), None


def file_of(policy: Policy) -> Path | None:
    """Give the file that a policy came from; None where its text came from elsewhere."""
    return None if policy.source.startswith("<") else Path(policy.source)

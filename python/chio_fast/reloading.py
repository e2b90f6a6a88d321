"""How another policy takes the place of the one by which an enforcer decides."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from chio_fast._native import Policy
from chio_fast.errors import ChioConfigError, ChioError
from chio_fast.policy import file_of

if TYPE_CHECKING:
    from chio_fast._native import Gate, StrPath
    from chio_fast.guards import GuardRunner
    from chio_fast.policy import PolicyWatcher

log = logging.getLogger("chio_fast")


class Reloading:
    """Hands new policies to a gate: those that it is told to take, and those that a watcher finds, from now on.

    Args:
        gate: decides.
        guards: have to hold every guard that a policy names.
        watcher: looks at the file of the policy; None if nobody does.

    Attributes:
        reloads: policies taken over.

    Raises:
        ChioConfigError: the watcher serves another enforcer.
    """

    def __init__(self, gate: Gate, guards: GuardRunner, watcher: PolicyWatcher | None) -> None:
        self._gate = gate
        self._guards = guards
        self._watcher = watcher
        self._lock = threading.Lock()
        self._refused = 0
        self.reloads = 0
        if watcher is not None:
            watcher.start(self._take_over)

    @property
    def failures(self) -> int:
        """Policies refused, the former one kept."""
        return self._refused + (self._watcher.failures if self._watcher is not None else 0)

    def reload(self, policy: Policy | StrPath | None) -> str:
        """Take over a policy, the one in a file, or by default what stands in the present one's file now.

        Returns:
            The version by which the gate decides now.

        Raises:
            PolicyError: it is malformed; the former one stays.
            ChioConfigError: it names a guard that is not registered, or there is no file; the former one stays.
        """
        try:
            if policy is None:
                policy = file_of(self._gate.policy)
                if policy is None:
                    raise ChioConfigError("the policy came from no file; give the new one, `reload(policy)`")
            self._take_over(policy if isinstance(policy, Policy) else Policy.from_file(policy))
        except ChioError as error:
            self._refused += 1
            log.error("the new policy is not taken over, version %s stays: %s", self._gate.policy.version, error)
            raise
        return self._gate.policy.version

    def stop(self) -> None:
        """Look at the file no more."""
        if self._watcher is not None:
            self._watcher.stop()

    def _take_over(self, policy: Policy) -> None:
        self._guards.require(policy)
        with self._lock:
            if policy.version == self._gate.policy.version:
                return
            self._gate.set_policy(policy)
            self.reloads += 1
        log.info("policy version %s is in force", policy.version)

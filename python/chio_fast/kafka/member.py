"""Which member of its group a processor is: a name that stays the same over restarts and is nobody else's meanwhile."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

from chio_fast.errors import ChioConfigError

MEMBER = "CHIO_MEMBER"
"""Environment variable that names the member."""
MAX_SLOTS = 1000


class Member:
    """The name of a member, held until `release` or the end of the process.

    The name is the one given, else that in `CHIO_MEMBER`, else `group.instance.id`, else host and the lowest slot that
    no other process of this host and group holds: an OS lock, which ends with the process, so that a restart takes the
    slot again and with it the transactional id.

    Args:
        group: the consumer group.
        given: the name, if the application gives one.
        instance: `group.instance.id` of the configuration.
        transactional_id: instead of `{group}-{name}`.
        folder: where lock files lie; one for all processes of a host.
    """

    def __init__(
        self,
        group: str,
        given: str | None,
        instance: str | None,
        folder: Path | None = None,
        *,
        transactional_id: str | None = None,
    ) -> None:
        self._lock: IO[str] | None = None
        self.name = given or os.environ.get(MEMBER) or instance or ""
        if not self.name:
            self.name = f"{socket.gethostname()}-{self._slot(group, folder or _shared_folder())}"
        self.transactional_id = transactional_id or f"{group}-{self.name}"

    def transactional_ids(self, tracks: int) -> list[str]:
        """Give the transactional id of each track; that of the first one is the member's."""
        return [self.transactional_id, *(f"{self.transactional_id}/{track}" for track in range(1, tracks))]

    def release(self) -> None:
        """Give the name up."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _slot(self, group: str, folder: Path) -> int:
        digest = hashlib.sha256(group.encode()).hexdigest()[:16]
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for slot in range(MAX_SLOTS):
                lock = (folder / f"{digest}-{slot}").open("a")
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.close()
                    continue
                self._lock = lock
                return slot
        except OSError as error:
            raise ChioConfigError(
                f"no slot can be locked in `{folder}`: {error}; write `member=`, a name of this instance's own"
            ) from error
        raise ChioConfigError(f"{MAX_SLOTS} members of group `{group}` run on this host; write `member=`")


def _shared_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"chio-members-{os.getuid()}"

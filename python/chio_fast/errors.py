"""Every exception that chio_fast raises, in one tree under `ChioError`.

The extension `chio_fast._native` imports them from here and maps its own failures onto them in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chio_fast.decision import Decision
    from chio_fast.records import VerifyReport


class ChioError(Exception):
    """Anything that chio_fast refuses or that fails inside it."""


class ChioConfigError(ChioError, ValueError):
    """A setting or argument is missing, contradictory or unsafe; the message says what to write instead."""


class PolicyError(ChioError, ValueError):
    """A policy document is malformed, or names something that is not there.

    Attributes:
        source: file name or description of where the text came from.
        line: line of the document, from 1, where it is known.
        rule: id of the rule at fault, where there is one.
    """

    def __init__(self, message: str, source: str = "", line: int | None = None, rule: str | None = None) -> None:
        super().__init__(message)
        self.source = source
        self.line = line
        self.rule = rule


class GuardError(ChioError):
    """Guards cannot run any longer, so nothing can be decided: the pool is full of guards that do not return."""


class ChioDenied(ChioError):  # noqa: N818 - the name is part of the documented surface
    """A tool call or an event to be produced was not allowed, so the tool did not run and nothing was sent.

    Attributes:
        decision: what was decided, with its receipt id; its verdict is `deny`, `escalate` or `delay`.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(
            f"`{decision.identity}` may not use `{decision.scope}`: {decision.verdict} by "
            f"{f'rule `{decision.rule}`' if decision.rule else 'default'}: {decision.reason}"
        )
        self.decision = decision


class ChioRevoked(ChioError):  # noqa: N818 - the name is part of the documented surface
    """An event's partition was revoked, lost or sought since it was handed out: nothing may be done for it any more."""

    @classmethod
    def of(cls, request: str, consequence: str) -> Self:
        """Say of which event (`Event.request`), and what was not done or follows."""
        return cls(f"`{request}` is not held here any longer: its partition was revoked, lost or sought; {consequence}")


class ChioCallUnknown(ChioError):  # noqa: N818 - says what is known of the call, not that asking failed
    """Whether a tool call did its work is not known, and the tool's `on_unknown` does not let it be made again.

    A tool may raise it itself, when it cannot tell.
    """


class ChioCallDiverged(ChioError):  # noqa: N818 - likewise
    """A handler does not repeat the tool calls that it made when its event was delivered before."""


class ChioCommitError(ChioError):
    """Offsets could not be committed; the events since the last commit are delivered again after a restart."""


class ChioAutoCommitError(ChioCommitError):
    """Somebody else moved the group's committed offsets: most often an `enable.auto.commit` that was left on."""


class ChioDeadLetterError(ChioError):
    """A denial did not reach its DLQ topic, so the offsets behind it are not committed."""


class ChioDeliveryError(ChioError):
    """A cluster did not take an event that was to be produced."""


class ChioHandlerError(ChioError):
    """A handler failed and the processor was told to stop then; the event is delivered again after a restart."""


class Aborted(ChioError):  # noqa: N818 - the words of the transaction protocol
    """A transaction failed and nothing of it will be visible: abort it, seek its inputs back, begin another."""


class DeliveryFailed(Aborted):
    """Records of a transaction were refused.

    Attributes:
        charges: what the caller passed along with each refused record, and why it was refused.
    """

    def __init__(self, message: str, charges: Sequence[tuple[Any, Any]]) -> None:
        super().__init__(message)
        self.charges = list(charges)


class Unclean(ChioError):  # noqa: N818 - the word of the transaction protocol
    """What became of a transaction shows only by reading: renew the producer, then look for its checkpoint record."""


class Fenced(Unclean):
    """The producer may not go on: another instance uses its transactional id, or its transaction timed out.

    Attributes:
        timed_out: whether the transaction was open for longer than its timeout, which explains it without another
            instance.
    """

    def __init__(self, message: str, *, timed_out: bool) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Relieved(ChioError):  # noqa: N818 - the word of whoever went on
    """A call of the client returned after all; another thread has taken the place of the one that made it."""


class CheckpointsError(ChioError):
    """The checkpoint topic could not be read; what was asked stays open and may be asked again."""


class CheckpointsTrimmed(CheckpointsError):  # noqa: N818 - says what happened to them, not that asking failed
    """Checkpoint records were deleted, so that the topic no longer tells what became of a transaction."""


class ContradictionError(ChioError):
    """Kafka shows another outcome of a batch than the receipt log holds; the contradiction is recorded."""


class JournalError(ChioError):
    """The journal of tool calls refuses or fails; no tool is called without it."""


class VerifyError(ChioError):
    """A receipt, batch or log is not authentic, or contradicts itself.

    Attributes:
        report: what was found, where a whole log was verified: a `chio_fast.records.VerifyReport`.
    """

    def __init__(self, message: str, report: VerifyReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class SigningKeyError(ChioError):
    """A signing key or trust file is missing, malformed, readable by others, or not the one that the log expects."""


class LogError(ChioError):
    """The receipt log refuses or fails; without evidence nothing is committed.

    Attributes:
        code: stable word for the kind of failure, such as `full` or `claimed`.
    """

    def __init__(self, message: str, code: str = "io") -> None:
        super().__init__(message)
        self.code = code


class LogMissingError(LogError):
    """There is no receipt log at this path."""


class LogForeignError(LogError):
    """The file is not a receipt log."""


class LogNewerError(LogError):
    """The log was written by a newer version of chio_fast."""


class LogCorruptError(LogError):
    """What is stored contradicts itself."""


class LogReadOnlyError(LogError):
    """The log cannot be written by this user or on this file system."""


class LogFullError(LogError):
    """There is no room left for another batch."""


class LogNetworkFileSystemError(LogError):
    """The log would lie on a file system whose locks and syncs cannot be relied upon."""


class LogClaimedError(LogError):
    """Another process, or another log object of this one, writes under this issuer's name."""


class LogSupersededError(LogError):
    """Somebody else appended under this issuer's name although this process held the claim."""


class LogBehindError(LogError):
    """The log does not hold a checkpoint of its own that was anchored: its end was cut off, or it is an old copy."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "behind")


class LogKeyMismatchError(LogError, SigningKeyError):
    """The issuer's last checkpoint was signed with another key, and no rotation was recorded."""


class LogOptionsError(LogError, ChioConfigError):
    """Options contradict those with which this process opened the log before, or are out of range."""


class LogForkedError(LogError):
    """The log was opened before a `fork` and used in the child, which must open its own."""


class LogClosedError(LogError):
    """The log was closed."""


class LogBusyError(LogError):
    """Another process held the write lock for too long."""


class LogStateError(LogError):
    """A batch's state does not allow this outcome."""


class LogUnavailableError(LogError):
    """The database server cannot be reached, or went away and did not come back in time."""


class LogServerError(LogError):
    """The database server refuses what the log needs."""


class LogImportError(LogError):
    """Frames of another log are not authentic, or leave a gap or a fork; nothing of their file was taken over."""


class ReceiptNotFoundError(LogError, LookupError):
    """No such receipt or batch in this log."""


class LogQueryError(LogError, ValueError):
    """A query is malformed."""


LOG_ERRORS: dict[str, type[LogError]] = {
    "missing": LogMissingError,
    "foreign": LogForeignError,
    "newer": LogNewerError,
    "corrupt": LogCorruptError,
    "read_only": LogReadOnlyError,
    "full": LogFullError,
    "network_file_system": LogNetworkFileSystemError,
    "claimed": LogClaimedError,
    "superseded": LogSupersededError,
    "key_mismatch": LogKeyMismatchError,
    "options": LogOptionsError,
    "forked": LogForkedError,
    "closed": LogClosedError,
    "busy": LogBusyError,
    "state": LogStateError,
    "unavailable": LogUnavailableError,
    "server": LogServerError,
    "import": LogImportError,
    "not_found": ReceiptNotFoundError,
    "query": LogQueryError,
}
"""Exception by the native failure's code; `key` is a `SigningKeyError`, every other code the plain `LogError`."""

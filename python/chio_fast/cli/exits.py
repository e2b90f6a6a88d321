"""The exit codes of `chio-fast`: one table for every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What an exit status means; `MEANING` has the sentences that the help prints."""

    OK = 0
    NO = 1
    USAGE = 2
    INPUT = 3
    LOG = 4
    KAFKA = 5
    OUTCOME_UNKNOWN = 6
    HANDLER = 7
    BUG = 70
    INTERRUPTED = 130


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done, and the answer is yes",
    ExitCode.NO: "done, and the answer is no: a case, check or verification failed, or nothing was found",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.INPUT: "a policy, configuration, key or file is missing, malformed or refused",
    ExitCode.LOG: "the receipt log, or the journal of tool calls, refuses or fails",
    ExitCode.KAFKA: "the cluster cannot be reached, or refuses",
    ExitCode.OUTCOME_UNKNOWN: "`verify`: authentic, but the outcome of a transaction is not known, "
    "or there is no anchor; `reconcile`: nothing is wrong, but something cannot be verified",
    ExitCode.HANDLER: "`process`: a handler failed and there is no error topic, "
    "or nobody knows what became of a tool call",
    ExitCode.BUG: "an error that nobody expected; set CHIO_DEBUG=1 to see where",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}

"""The application `chio-fast`: its command groups, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from chio_fast.cli import output
from chio_fast.cli.exits import MEANING, ExitCode
from chio_fast.errors import (
    Aborted,
    CheckpointsError,
    ChioCallDiverged,
    ChioCallUnknown,
    ChioCommitError,
    ChioDeadLetterError,
    ChioDeliveryError,
    ChioError,
    ChioHandlerError,
    ContradictionError,
    JournalError,
    LogError,
    LogImportError,
    LogMissingError,
    LogQueryError,
    ReceiptNotFoundError,
    SigningKeyError,
    Unclean,
    VerifyError,
)

OF_THE_CLUSTER = (ChioDeadLetterError, ChioDeliveryError, ChioCommitError, Aborted, Unclean, CheckpointsError)

EPILOG = "**Exit codes**\n\n" + "\n\n".join(f"{code.value}  {meaning}" for code, meaning in MEANING.items())


class ChioGroup(TyperGroup):
    """The root command: turns every exception into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        Raises:
            typer.Exit: with the code of the error, if there was one.
        """
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our pipe (`head`) has seen enough; what is still buffered must not fail at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except Exception as error:
            if os.environ.get("CHIO_DEBUG"):
                raise
            code = exit_code(error)
            output.fail(describe(error) if code is not ExitCode.BUG else f"unexpected: {error!r}; {MEANING[code]}")
            raise typer.Exit(code) from None


def exit_code(error: Exception) -> ExitCode:
    """The exit code for an exception."""
    if isinstance(error, VerifyError | ReceiptNotFoundError | LogImportError):
        return ExitCode.NO
    if isinstance(error, JournalError | ContradictionError) or (
        isinstance(error, LogError) and not isinstance(error, LogQueryError | LogMissingError | SigningKeyError)
    ):
        return ExitCode.LOG
    if isinstance(error, OF_THE_CLUSTER) or _is_kafka(error):
        return ExitCode.KAFKA
    if isinstance(error, ChioHandlerError | ChioCallUnknown | ChioCallDiverged):
        return ExitCode.HANDLER
    if isinstance(error, ChioError | OSError | ValueError):
        return ExitCode.INPUT
    return ExitCode.BUG


def describe(error: Exception) -> str:
    """One line that says what was wrong."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"`{error.filename}`: {error.strerror.lower()}"
    if _is_kafka(error) and error.args and hasattr(error.args[0], "str"):
        kafka_error = error.args[0]
        return f"kafka: {kafka_error.name()}: {kafka_error.str()}; check the brokers with `chio-fast doctor`"
    return " ".join(str(error).split("\n"))


def _is_kafka(error: Exception) -> bool:
    # The client is imported only by commands that need it, so its classes may not exist here.
    client = sys.modules.get("confluent_kafka")
    return client is not None and isinstance(error, client.KafkaException)


app = typer.Typer(
    cls=ChioGroup,
    name="chio-fast",
    help="Policy enforcement with signed receipts for agents that live on Kafka.\n\n"
    "Start with `chio-fast demo`: it runs everything on an embedded broker and leaves files to look at.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

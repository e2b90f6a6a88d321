"""The application `chio-fast`: its command groups, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chio_fast.cli import output
from chio_fast.cli.exits import MEANING, ExitCode
from chio_fast.cli.output import Output
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

if TYPE_CHECKING:
    from collections.abc import Sequence

OF_THE_CLUSTER = (ChioDeadLetterError, ChioDeliveryError, ChioCommitError, Aborted, Unclean, CheckpointsError)

EPILOG = "**Exit codes**\n" + "\n".join(f"- {code.value}  {meaning}" for code, meaning in MEANING.items())


class ChioGroup(TyperGroup):
    """The root command: turns every exception into one line and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, and end the process with its exit code.

        Raises:
            SystemExit: always, if `standalone_mode`.
        """
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.TyperException as error:
            if message := usage(error):
                output.fail(message)
            sys.exit(error.exit_code)
        sys.exit(code or ExitCode.OK)

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
            output.fail(describe(error))
            raise typer.Exit(exit_code(error)) from None


def exit_code(error: Exception) -> ExitCode:
    """The exit code for an exception."""
    if isinstance(error, VerifyError | ReceiptNotFoundError | LogImportError):
        return ExitCode.NO
    if isinstance(error, JournalError | ContradictionError) or (
        isinstance(error, LogError) and not isinstance(error, LogQueryError | LogMissingError | SigningKeyError)
    ):
        return ExitCode.LOG
    if isinstance(error, OF_THE_CLUSTER) or (_is_kafka(error) and not _is_of_a_setting(error)):
        return ExitCode.KAFKA
    if isinstance(error, ChioHandlerError | ChioCallUnknown | ChioCallDiverged):
        return ExitCode.HANDLER
    if isinstance(error, ChioError | OSError | ValueError) or _is_kafka(error):
        return ExitCode.INPUT
    return ExitCode.BUG


def describe(error: Exception) -> str:
    """One line that says what was wrong."""
    if exit_code(error) is ExitCode.BUG:
        return f"unexpected: {error!r}; set CHIO_DEBUG=1 to see where"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"`{error.filename}`: {error.strerror.lower()}"
    if _is_of_a_setting(error):
        return f"setting of the client: {error.args[0].str()}"
    if _is_kafka(error) and error.args and hasattr(error.args[0], "str"):
        kafka_error = error.args[0]
        return f"kafka: {kafka_error.name()}: {kafka_error.str()}; check the brokers with `chio-fast doctor`"
    return " ".join(str(error).split("\n"))


def usage(error: typer.TyperException) -> str:
    """One line that says what is wrong with the command line; empty if the help was printed instead."""
    # Typer exports no name of this class; its message is the help, which stands on the screen already.
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if context is None:
        return message
    message = re.sub(r"'([^']*)'", r"`\1`", message[:1].lower() + message[1:]).replace("Value error, ", "").rstrip(".")
    return f"{message}{' ' if message.endswith('?') else '; '}see `{context.command_path} -h`"


def _is_kafka(error: Exception) -> bool:
    # The client is imported only by commands that need it, so its classes may not exist here.
    client = sys.modules.get("confluent_kafka")
    return client is not None and isinstance(error, client.KafkaException)


def _is_of_a_setting(error: Exception) -> bool:
    return _is_kafka(error) and getattr(error.args[0], "name", str)() == "_INVALID_ARG"


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        Output().line(f"chio-fast {version('chio-fast')}")
        raise typer.Exit


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


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""

"""The command line `chio-fast`: one module for each group of commands."""

from __future__ import annotations

import signal


def main() -> None:
    """Run `chio-fast` on the process's arguments."""
    # While the commands are being loaded nothing has begun, so Ctrl-C may end the process at once and in silence.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from chio_fast.cli.commands import app

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="chio-fast")

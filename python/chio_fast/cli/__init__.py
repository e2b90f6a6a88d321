"""The command line `chio-fast`: one module for each group of commands."""

from __future__ import annotations


def main() -> None:
    """Run `chio-fast` on the process's arguments."""
    from chio_fast.cli.commands import app

    app()

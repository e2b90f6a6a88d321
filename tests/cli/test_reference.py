"""The page about the command line says what the program does: every command, every exit code."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from chio_fast.cli.commands import app
from chio_fast.cli.exits import MEANING

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()


def _commands() -> set[str]:
    found = {f"chio-fast {_name(command)}" for command in app.registered_commands}
    for group in app.registered_groups:
        assert isinstance(group.typer_instance, typer.Typer)
        found |= {f"chio-fast {group.name} {_name(command)}" for command in group.typer_instance.registered_commands}
    return found


def _name(command: typer.models.CommandInfo) -> str:
    assert command.callback is not None
    return command.name or command.callback.__name__.replace("_", "-")


def test_every_command_is_on_the_page_and_no_other() -> None:
    assert set(re.findall(r"^\| `(chio-fast [a-z -]+)` \|", PAGE, re.MULTILINE)) == _commands()


def test_every_exit_code_is_on_the_page_with_its_meaning() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE))
    assert table == {str(code.value): meaning for code, meaning in MEANING.items()}

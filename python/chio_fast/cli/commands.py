"""The application with every command group attached."""

from __future__ import annotations

from chio_fast.cli import dlq, doctor, enforce, policy
from chio_fast.cli.app import app

app.command()(enforce.enforce)
app.command()(doctor.doctor)
app.add_typer(policy.app, name="policy")
app.add_typer(dlq.app, name="dlq")

__all__ = ["app"]

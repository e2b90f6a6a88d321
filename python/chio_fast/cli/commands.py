"""The application with every command group attached."""

from __future__ import annotations

from chio_fast.cli import anchors, demo, dlq, doctor, enforce, key, policy, process, receipt, reconcile, verify
from chio_fast.cli.app import app

app.command()(demo.demo)
app.command()(enforce.enforce)
app.command()(process.process)
app.command()(doctor.doctor)
app.command()(verify.verify)
app.command()(reconcile.reconcile)
app.command()(anchors.anchors)
app.add_typer(policy.app, name="policy")
app.add_typer(dlq.app, name="dlq")
app.add_typer(receipt.app, name="receipt")
app.add_typer(key.app, name="key")

__all__ = ["app"]

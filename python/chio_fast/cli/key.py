"""`chio-fast key`: make, look at and change signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chio_fast.cli import options
from chio_fast.cli.output import Output
from chio_fast.cli.receipt import open_log
from chio_fast.keys import Signer, TrustFile, rotate_key

app = typer.Typer(
    help="Signing keys. The secret stays in its file, which nobody but its owner may read; what is printed is public.",
    no_args_is_help=True,
)

KeyFile = Annotated[Path, typer.Argument(help="The key file.")]


@app.command()
def generate(
    path: KeyFile,
    trust: Annotated[
        Path | None,
        typer.Option(help="Trust file with which others verify what the key signs; made, or the key is added to it."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Create a key file of mode 0600; an existing file is refused.

    Example: `chio-fast key generate signing.key --trust trust.json`
    """
    trusted = TrustFile.load(trust) if trust is not None and trust.exists() else TrustFile()
    signer = Signer.generate(path)
    if trust is not None:
        trusted.keys += TrustFile.of(signer.public_key).keys
        trusted.save(trust)
    _print(Output(as_json), path, signer)


@app.command()
def show(path: KeyFile, as_json: options.Json = False) -> None:
    """Print the public key and its id.

    Example: `chio-fast key show signing.key`
    """
    _print(Output(as_json), path, Signer.from_file(path))


def _print(output: Output, path: Path, signer: Signer) -> None:
    told = {"file": str(path), "key_id": signer.key_id, "public_key": signer.public_key.hex()}
    if output.as_json:
        output.json(told)
    else:
        output.fields(list(told.items()))


@app.command()
def rotate(
    path: Annotated[Path, typer.Argument(help="The key file whose key is replaced; the former one is kept beside it.")],
    log: options.Log = options.DEFAULT_LOG,
    new: Annotated[Path | None, typer.Option(help="Take over this existing key instead of making a new one.")] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Trust file to bring up to date: the former key retired, the new one active.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Let another key follow the one that signs a receipt log.

    The log records that the new key follows, so that issuers accept it at their next start; without that they refuse.
    Stop the programs that issue into the log first. Give the trust file to those who verify.

    Example: `chio-fast key rotate receipts.db-key --log receipts.db --trust trust.json`
    """
    output = Output(as_json)
    receipts = open_log(log)
    trusted = TrustFile.load(trust) if trust is not None else None
    signer = Signer.from_file(new) if new is not None else Signer.replace(path)
    rotations, updated = rotate_key(receipts.location, signer, trusted)
    if trust is not None and updated is not None:
        updated.save(trust)
    if output.as_json:
        output.json({"key_id": signer.key_id, "public_key": signer.public_key.hex(), "rotations": rotations})
        return
    _print(output, new or path, signer)
    output.line()
    output.table(
        ("issuer", "former key", "last checkpoint"),
        ((rotation.issuer, rotation.former, rotation.last_checkpoint) for rotation in rotations),
    )
    if trust is None:
        output.note("give --trust to bring a trust file up to date for those who verify")

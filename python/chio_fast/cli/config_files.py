"""Reading the configuration files of commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from chio_fast.cli.enforce_config import EnforceConfig
from chio_fast.cli.run_config import RunConfig
from chio_fast.errors import ChioConfigError
from chio_fast.location import LogLocation

if TYPE_CHECKING:
    from chio_fast.cli.process_config import ProcessConfig

Form = TypeVar("Form", bound=RunConfig)


def load(file: Path | None, form: type[Form]) -> Form:
    """Read the file of one command; its relative paths are relative to it.

    Raises:
        ChioConfigError: it is malformed.
        OSError: it cannot be read.
    """
    if file is None:
        return form()
    try:
        config = msgspec.yaml.decode(file.read_bytes(), type=form)
    except msgspec.DecodeError as error:
        raise ChioConfigError(f"`{file}`: {error}; see `chio-fast {form.COMMAND} --example` for the form") from None
    for name in ("policy", "receipt_log", "signing_key", "journal"):
        given = getattr(config, name, None)
        if given and LogLocation(given).path is not None:
            setattr(config, name, str(file.parent / Path(given).expanduser()))
    return config


def load_either(file: Path | None) -> EnforceConfig | ProcessConfig:
    """Read the file of `enforce` or of `process`, whichever it is: only topics of the latter have handlers.

    Raises:
        ChioConfigError: it is malformed.
        OSError: it cannot be read.
    """
    if file is not None and _has_handlers(file):
        from chio_fast.cli.process_config import ProcessConfig

        return load(file, ProcessConfig)
    return load(file, EnforceConfig)


def _has_handlers(file: Path) -> bool:
    try:
        topics = msgspec.yaml.decode(file.read_bytes())["topics"].values()
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return False
    return any(isinstance(topic, str) or (isinstance(topic, dict) and "handler" in topic) for topic in topics)

"""Objects that are named in settings, as `module:name`."""

from __future__ import annotations

import importlib
from typing import Any

from chio_fast.errors import ChioConfigError


def load(spelled: str, setting: str) -> Any:
    """Import what `module:name` names; `name` may have dots, for something inside it.

    Args:
        spelled: the name.
        setting: where it is written, for messages.

    Raises:
        ChioConfigError: it is not of that form, or there is no such thing.
    """
    module_name, colon, path = spelled.partition(":")
    if not (module_name and colon and path):
        raise ChioConfigError(f"{setting}: `{spelled}` names nothing; write `module:name`")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ChioConfigError(f"{setting}: module `{module_name}` cannot be imported: {error}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ChioConfigError(f"{setting}: there is no `{path}` in module `{module_name}`") from None
    return found

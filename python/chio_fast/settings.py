"""What comes from the environment when an argument is not given.

| variable | meaning | without it |
|---|---|---|
| `CHIO_POLICY` | path of the policy file | construction fails |
| `CHIO_RECEIPT_LOG` | path or URL of the receipt log | `chio-receipts.db` in the working directory |
| `CHIO_SIGNING_KEY` | 64 hexadecimal digits of a seed, or the path of a key file | the log's own key file |
| `CHIO_IDENTITY` | who acts | construction fails where an identity is needed |
| `CHIO_TOOLS` | `module:name` of a dictionary of tools, names to functions | tools are those that code registers |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chio_fast._native import Signer
from chio_fast.errors import ChioConfigError
from chio_fast.loading import load
from chio_fast.location import LogLocation

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = "CHIO_POLICY"
RECEIPT_LOG = "CHIO_RECEIPT_LOG"
SIGNING_KEY = "CHIO_SIGNING_KEY"
IDENTITY = "CHIO_IDENTITY"
TOOLS = "CHIO_TOOLS"

DEFAULT_RECEIPT_LOG = Path("chio-receipts.db")


def policy_path() -> Path:
    """Path of the policy file.

    Raises:
        ChioConfigError: the environment names none.
    """
    path = os.environ.get(POLICY)
    if not path:
        raise ChioConfigError(
            'there is no policy, and nothing passes unevaluated: give `policy=Policy.from_file("policy.yaml")` or its '
            f"path, or set the environment variable `{POLICY}` to the path"
        )
    return Path(path)


def receipt_log_location() -> LogLocation:
    """Where the receipt log is.

    Raises:
        LogOptionsError: the environment holds a URL that cannot be used.
    """
    return LogLocation(os.environ.get(RECEIPT_LOG) or DEFAULT_RECEIPT_LOG)


def identity() -> str | None:
    """Who acts, where the environment says so."""
    return os.environ.get(IDENTITY) or None


def signer() -> Signer | None:
    """Whose key signs, where the environment says so.

    Raises:
        SigningKeyError: the environment holds neither a seed nor the path of a usable key file.
    """
    value = os.environ.get(SIGNING_KEY)
    if not value:
        return None
    return Signer.from_file(value) if os.sep in value or Path(value).exists() else Signer.from_env(SIGNING_KEY)


def tools() -> Mapping[str, Callable[..., Any]]:
    """Functions behind tools, where the environment names some.

    Raises:
        ChioConfigError: it names nothing, or something else.
    """
    spelled = os.environ.get(TOOLS)
    if not spelled:
        return {}
    found = load(spelled, f"environment variable `{TOOLS}`")
    if not isinstance(found, Mapping) or not all(map(callable, found.values())):
        raise ChioConfigError(f"`{spelled}` in `{TOOLS}` is no dictionary of names and functions; write one there")
    return found

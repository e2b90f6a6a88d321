"""The test vectors of the receipt format."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "vectors"


def load(name: str) -> Any:
    """Read one file of vectors."""
    return json.loads((FOLDER / name).read_text())


def named(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Give arguments for ``parametrize`` that run each case under its name."""
    return {"argvalues": cases, "ids": [case["name"] for case in cases]}

"""The page about the architecture tells where everything is: a row for each module, and none of what is not there."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGE = ROOT / "python" / "chio_fast"


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    table = PAGE.partition("## python/chio_fast\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    modules = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.glob("*.py")}
    modules |= {f"kafka/{path.stem}" for path in (PACKAGE / "kafka").glob("*.py")} - {"kafka/__init__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"kafka"}
    assert named == modules | folders


def test_what_the_page_declares_is_in_the_sources() -> None:
    sources = {
        "python": [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")],
        "rust": [path for path in (ROOT / "rust").rglob("*.rs") if "target" not in path.parts],
    }
    kinds = {"python": "def|class", "rust": "fn|struct|enum|trait|mod"}
    for language, kind in kinds.items():
        text = "\n".join(path.read_text() for path in sources[language])
        declared = set(re.findall(rf"\b(?:{kind}) (\w+)", text))
        blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        assert blocks
        shown = {name for block in blocks for name in re.findall(rf"\b(?:{kind}) (\w+)", block)}
        assert shown <= declared

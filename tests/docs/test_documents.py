"""What README and guide show works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, run_document
from tests.kafka.broker import Broker

_LINK = re.compile(r"\[[^\]]+\]\((?P<target>[^)#\s]+)(#[^)]*)?\)")
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")] if path.is_file()
)


def test_every_block_of_guide_and_readme_runs(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # README reads from the topic that the guide has filled.
    for name, expected in (("docs/guide.md", 10), ("README.md", 1)):
        folder = tmp_path / Path(name).stem
        folder.mkdir()
        monkeypatch.chdir(folder)
        counts = run_document(ROOT / name, folder, broker.bootstrap)
        assert counts.get("python", 0) >= expected, counts


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    targets = [match["target"] for match in _LINK.finditer(document.read_text())]
    missing = [
        target for target in targets if not target.startswith("https://") and not (document.parent / target).exists()
    ]
    assert not missing

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


@pytest.mark.parametrize(("name", "expected"), [("docs/guide.md", 10), ("README.md", 1)])
def test_every_block_of_the_document_runs(
    name: str, expected: int, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "README.md":
        _make_topics(broker, "research-tasks", "research-dlq")
    counts = run_document(ROOT / name, tmp_path, broker.bootstrap)
    assert counts.get("python", 0) >= expected, counts


def _make_topics(broker: Broker, *names: str) -> None:
    """Makes the topics that README takes for given, unless the guide has made them on this broker before."""
    known = broker.admin.list_topics(timeout=10).topics
    for name in names:
        if name not in known:
            broker.create_topic(name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    targets = [match["target"] for match in _LINK.finditer(document.read_text())]
    missing = [
        target for target in targets if not target.startswith("https://") and not (document.parent / target).exists()
    ]
    assert not missing

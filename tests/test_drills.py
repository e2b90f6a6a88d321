"""The table of drills keeps the lines of drills that did not run this time."""

from __future__ import annotations

from pathlib import Path

from tests.drills import write_table


def test_a_drill_replaces_its_own_line_and_leaves_the_others(tmp_path: Path) -> None:
    document = tmp_path / "operations.md"
    document.write_text("# Operations\n\nText.\n")

    write_table(document, {"kill": {"kills": 100, "lost": 0}, "append": {"seed": 5}})
    write_table(document, {"kill": {"kills": 20_000, "lost": 0}})

    text = document.read_text()
    assert text.startswith("# Operations\n\nText.\n\n## Drills\n")
    assert "| kill | kills 20,000, lost 0 |" in text
    assert "| append | seed 5 |" in text
    assert text.count("| kill |") == 1
    assert text.count("| drill |") == 1

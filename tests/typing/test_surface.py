"""The public surface is typed: a user's program passes mypy's strict mode, and wrong ones do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api, stubtest

ROOT = Path(__file__).parents[2]


ALLOWED = "chio_fast._native.StrPath\nchio_fast._native.Outcome\n"
"""Names for annotations only."""


def test_the_stub_is_what_the_extension_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT / "python"))
    allowed = tmp_path / "allowed"
    allowed.write_text(ALLOWED)
    options = ["--concise", "--ignore-disjoint-bases", "--allowlist", str(allowed), "chio_fast._native"]
    assert stubtest.test_stubs(stubtest.parse_options(options)) == 0


def check(*arguments: str) -> tuple[str, int]:
    # The project's own settings name the packages that `make lint` checks; a user's program has others.
    out, error, code = api.run(["--config-file=", "--strict", *arguments])
    return out + error, code


def test_a_program_that_uses_the_whole_surface_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT / "python"))
    out, code = check(str(ROOT / "tests" / "typing" / "surface.py"))
    assert code == 0, out


@pytest.mark.parametrize(
    "line",
    [
        'Policy.from_yaml("").decide("a", "b", kind="call")',
        'Enforcer("p", guards=[object()])',
        'Enforcer("p").check("a:b", event=5)',
        "Deny()",
    ],
)
def test_a_program_that_uses_it_wrongly_does_not(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT / "python"))
    out, code = check("-c", f"from chio_fast import Deny, Enforcer, Policy\n{line}")
    assert code == 1, out

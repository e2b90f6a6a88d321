"""What importing costs and brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import chio_fast


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_package_imports_neither_the_client_nor_the_extension() -> None:
    assert (
        run("import sys, chio_fast; print([m for m in ('confluent_kafka', 'chio_fast._native') if m in sys.modules])")
        == "[]"
    )


def test_the_command_line_loads_what_a_command_needs_no_sooner_than_it() -> None:
    heavy = ("asyncio", "chio_fast.verify", "confluent_kafka", "importlib.metadata", "nacl", "rich.progress")
    assert run(f"import sys, chio_fast.cli.commands; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_enforcing_needs_no_client(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["confluent_kafka"] = None
from chio_fast import Enforcer, Policy
policy = Policy.from_dict({{"chio": "policy/v1", "identities": {{"a": {{"capabilities": ["tools:x"]}}}}}})
with Enforcer(policy, receipt_log={str(tmp_path / "r.db")!r}, identity="a") as enforcer:
    event = {{"topic": "t"}}
    print(enforcer.check("tools:x", tool="x").verdict, enforcer.check("events:consume:t", event=event).verdict)
"""
    assert run(code) == "allow deny"


def test_every_public_name_is_there_and_comes_from_one_place() -> None:
    for name in chio_fast.__all__:
        assert getattr(chio_fast, name) is getattr(chio_fast, name), name
    assert set(chio_fast._HOME) == set(chio_fast.__all__)
    assert set(chio_fast.__all__) <= set(dir(chio_fast))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="`nothing`"):
        _ = chio_fast.nothing

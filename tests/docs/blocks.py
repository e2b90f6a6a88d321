"""Code blocks of a Markdown document, and running them from top to bottom as a reader would."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTED_BROKER = "localhost:9092"

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (?P<name>[\w./-]+\.ya?ml)\n")
_TARGET = re.compile(r"^(?P<target>[a-z-]+):", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its fence."""

    language: str
    text: str
    line: int


def blocks_of(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for match in _FENCE.finditer(text):
        yield Block(match["language"], match["text"], text.count("\n", 0, match.start()) + 1)


def run_document(document: Path, folder: Path, bootstrap: str) -> dict[str, int]:
    """Runs every block in `folder`, which is the working directory, and counts them by language.

    Python blocks share one namespace; YAML blocks that begin with a file name become that file; in console blocks
    `chio-fast` runs, and `make` has to know the target.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    counts: dict[str, int] = {}
    for block in blocks_of(document):
        text = block.text.replace(DOCUMENTED_BROKER, bootstrap)
        if block.language == "python":
            source = "\n" * block.line + text
            exec(compile(source, str(document), "exec"), namespace)
        elif block.language == "yaml":
            name = _FILE_NAME.match(text)
            if name is None:
                raise AssertionError(f"{document.name}:{block.line}: a YAML block begins with `# name.yaml`")
            (folder / name["name"]).write_text(text)
        elif block.language == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    run_command(line.removeprefix("$ "), f"{document.name}:{block.line}")
        elif block.language:
            raise AssertionError(f"{document.name}:{block.line}: nothing runs a block of `{block.language}`")
        counts[block.language] = counts.get(block.language, 0) + 1
    return counts


def run_command(line: str, where: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
        assert set(words[1:]) <= targets, f"{where}: no such target: {line}"
        return
    if words[0] in {"git", "cd"}:
        return
    assert words[0] == "chio-fast", f"{where}: nothing runs `{words[0]}`"
    command = [str(Path(sys.executable).with_name("chio-fast")), *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{where}: {line}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"

"""Runs the Rust benches and turns what criterion wrote down into figures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benches.figures import Figure, Measured

ROOT = Path(__file__).resolve().parents[1]
CRITERION = ROOT / "target" / "criterion"
PARTS = "batch 500"
REFERENCE = "BLAKE3 of 200 bytes"
FOLDER = "benches/rust"


def run(*, reduced: bool) -> Measured:
    """Runs the benches of `benches/rust`; a line says which one is running. Ctrl-C keeps what was measured before.

    Args:
        reduced: measure for a shorter time.
    """
    shutil.rmtree(CRITERION, ignore_errors=True)
    ended: dict[str, bool] = {}
    with contextlib.suppress(KeyboardInterrupt):
        for bench in BENCHES:
            print(f"{FOLDER}::{bench}", flush=True)
            ended[bench] = _bench(bench, reduced=reduced)
    return Measured(
        figures=figures(_times(), [bench for bench, well in ended.items() if well]),
        failed=[f"{FOLDER}::{bench}" for bench, well in ended.items() if not well],
        unfinished=[f"{FOLDER}::{bench}" for bench in BENCHES if bench not in ended],
    )


def figures(ns: dict[str, float], benches: Iterable[str]) -> list[Figure]:
    """The figures of these benches, from the times of one iteration, in ns, by the names that criterion gives them.

    Without the time of the reference, which a bench of its own measures, the figures beside it have no ratio.
    """
    return [figure for bench in benches for make in BENCHES[bench] for figure in make(ns)]


def _bench(bench: str, *, reduced: bool) -> bool:
    """Whether a bench ended well, which includes that its work was right."""
    times = ("0.3", "0.5") if reduced else ("1", "3")
    command = ["cargo", "bench", "--locked", "--quiet", "--package", "chio-benches", "--bench", bench, "--", "--quiet"]
    command += ["--warm-up-time", times[0], "--measurement-time", times[1]]
    environment = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    return subprocess.run(command, cwd=ROOT, check=False, env=environment, stdout=subprocess.DEVNULL).returncode == 0


def _times() -> dict[str, float]:
    """Time of one iteration, in ns, of every bench: the lower quartile of criterion's samples.

    What other processes of the machine take away from a sample only ever makes it longer.
    """
    found = {}
    for path in CRITERION.rglob("new/sample.json"):
        about = json.loads(path.with_name("benchmark.json").read_text())
        sample = json.loads(path.read_text())
        each = [time / count for time, count in zip(sample["times"], sample["iters"], strict=True)]
        found[about["full_id"]] = statistics.quantiles(each, n=4)[0]
    return found


def _decisions(ns: dict[str, float]) -> list[Figure]:
    smallest = ns["decision/static/10"]
    given = []
    for scopes in (10, 100, 1_000, 10_000, 100_000):
        time = ns[f"decision/static/{scopes}"]
        goals = {10_000: ("≤ 100 ns, ≤ 3 x the time at 10 scopes", time <= 100 and time <= 3 * smallest)}
        goal, met = goals.get(scopes, ("", None))
        given.append(
            Figure(
                group="decision",
                name=f"Rust, {scopes:,} scopes, static",
                value=time,
                unit="ns",
                ratio=smallest / time,
                against="the speed at 10 scopes",
                goal=goal,
                met=met,
                conditions="scopes asked all over the policy",
            )
        )
    for scopes in (10, 10_000):
        time = ns[f"decision/condition/{scopes}"]
        given.append(
            Figure(
                group="decision",
                name=f"Rust, {scopes:,} scopes, one condition",
                value=time,
                unit="ns",
                ratio=_beside_reference(ns, time),
                against=REFERENCE,
                goal="≤ 300 ns",
                met=time <= 300,
                conditions="on a field of a 200-byte JSON value",
            )
        )
    return given


def _engine(ns: dict[str, float]) -> list[Figure]:
    given = []
    shapes = [("merkle", "Merkle"), ("merkle-condition", "Merkle, with a condition")]
    for bench, words in shapes:
        for batch in (1, 10, 100, 500, 1_000):
            each = ns[f"engine/{bench}/{batch}"] / batch
            goal = "≥ 1,000,000/s on one core" if batch == 500 and bench == "merkle" else ""
            given.append(
                Figure(
                    group="engine",
                    name=f"{words}, batch {batch:,}",
                    value=1e9 / each,
                    unit="receipts/s",
                    ratio=_beside_reference(ns, each),
                    against=REFERENCE,
                    goal=goal,
                    met=each <= 1_000 if goal else None,
                    conditions="one core; everything from decision to frame; 200-byte values",
                )
            )
    each = ns["engine/individual/100"] / 100
    given.append(
        Figure(
            group="engine",
            name="individual, one signature each",
            value=1e9 / each,
            unit="receipts/s",
            ratio=_beside_reference(ns, each),
            against=REFERENCE,
            conditions="one core; batches of one",
        )
    )
    return given


def _parts(ns: dict[str, float]) -> list[Figure]:
    batch = 500
    sealing, bare = ns["parts/seal"], ns["parts/seal-without-digest"]
    tree, signature = ns["parts/tree"], ns["parts/signature"]
    parts = {
        "decide": ns["parts/decide"],
        "issue (id, copy into the arena)": ns["parts/issue"],
        "digest": sealing - bare,
        "body, leaf, frame": bare - tree - signature,
        "tree": tree,
        "signature": signature,
        "sum, measured as a whole": ns[f"engine/merkle/{batch}"],
    }
    return [
        Figure(
            group="engine",
            name=f"part: {name}" if not name.startswith("sum") else name,
            value=time / batch,
            unit="ns",
            conditions=f"per receipt, {PARTS}",
        )
        for name, time in parts.items()
    ]


def _verification(ns: dict[str, float]) -> list[Figure]:
    given = []
    for batch in (500, 1):
        each = ns[f"verify/log/{batch}"] / (200 * batch)
        given.append(
            Figure(
                group="verify",
                name=f"Rust, a log of batches of {batch}",
                value=1e9 / each,
                unit="receipts/s",
                ratio=_beside_reference(ns, each),
                against=REFERENCE,
                goal="≥ 1,000,000/s on one core" if batch == 500 else "",
                met=each <= 1_000 if batch == 500 else None,
                conditions="one core; bodies, leaves, roots, signatures, chain",
            )
        )
    return given


def _beside_reference(ns: dict[str, float], time: float) -> float | None:
    reference = ns.get("reference/blake3-200-bytes")
    return None if reference is None else reference / time


# What becomes of the times of each bench.
BENCHES = {"decision": (_decisions,), "engine": (_engine, _parts), "verify": (_verification,)}

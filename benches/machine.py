"""What a figure depends on: the processor, its cores, the disk's fdatasync, and what a process used of them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """The machine that a run was measured on."""

    cpu: str
    cores: int
    system: str
    python: str


def describe() -> Machine:
    """This machine; nothing in it names the host."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def fdatasync_seconds(folder: Path, *, times: int = 100, size: int = 65_536) -> float:
    """Median time of appending `size` bytes to a file in this folder and having them on the disk."""
    path, block, taken = folder / "fdatasync", os.urandom(size), []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            start = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    path.unlink()
    return statistics.median(taken)


def resident_mib() -> float:
    """The resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

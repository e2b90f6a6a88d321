"""A processor in a process of its own, for drills that kill it: `python -m tests.kafka.processor_worker SETTINGS`.

It ends cleanly on SIGTERM. Its one tool appends the idempotency key of each call to a file, durably enough to survive
kill -9 of the process.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chio_fast import Policy
from chio_fast.kafka import ChioTransactionalProcessor, failures

FAILPOINT = "CHIO_TEST_FAILPOINT"
SHORT_SESSION = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}
attempts: Counter[int] = Counter()


class ProcessorSettings(msgspec.Struct):
    """What a processor is told.

    Attributes:
        bootstrap: brokers.
        group: consumer group.
        source: topic that is consumed.
        target: topic of the outputs.
        dlq: topic for denied inputs.
        errors: topic for inputs whose handler failed.
        policy: YAML.
        receipt_log: path.
        signer: path of the key file.
        calls: file that gets a line per tool call.
        identity: who acts.
        member: name of the instance.
        conf: more settings of the client.
        concurrency: handlers at the same time.
        batch_size: events of one transaction at most.
        max_batch_ms: how long finished events wait for company.
        max_in_flight: events in hand at most.
        tracks: producers that commit side by side.
        slow_n: number of the one input whose handler takes until the file `release` is there.
        release: path.
        failpoint: where the process kills itself, see `chio_fast.kafka.failpoint`.
        is_async: whether the handler is async.
    """

    bootstrap: str
    group: str
    source: str
    target: str
    dlq: str
    errors: str
    policy: str
    receipt_log: str
    signer: str
    calls: str
    identity: str
    member: str = "a"
    conf: dict[str, Any] = {}
    concurrency: int = 4
    batch_size: int = 200
    max_batch_ms: int = 50
    max_in_flight: int = 1000
    tracks: int = 1
    slow_n: int = -1
    release: str = ""
    failpoint: str = ""
    is_async: bool = False


def build(settings: ProcessorSettings) -> ChioTransactionalProcessor:
    """Make the processor with its handler and its tool."""
    processor = ChioTransactionalProcessor(
        bootstrap_servers=settings.bootstrap,
        group_id=settings.group,
        consume_topics=[settings.source],
        consume_scope=f"events:consume:{settings.source}",
        produce_scope_map={settings.target: f"events:produce:{settings.target}"},
        policy=Policy.from_yaml(settings.policy),
        receipt_log=settings.receipt_log,
        signer=settings.signer,
        identity=settings.identity,
        member=settings.member,
        config=(settings.conf if "group.protocol" in settings.conf else SHORT_SESSION | settings.conf),
        dlq_topic=settings.dlq,
        error_topic=settings.errors,
        concurrency=settings.concurrency,
        batch_size=settings.batch_size,
        max_batch_ms=settings.max_batch_ms,
        max_in_flight=settings.max_in_flight,
        tracks=settings.tracks,
    )
    calls = os.open(settings.calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def count(n: int, idempotency_key: str) -> int:
        os.write(calls, f"{idempotency_key}\n".encode())
        return n

    def product(event: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        task = msgspec.json.decode(event.value())
        while task["n"] == settings.slow_n and not Path(settings.release).exists():
            time.sleep(0.02)
        attempts[task["n"]] += 1
        if task["fate"] == "fail" or (task["fate"] == "once" and attempts[task["n"]] == 1):
            raise RuntimeError(f"input {task['n']} cannot be handled")
        place = {"topic": event.topic(), "partition": event.partition(), "offset": event.offset(), "n": task["n"]}
        return task, place

    def handle(event: Any, ctx: Any) -> None:
        task, place = product(event)
        if task["fate"] == "tool":
            assert ctx.chio.invoke(tool="count", scope="tools:count", arguments={"n": task["n"]}) == task["n"]
        ctx.produce(topic=settings.target, value=msgspec.json.encode(place), key=event.key())

    async def ahandle(event: Any, ctx: Any) -> None:
        task, place = product(event)
        if task["fate"] == "tool":
            assert await ctx.chio.invoke(tool="count", scope="tools:count", arguments={"n": task["n"]}) == task["n"]
        await ctx.produce(topic=settings.target, value=msgspec.json.encode(place), key=event.key())

    processor.tool("count", count)
    processor.register(settings.source, ahandle if settings.is_async else handle)
    return processor


def main(settings: ProcessorSettings) -> None:
    """Process until SIGTERM."""
    # Inputs that fail hold their partitions until they are given up, and are too many to wait for each one's backoff.
    failures.BACKOFF = 0.01
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    processor = build(settings)
    signal.signal(signal.SIGTERM, lambda _number, _frame: processor.stop())
    if asked:
        processor.stop()
    processor.run()


class ProcessorWorker:
    """A processor's process, as the drill sees it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self.settings = settings
        self._errors = Path(f"{settings.calls}-{settings.member}-{time.monotonic_ns()}.err")
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.kafka.processor_worker", msgspec.json.encode(settings).decode()],
                cwd=Path(__file__).parents[2],
                stderr=errors,
                env=os.environ | ({FAILPOINT: settings.failpoint} if settings.failpoint else {}),
            )

    def errors(self) -> str:
        """The end of what it printed."""
        return self._errors.read_text(errors="replace")[-3000:]

    def said(self, words: str) -> int:
        """How often it printed these words."""
        return self._errors.read_text(errors="replace").count(words)

    def kill9(self) -> None:
        """Kill it where it stands."""
        self.process.kill()
        self.process.wait(30)

    def await_death(self, timeout: float) -> None:
        """Wait until it has killed itself at its failpoint."""
        code = self.process.wait(timeout)
        assert code == -signal.SIGKILL, f"it ended with {code}: {self.errors()}"

    def await_end_or(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait until it has killed itself at its failpoint, or there is nothing left to do."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and not done():
            assert time.monotonic() < deadline, f"neither dead nor done: {self.errors()}"
            time.sleep(0.05)
        assert self.process.poll() in (None, -signal.SIGKILL), self.errors()

    def await_pause(self, timeout: float) -> None:
        """Wait until it has stopped at its failpoint, as a long pause of the machine would stop it."""
        deadline = time.monotonic() + timeout
        state = Path(f"/proc/{self.process.pid}/stat")
        while state.read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < deadline, f"it did not pause: {self.errors()}"
            time.sleep(0.02)
        # Who is stopped in the middle of a write keeps the lock of the file, and nobody else gets further.
        while not all(map(_is_free, (self.settings.receipt_log, f"{self.settings.receipt_log}-calls"))):
            self.thaw()
            time.sleep(0.001)
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def _await_handler(self) -> None:
        """Wait until it is far enough to hear SIGTERM."""
        status = Path(f"/proc/{self.process.pid}/status")
        while self.process.poll() is None:
            caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
            if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
                return
            time.sleep(0.02)

    def stop(self, timeout: float = 60) -> None:
        """Ask it to end; fail if it does not end well."""
        self._await_handler()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        assert code == 0, f"it ended with {code}: {self.errors()}"


def _is_free(database: str) -> bool:
    """Whether nobody is writing to an SQLite file."""
    connection = sqlite3.connect(database, timeout=0.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=ProcessorSettings))

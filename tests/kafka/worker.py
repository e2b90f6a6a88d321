"""A governed consumer in a process of its own, for tests that kill it: `python -m tests.kafka.worker SETTINGS`.

It writes one line per event that it was handed, before it commits, and ends cleanly on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from chio_fast import Event, Policy
from chio_fast.kafka import ChioConsumerMiddleware

REBALANCES = ("assigned", "revoked", "lost")


class Settings(msgspec.Struct):
    """What a worker is told.

    Attributes:
        conf: confluent configuration.
        scope_map: topics and scopes.
        dlq_topic: for denied events.
        policy: YAML.
        receipt_log: path.
        signer: path of the key file.
        output: gets a line per hand-out: topic, partition, offset, receipt id, Unix time in seconds; and a line
            `revoked topic partition time` or `assigned topic partition time` per rebalance.
        identity: who consumes.
        batch: events per `consume`.
        asynchronous: how it commits after each batch.
        work: seconds of work per event.
    """

    conf: dict[str, Any]
    scope_map: dict[str, str]
    dlq_topic: str
    policy: str
    receipt_log: str
    signer: str
    output: str
    identity: str = "workers"
    batch: int = 50
    asynchronous: bool = True
    work: float = 0.0


def main(settings: Settings) -> None:
    """Consume until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    output = os.open(settings.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(*words: object) -> None:
        os.write(output, (" ".join(map(str, words)) + "\n").encode())

    def tell(what: str, partitions: list[Any]) -> None:
        for partition in partitions:
            write(what, partition.topic, partition.partition, time.time())

    with ChioConsumerMiddleware.from_config(
        settings.conf,
        scope_map=settings.scope_map,
        identity=settings.identity,
        dlq_topic=settings.dlq_topic,
        policy=Policy.from_yaml(settings.policy),
        receipt_log=settings.receipt_log,
        signer=settings.signer,
        on_assign=lambda _consumer, partitions: tell("assigned", partitions),
        on_revoke=lambda _consumer, partitions: tell("revoked", partitions),
        on_lost=lambda _consumer, partitions: tell("lost", partitions),
    ) as consumer:
        while not stopping:
            events = consumer.consume(settings.batch, 0.2)
            for event in events:
                assert isinstance(event, Event)
                write(event.topic(), event.partition(), event.offset(), event.chio_receipt_id, time.time())
                if settings.work:
                    time.sleep(settings.work)
            if events:
                consumer.commit(asynchronous=settings.asynchronous)


class Worker:
    """A worker process, as the test sees it."""

    def __init__(self, settings: Settings) -> None:
        self.output = Path(settings.output)
        encoded = msgspec.json.encode(settings).decode()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.worker", encoded], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE
        )

    def lines(self) -> list[list[str]]:
        """What it wrote so far, whole lines only."""
        text = self.output.read_bytes() if self.output.exists() else b""
        return [line.decode().split(" ") for line in text.split(b"\n")[:-1]]

    def hand_outs(self) -> list[tuple[tuple[str, int, int], str]]:
        """Place and receipt id of every event that it was handed."""
        handed = [line for line in self.lines() if line[0] not in REBALANCES]
        return [((topic, int(partition), int(offset)), receipt) for topic, partition, offset, receipt, _ in handed]

    def kill9(self) -> None:
        """Kill it where it stands."""
        self.process.kill()
        self.process.wait(30)

    def stop(self, timeout: float = 45) -> None:
        """Ask it to end; fail if it does not end well."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, errors.decode()[-3000:]


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Settings))

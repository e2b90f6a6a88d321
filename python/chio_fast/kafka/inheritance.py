"""What the former holders of partitions that were assigned here left open; resolved in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from chio_fast.errors import CheckpointsError, ChioError
from chio_fast.kafka import config, metadata
from chio_fast.kafka.client_errors import backoff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.in_flight import InFlight
    from chio_fast.kafka.recovery import Recovery
    from chio_fast.kafka.trouble import Trouble

log = logging.getLogger("chio_fast.kafka")

GRACE = 5.0
"""Seconds that the thread gets to end."""


class _Assignment(NamedTuple):
    keys: list[Key]
    generation: int


class Inheritance:
    """Resolves other members' batches that hold ranges of partitions which are assigned here now.

    The committed offsets are fetched first, stable ones: that waits for the transactions of former holders to end, and
    tells where each run begins.

    Args:
        conf: one confluent configuration.
        recovery: reads what became of batches.
        runs: learn where they begin.
        trouble: hears what must not be.
    """

    def __init__(self, conf: Mapping[str, Any], recovery: Recovery, runs: InFlight, trouble: Trouble) -> None:
        # Not by an admin client: its requests to coordinators end the process when a broker dies (assertion in
        # rd_kafka_enq_once_del_source_return of librdkafka 2.16.0).
        self._observer = Consumer(config.observer_config(conf, lambda error: log.debug("committed offsets: %s", error)))
        self._recovery = recovery
        self._runs = runs
        self._trouble = trouble
        self._assigned: queue.SimpleQueue[_Assignment | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chio-inheritance", daemon=True)
        self._thread.start()

    def assigned(self, keys: Sequence[Key], generation: int) -> None:
        """Have what was left open of `keys` resolved; they were assigned in this generation of the group."""
        if keys:
            self._assigned.put(_Assignment(list(keys), generation))

    def stop(self) -> None:
        """End the thread; what is not resolved stays for the next start or the next holder.

        A look at the checkpoint topic that is under way may have to wait for transactions of others; it is left behind.
        """
        self._stopped.set()
        self._assigned.put(None)
        self._thread.join(GRACE)

    def _run(self) -> None:
        try:
            while (assignment := self._assigned.get()) is not None and not self._stopped.is_set():
                self._resolve(assignment)
        except ChioError as error:
            self._trouble.stop(error)
        except Exception as error:
            log.exception("what former holders left open cannot be resolved")
            self._trouble.stop(ChioError(f"the resolving thread failed: {error!r}"))
        finally:
            self._observer.close()

    def _resolve(self, assignment: _Assignment) -> None:
        attempt = 0
        while not self._stopped.wait(backoff(attempt) if attempt else 0):
            attempt += 1
            try:
                self._runs.begins_at(self._committed(assignment.keys))
                self._recovery.resolve_assigned(assignment.keys, generation=assignment.generation)
            except (KafkaException, CheckpointsError) as error:
                log.info("what former holders of %s left open is not resolved yet: %s", assignment.keys, error)
            else:
                return

    def _committed(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Fetch the committed offsets, stable ones; partitions that have none are left out."""
        found = self._observer.committed([TopicPartition(*key) for key in keys], metadata.TIMEOUT)
        for partition in found:
            if partition.error is not None:
                raise KafkaException(partition.error)
        return {(part.topic, part.partition): part.offset for part in found if part.offset >= 0}

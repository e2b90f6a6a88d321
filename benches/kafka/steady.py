"""A governed consumer that runs for long, in a process of its own, so that its memory is its alone.

Usage: python -m benches.kafka.steady BOOTSTRAP TOPIC DLQ_TOPIC FOLDER COUNT

Prints the resident memory in MiB, one number per line, after every hundredth of the events.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benches.kafka import raw, workload
from benches.kafka.governed import bench_signer
from benches.machine import resident_mib
from chio_fast import ChioConsumerMiddleware


def main() -> None:
    """Consumes COUNT events of TOPIC under a policy with a condition, and commits every batch."""
    bootstrap, topic, dlq_topic, folder, count = *sys.argv[1:5], int(sys.argv[5])
    consumer = ChioConsumerMiddleware.from_config(
        raw.settings(bootstrap),
        scope_map={topic: workload.SCOPE},
        identity=workload.IDENTITY,
        dlq_topic=dlq_topic,
        policy=workload.policy(0),
        receipt_log=Path(folder) / "steady.chio",
        signer=bench_signer(Path(folder)),
    )
    seen, next_sample = 0, 0
    while seen < count:
        events = consumer.consume(raw.BATCH, raw.PATIENCE_S)
        assert events, f"no event for {raw.PATIENCE_S} s after {seen} of {count}"
        seen += len(events)
        consumer.commit()
        if seen >= next_sample:
            print(f"{resident_mib():.2f}", flush=True)
            next_sample += count // 100
    consumer.close()


if __name__ == "__main__":
    main()

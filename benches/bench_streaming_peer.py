"""chio-streaming 0.1.0 at its fastest beside the governed consumer, on the same broker and topic.

Its fastest: a client that answers from memory without a network, no transaction, no receipt topic, so nothing of a
receipt is kept, and a producer that does not linger. It reads neither the body nor signs anything.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.conftest import ROUNDS, volume
from benches.interleave import interleave
from benches.kafka import workload
from benches.kafka.governed import Governed
from benches.kafka.peer import peer_loop, require_peer
from tests.kafka.broker import Broker

require_peer()

PEER = "chio-streaming 0.1.0 at its fastest"


def test_beside_chio_streaming(
    benchmark: Any, figure: Callable[..., None], broker: Broker, filled: Callable[[int], str], disk: Path
) -> None:
    count = volume(5_000, 2_000)
    topic = filled(count)
    found = interleave(
        benchmark,
        lambda: Governed(broker, topic, disk).poll_loop(count, commit_every=1),
        {PEER: lambda: peer_loop(broker, topic, count, transactional=False)},
        rounds=ROUNDS,
    )
    where = f"{count:,} events, {workload.SHAPE}; commit per event; {found.processor()}"
    figure(group="end to end", **found.alone(PEER), conditions=where)
    figure(
        group="end to end",
        name="governed poll(), commit per event",
        conditions=where,
        **found.beside(PEER),
    )

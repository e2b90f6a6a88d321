"""Producing on the real broker: the governed producer beside the client alone, same settings, same loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benches.conftest import ROUNDS, volume
from benches.interleave import interleave
from benches.kafka import producing
from tests.kafka.broker import Broker

RAW = "raw produce()"


@pytest.mark.parametrize("conditional", [False, True])
def test_produce_and_flush(
    benchmark: Any, figure: Callable[..., None], broker: Broker, disk: Path, conditional: bool
) -> None:
    given = producing.events(volume(300_000, 60_000))
    found = interleave(
        benchmark,
        lambda: producing.governed_loop(broker, given, disk, conditional=conditional),
        {RAW: lambda: producing.raw_loop(broker, given)},
        rounds=ROUNDS,
    )
    where = f"{len(given):,} events, {producing.SHAPE}; poll(0) per {producing.POLL_EVERY}; {found.processor()}"
    if not conditional:
        figure(group="end to end", **found.alone(RAW), conditions=where)
    figure(
        group="end to end",
        name=f"governed produce(), {'condition on the value' if conditional else 'static policy'}",
        conditions=where,
        **found.beside(RAW, at_least=0.7),
    )

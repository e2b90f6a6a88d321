"""The pytest plugin for users: the throughput of your own policy on your own events, as a test in your own CI.

Times of two machines, or of two days on one, cannot be compared; ratios within one run can. So the fixture
`chio_throughput` measures how many events per second the policy decides as a multiple of how many fixed JSON documents
of 200 bytes `json.loads` parses in the same moment, and a test says how far that ratio may fall:

    def test_our_policy_is_fast_enough(chio_throughput):
        chio_throughput(
            "policy.yaml",
            [b'{"amount": 12}', b'{"amount": 5000}'],
            identity="refund-agents",
            scope="events:consume:refunds",
            denied=1,
            at_least=0.5,
        )

It needs `pytest-benchmark`, whose reports and options (`--benchmark-json`, `--benchmark-disable`) apply.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chio_fast._native import Policy
    from chio_fast.kafka.sample import SampleEvent

EVENTS_PER_ROUND = 5_000
ROUNDS = 15
TOPIC = "throughput"
# The work that a ratio is taken against: as long as a typical event, and the same for everybody.
REFERENCE_DOCUMENT = json.dumps(
    {"id": "evt-000000001", "agent": "agent-01", "amount": 1200, "note": "x" * 128}
).encode()


class Throughput(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        events_per_second: how many events the policy decided per second, median of the rounds.
        reference_per_second: how many reference documents `json.loads` parsed per second.
        ratio: the first as a multiple of the second, median of the ratios of each round.
    """

    events_per_second: float
    reference_per_second: float
    ratio: float


class ThroughputCheck:
    """What the fixture gives: call it once in a test."""

    def __init__(self, benchmark: Any, folder: Path) -> None:
        """Measures with the fixture of pytest-benchmark; the folder gets a receipt log, which stays empty."""
        self._benchmark = benchmark
        self._folder = folder

    def __call__(
        self,
        policy: Policy | str | Path,
        events: Sequence[SampleEvent],
        *,
        identity: str,
        scope: str,
        denied: int,
        at_least: float = 0.0,
    ) -> Throughput:
        """Decides the events as the governed consumer does, again and again, and fails if that became too slow.

        Args:
            policy: a compiled policy, or the path of one.
            events: samples of what the topic carries: values (bytes), or dictionaries with any of `key`, `value` and
                `headers`.
            identity: who consumes.
            scope: the scope that the topic needs.
            denied: how many of the samples the policy does not allow; a fast wrong answer is not measured.
            at_least: the ratio below which the test fails; run once without it to see where you stand.

        Raises:
            PolicyError: the policy is malformed.
            pytest.fail.Exception: the verdicts are not as expected, or the ratio is too low.
        """
        if not events:
            raise ValueError("there are no sample events; give at least one")
        deciding = _Deciding(policy, events, identity=identity, scope=scope, folder=self._folder)
        found = deciding.count_denied()
        if found != denied:
            pytest.fail(f"the policy denies {found} of the {len(events)} sample events, not {denied} as expected")
        measured = self._measure(deciding)
        self._benchmark.extra_info.update(msgspec.to_builtins(measured))
        if measured.ratio < at_least:
            pytest.fail(
                f"the policy decides {measured.events_per_second:,.0f} events per second, {measured.ratio:.2f} times "
                f"the reference of this machine; at least {at_least:.2f} times was asked for"
            )
        return measured

    def _measure(self, deciding: _Deciding) -> Throughput:
        reference: list[float] = []
        ours: list[float] = []

        def before_each_round() -> None:
            reference.append(_seconds_of_reference(EVENTS_PER_ROUND) / EVENTS_PER_ROUND)
            deciding.rewind()

        def one_round() -> None:
            ours.append(deciding.seconds() / deciding.count)

        self._benchmark.pedantic(one_round, setup=before_each_round, rounds=ROUNDS, iterations=1, warmup_rounds=2)
        pairs = list(zip(reference, ours, strict=True))
        return Throughput(
            events_per_second=1 / statistics.median(ours),
            reference_per_second=1 / statistics.median(reference),
            ratio=statistics.median(theirs / mine for theirs, mine in pairs),
        )


@pytest.fixture
def chio_throughput(request: pytest.FixtureRequest, tmp_path: Path) -> ThroughputCheck:
    """Measures the throughput of a policy on sample events, as a ratio: see `ThroughputCheck.__call__`."""
    try:
        benchmark = request.getfixturevalue("benchmark")
    except pytest.FixtureLookupError:
        pytest.fail("the fixture `chio_throughput` needs pytest-benchmark: `pip install pytest-benchmark`")
    return ThroughputCheck(benchmark, tmp_path)


class _Deciding:
    """The part of the governed consumer that decides, over messages that are made once."""

    def __init__(
        self, policy: Policy | str | Path, events: Sequence[SampleEvent], *, identity: str, scope: str, folder: Path
    ) -> None:
        # Loaded here, so that a test session that does not use the fixture does not load the extension.
        from chio_fast._native import Gate, Log, Policy  # noqa: PLC0415
        from chio_fast.kafka.sample import sample_message  # noqa: PLC0415

        compiled = policy if isinstance(policy, Policy) else Policy.from_file(policy)
        self._samples = len(events)
        self.count = max(1, EVENTS_PER_ROUND // self._samples) * self._samples
        self._messages = [
            sample_message(events[offset % self._samples], topic=TOPIC, offset=offset) for offset in range(self.count)
        ]
        self._gate = Gate(Log.open(folder / "throughput.chio", identity=identity), compiled)
        self._partition = self._gate.partition(TOPIC, 0, scope=scope, identity=identity)

    def rewind(self) -> None:
        """Lets the next round decide the same messages."""
        self._partition.admitted = -1

    def count_denied(self) -> int:
        """Decides each sample once; gives how many are not allowed."""
        events, _, _ = self._gate.admit(self._messages[: self._samples], {(TOPIC, 0): self._partition})
        return sum(not event.chio_decision.allowed for event in events)

    def seconds(self) -> float:
        """Decides all messages; gives the time that it took."""
        partitions = {(TOPIC, 0): self._partition}
        start = time.perf_counter()
        events, errors, strays = self._gate.admit(self._messages, partitions)
        taken = time.perf_counter() - start
        if errors or strays or len(events) != self.count:
            raise RuntimeError(f"{self.count} events were to be decided, {len(events)} were")
        return taken


def _seconds_of_reference(documents: int) -> float:
    start = time.perf_counter()
    for _ in range(documents):
        json.loads(REFERENCE_DOCUMENT)
    return time.perf_counter() - start

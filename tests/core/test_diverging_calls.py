"""Handlers that do not repeat the tool calls that they made when their event was delivered before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chio_fast.errors import ChioCallDiverged, ChioDenied
from tests.core.calling import CHARGE, SEARCH_ONLY, Counter, charge_once, member

OTHERS = {
    "tool": ("search", "tools:charge", {"amount": 5}),
    "scope": ("charge", "tools:other", {"amount": 5}),
    "arguments": ("charge", "tools:charge", {"amount": 6}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("on_divergence", ["stop", "call"])
def test_another_call_in_the_place_of_a_recorded_one_diverges(
    tmp_path: Path, counter: Counter, other: Any, on_divergence: Any
) -> None:
    with member(tmp_path, on_divergence=on_divergence) as running:
        running.tool("charge", counter.charge)
        running.tool("search", lambda amount: amount)
        event = running.deliver()
        before = running.again(event)
        before.invoke(*CHARGE)
        calls = running.again(event)
        if on_divergence == "stop":
            with pytest.raises(ChioCallDiverged, match="call_id"):
                calls.invoke(*other)
            assert [type(error) for error in running.stopped] == [ChioCallDiverged]
        else:
            calls.invoke(*other)
            assert running.stopped == []
        named = running.effects()[-1]
        assert named.reason.startswith("diverged: tool `charge` was called by ")
        assert named.parents == (calls.receipts[0], before.receipts[0])
        assert running.caller.replayed == 0


@pytest.mark.parametrize("on_divergence", ["stop", "call"])
def test_a_call_that_is_not_repeated_diverges_when_the_handler_returns(
    tmp_path: Path, counter: Counter, on_divergence: Any
) -> None:
    charge_once(tmp_path, counter)
    with member(tmp_path, on_divergence=on_divergence) as second:
        calls = second.attempt()
        if on_divergence == "stop":
            with pytest.raises(ChioCallDiverged, match="was not repeated"):
                calls.ended()
        else:
            calls.ended()
        assert second.effects()[-1].reason.endswith("and was not repeated")
        assert len(second.stopped) == (on_divergence == "stop")


def test_a_handler_may_do_more_than_the_time_before_and_something_else_after_a_failure(
    tmp_path: Path, counter: Counter
) -> None:
    def refuse(amount: int) -> None:
        raise ValueError(amount)

    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        running.tool("refuse", refuse)
        event = running.deliver()
        calls = running.again(event)
        calls.invoke("charge", "tools:charge", {"amount": 1})
        with pytest.raises(ValueError, match="2"):
            calls.invoke("refuse", "tools:refuse", {"amount": 2})
        calls = running.again(event)
        calls.invoke("charge", "tools:charge", {"amount": 1})
        calls.invoke("charge", "tools:charge", {"amount": 3})
        calls.ended()
        assert (running.caller.replayed, running.caller.diverged) == (1, 0)
    assert [amount for amount, _ in counter.calls] == ["1", "3"]


def test_calls_with_an_id_have_no_order(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        event = running.deliver()
        for order in ("abc", "bca"):
            calls = running.again(event)
            for name in order:
                calls.invoke("charge", "tools:charge", {"amount": ord(name)}, call_id=name)
            calls.ended()
        with pytest.raises(ValueError, match="used for another call"):
            calls.invoke("charge", "tools:charge", {"amount": 1}, call_id="a")
        with pytest.raises(ChioCallDiverged):
            running.again(event).invoke("charge", "tools:charge", {"amount": 1}, call_id="a")
    assert len(counter.calls) == 3


def test_a_call_that_the_policy_of_now_denies_was_repeated_nevertheless(tmp_path: Path, counter: Counter) -> None:
    charge_once(tmp_path, counter)
    with member(tmp_path, policy=SEARCH_ONLY) as second:
        second.tool("charge", counter.charge)
        calls = second.attempt()
        with pytest.raises(ChioDenied):
            calls.invoke(*CHARGE)
        calls.ended()
        assert (second.caller.diverged, second.stopped) == (0, [])

"""Tool calls of handlers: when an event that comes again is answered, and when its calls are made."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chio_fast.errors import (
    ChioCallUnknown,
    ChioConfigError,
    ChioDenied,
    ChioRevoked,
)
from chio_fast.kafka.calls import EventCalls, ToolCaller
from chio_fast.kafka.keeping import KeptCall, idempotency_key
from tests.core.calling import CHARGE, SEARCH_ONLY, Counter, Member, charge_once, member


def test_an_event_that_comes_again_gets_the_result_and_the_tool_is_called_once(
    tmp_path: Path, counter: Counter
) -> None:
    given = charge_once(tmp_path, counter)
    with member(tmp_path) as second:
        second.tool("charge", counter.charge)
        calls = second.attempt()
        assert calls.invoke(*CHARGE) == given == {"charged": 5}
        calls.ended()
        assert second.caller.replayed == 1
        done, replayed = second.effects()
        assert replayed.reason.startswith("replayed: tool `charge` was called by rcpt_")
        assert replayed.digest == done.digest
        assert replayed.parents == (calls.receipts[0], done.parents[0])
        assert replayed.duration_ms in {None, 0}
    assert len(counter.calls) == 1


def test_a_retry_in_the_same_process_is_answered_too(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        event = running.deliver()
        for _ in range(3):
            calls = running.again(event)
            calls.invoke(*CHARGE)
            calls.invoke(*CHARGE)
            calls.ended()
    keys = [key for _, key in counter.calls]
    assert len(keys) == len(set(keys)) == 2


def test_a_call_that_an_attempt_before_is_still_making_is_waited_for_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that fails takes its events back, while a handler may be in the midst of a call."""
    entered, go_on, waits = threading.Event(), threading.Event(), threading.Event()
    made: list[str] = []
    left_behind = ToolCaller.left_behind

    def slow() -> str:
        made.append("call")
        entered.set()
        assert go_on.wait(60)
        return "done"

    def look(caller: ToolCaller, calls: EventCalls) -> list[KeptCall]:
        found = left_behind(caller, calls)
        if found:
            waits.set()
        return found

    monkeypatch.setattr(ToolCaller, "left_behind", look)
    with member(tmp_path) as running, ThreadPoolExecutor(2) as pool:
        running.tool("slow", slow)
        first = pool.submit(running.attempt().invoke, "slow", "tools:slow")
        assert entered.wait(60)
        running.revoke()
        second = pool.submit(running.attempt().invoke, "slow", "tools:slow")
        assert waits.wait(60)
        go_on.set()
        assert (first.result(60), second.result(60)) == ("done", "done")
        assert (running.caller.replayed, running.caller.unknown) == (1, 0)
        assert not running.caller._under_way
    assert made == ["call"]


def test_other_content_at_the_same_place_is_another_event(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        running.attempt(value=b'{"a": 1}').invoke(*CHARGE)
        running.attempt(value=b'{"a": 2}').invoke(*CHARGE)
    assert len(counter.calls) == 2


def test_another_identity_is_not_answered(tmp_path: Path, counter: Counter) -> None:
    for identity in ("agent", "other"):
        with member(tmp_path, identity=identity) as running:
            running.tool("charge", counter.charge)
            running.attempt().invoke(*CHARGE)
    assert len({key for _, key in counter.calls}) == 2


def test_what_the_policy_of_now_denies_is_not_answered(tmp_path: Path, counter: Counter) -> None:
    charge_once(tmp_path, counter)
    with member(tmp_path, policy=SEARCH_ONLY) as second:
        second.tool("charge", counter.charge)
        with pytest.raises(ChioDenied):
            second.attempt().invoke(*CHARGE)
        assert second.caller.replayed == 0


def test_what_was_committed_is_forgotten_and_called_with_the_same_key(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        event = running.deliver(offset=3)
        running.again(event).invoke(*CHARGE)
        running.caller.committed({event.partition_key: 4})
        running.again(event).invoke(*CHARGE)
    assert len(counter.calls) == 2
    assert len({key for _, key in counter.calls}) == 1


@dataclass
class Customer:
    name: str
    orders: tuple[int, ...]


def find() -> Customer:
    return Customer("a", (1, 2))


def test_a_result_is_the_same_whether_called_or_answered(tmp_path: Path) -> None:
    with member(tmp_path) as running:
        running.tool("find", find)
        running.tool("pair", lambda: (1, 2))
        event = running.deliver()
        results = []
        for _ in range(2):
            calls = running.again(event)
            results.append((calls.invoke("find", "tools:find"), calls.invoke("pair", "tools:pair")))
        assert results == [(Customer("a", (1, 2)), [1, 2])] * 2
        assert running.caller.replayed == 2


# Async, and the rest of the surface.


async def test_async_handlers_are_answered_in_the_order_in_which_they_call(tmp_path: Path) -> None:
    called = []

    async def look(number: int) -> int:
        await asyncio.sleep(0)
        called.append(number)
        return number

    with member(tmp_path) as running:

        class Look:
            async def __call__(self, number: int) -> int:
                return await look(number)

        running.tool("look", Look())
        running.tool("sync", lambda number: -number)
        event = running.deliver()
        for _ in range(2):
            calls = running.again(event)
            answers = [calls.ainvoke("look", "tools:look", {"number": number}) for number in range(5)]
            answers.append(calls.ainvoke("sync", "tools:sync", {"number": 7}))
            assert await asyncio.gather(*answers) == [0, 1, 2, 3, 4, -7]
            calls.ended()
        assert running.caller.replayed == 6
    assert sorted(called) == [0, 1, 2, 3, 4]


async def test_a_call_that_was_cancelled_is_unknown(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    with member(tmp_path) as running:
        running.tool("endless", endless)
        event = running.deliver()
        task = asyncio.ensure_future(running.again(event).ainvoke("endless", "tools:endless"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert running.effects()[-1].error == "CancelledError"
        with pytest.raises(ChioCallUnknown):
            await running.again(event).ainvoke("endless", "tools:endless")


def test_threads_of_one_handler_may_call_at_the_same_time(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        calls = running.attempt()
        threads = [threading.Thread(target=calls.invoke, args=CHARGE) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert running.journal.commits < running.journal.entries == 32
    assert len({key for _, key in counter.calls}) == 16


def test_a_tool_that_is_not_there_stops_the_processor(tmp_path: Path) -> None:
    with member(tmp_path) as running:
        with pytest.raises(ChioConfigError, match="no tool is called `absent`"):
            running.attempt().invoke("absent", "tools:absent")
        assert [type(error) for error in running.stopped] == [ChioConfigError]


def test_an_invoker_makes_the_calls_of_tools_that_are_not_registered(tmp_path: Path) -> None:
    seen = []

    def invoker(tool: str, arguments: dict[str, Any], idempotency_key: str) -> str:
        seen.append((tool, arguments, len(idempotency_key)))
        return tool

    with member(tmp_path) as running:
        running.enforcer.tools.register_rest(invoker)
        assert running.attempt().invoke("anything", "tools:anything", {"a": 1}) == "anything"
        running.tool("anything", lambda a: a)
        assert running.enforcer.invoke("anything", "tools:anything", {"a": 2}) == 2
    assert seen == [("anything", {"a": 1}, 64)]


def test_nothing_is_called_for_an_event_that_was_revoked(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        calls = running.attempt()
        running.revoke()
        with pytest.raises(ChioRevoked):
            calls.invoke(*CHARGE)
    assert counter.calls == []


def test_an_argument_cannot_take_the_place_of_the_key(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        with pytest.raises(TypeError, match="idempotency_key"):
            running.attempt().invoke("charge", "tools:charge", {"amount": 5, "idempotency_key": "mine"})
    assert counter.calls == []


def test_without_a_journal_calls_are_made_again_with_the_same_key(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.caller.journal = None
        running.tool("charge", counter.charge)
        event = running.deliver()
        for _ in range(2):
            calls = running.again(event)
            calls.invoke(*CHARGE)
            calls.ended()
    [first, second] = counter.calls
    assert first == second


def test_the_key_is_made_of_every_part() -> None:
    base: dict[str, Any] = {"request": b"r", "tool": "t", "arguments": b"a", "occurrence": 1, "call_id": None}
    keys = [
        idempotency_key(**{**base, **change})
        for change in ({}, {"request": b"s"}, {"tool": "u"}, {"arguments": b"b"}, {"occurrence": 2}, {"call_id": "1"})
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0].hex() == "baff4d4b403ac225f67238e998751dbd6f4c94e242ba71fba1a97af0e7869de6"


@pytest.mark.parametrize(("option", "word"), [("on_unknown", "retry"), ("result", "some")])
def test_settings_of_tools_that_are_no_words_are_refused(tmp_path: Path, option: str, word: str) -> None:
    with member(tmp_path) as running:
        with pytest.raises(ChioConfigError, match=word):
            running.tool("charge", print, **{option: word})
        with pytest.raises(ChioConfigError, match="on_divergence"):
            ToolCaller(running.enforcer, "agent", None, on_divergence="maybe", stop=print)  # type: ignore[arg-type]


def test_tools_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_tools.py").write_text("TOOLS = {'double': lambda number: 2 * number}\nNUMBER = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CHIO_TOOLS", "named_tools:TOOLS")
    with member(tmp_path) as running:
        assert running.attempt().invoke("double", "tools:double", {"number": 4}) == 8
    for wrong in ("named_tools", "absent:TOOLS", "named_tools:ABSENT", "named_tools:NUMBER"):
        monkeypatch.setenv("CHIO_TOOLS", wrong)
        with pytest.raises(ChioConfigError, match="CHIO_TOOLS"):
            Member(tmp_path / "never opened")

"""Tool calls of which nobody knows what became of them: processes that died in a tool, results that were not kept."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from chio_fast.errors import (
    ChioCallUnknown,
    ChioConfigError,
    ChioError,
    ChioRevoked,
)
from chio_fast.kafka.keeping import MAX_RESULT
from tests.core.calling import CHARGE, Counter, member


def killed(folder: Path, moment: str) -> None:
    """A process that called the tool `charge` with an amount of 5 and was killed."""
    command = [sys.executable, "-m", "tests.core.calling", str(folder), moment]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL


def test_a_call_whose_process_was_killed_after_the_result_is_answered(tmp_path: Path, counter: Counter) -> None:
    killed(tmp_path, "after")
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        assert running.attempt().invoke(*CHARGE) == {"charged": 5}
    assert len(counter.calls) == 1


def test_a_call_whose_process_was_killed_in_the_tool_is_made_again_with_the_same_key(
    tmp_path: Path, counter: Counter
) -> None:
    killed(tmp_path, "during")
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)  # it takes the key, so that is the default
        assert running.attempt().invoke(*CHARGE) == {"charged": 5}
        assert running.caller.unknown == 1
        [again] = running.effects()
        assert again.reason.startswith("call again: ")
    [first, second] = counter.calls
    assert first == second


@pytest.mark.parametrize("on_unknown", ["escalate", "stop"])
def test_a_call_whose_process_was_killed_in_the_tool_can_be_left_to_people(
    tmp_path: Path, counter: Counter, on_unknown: str
) -> None:
    killed(tmp_path, "during")
    for _ in range(2):
        with member(tmp_path) as running:
            running.tool("charge", counter.charge, on_unknown=on_unknown)
            with pytest.raises(ChioCallUnknown, match="whether it did its work is not known"):
                running.attempt().invoke(*CHARGE)
            assert [type(error) for error in running.stopped] == [ChioCallUnknown] * (on_unknown == "stop")
            assert running.effects()[-1].error == "ChioCallUnknown"
    assert len(counter.calls) == 1


def test_a_tool_that_takes_no_key_is_not_called_again_by_default(tmp_path: Path) -> None:
    with member(tmp_path) as running:
        running.tool("send", lambda: None, result="off")
        event = running.deliver()
        running.again(event).invoke("send", "tools:send")
        with pytest.raises(ChioCallUnknown, match="its result was not kept"):
            running.again(event).invoke("send", "tools:send")


def test_a_tool_that_raised_is_called_again_with_the_same_key(tmp_path: Path) -> None:
    keys = []

    def flaky(idempotency_key: str) -> str:
        keys.append(idempotency_key)
        if len(keys) == 1:
            raise ConnectionError("refused")
        return "done"

    with member(tmp_path) as running:
        running.tool("flaky", flaky, on_unknown="stop")
        event = running.deliver()
        with pytest.raises(ConnectionError):
            running.again(event).invoke("flaky", "tools:flaky")
        assert running.again(event).invoke("flaky", "tools:flaky") == "done"
        assert running.effects()[-1].reason.endswith("failed with ConnectionError")
    assert keys[0] == keys[1]


def test_a_tool_that_cannot_tell_says_so(tmp_path: Path) -> None:
    def vague() -> None:
        raise ChioCallUnknown("no answer in time")

    with member(tmp_path) as running:
        running.tool("vague", vague)
        event = running.deliver()
        with pytest.raises(ChioCallUnknown, match="no answer in time"):
            running.again(event).invoke("vague", "tools:vague")
        with pytest.raises(ChioCallUnknown, match="whether it did its work is not known"):
            running.again(event).invoke("vague", "tools:vague")


def test_a_digest_shows_that_a_call_gave_another_result_this_time(tmp_path: Path) -> None:
    numbers = iter(range(2))
    with member(tmp_path) as running:
        running.tool("count", lambda: next(numbers), result="digest", on_unknown="call again")
        event = running.deliver()
        for number in range(2):
            assert running.again(event).invoke("count", "tools:count") == number
        assert running.effects()[-1].reason.endswith("the result is another one")
        assert b"result" not in running.journal.path.read_bytes()


@pytest.mark.parametrize("result", [object(), "x" * MAX_RESULT])
def test_a_result_that_cannot_be_kept_is_given_and_the_call_is_unknown_the_next_time(
    tmp_path: Path, result: object, caplog: pytest.LogCaptureFixture
) -> None:
    with member(tmp_path) as running:
        running.tool("big", lambda: result)
        event = running.deliver()
        assert running.again(event).invoke("big", "tools:big") is result
        assert "results of tool `big` are not kept" in caplog.text
        with pytest.raises(ChioCallUnknown):
            running.again(event).invoke("big", "tools:big")


def test_a_handler_that_goes_on_after_a_refusal_fails_nevertheless(tmp_path: Path) -> None:
    with member(tmp_path) as running:
        running.tool("send", lambda: None, result="off")
        event = running.deliver()
        running.again(event).invoke("send", "tools:send")
        calls = running.again(event)
        for name in ("send", "absent"):
            with suppress(Exception):
                calls.invoke(name, f"tools:{name}")
            with pytest.raises((ChioCallUnknown, ChioConfigError)):
                calls.ended()


def test_of_two_attempts_at_the_same_time_one_calls(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running, member(tmp_path) as other:
        running.tool("charge", counter.charge)
        other.tool("charge", counter.charge)
        first, second = running.attempt(), other.attempt()
        assert first.recorded() == second.recorded() == {}
        first.invoke(*CHARGE)
        with pytest.raises(ChioError, match="another attempt"):
            second.invoke(*CHARGE)
    assert len(counter.calls) == 1


def test_a_call_whose_event_is_revoked_while_it_begins_is_not_made(tmp_path: Path, counter: Counter) -> None:
    with member(tmp_path) as running:
        running.tool("charge", counter.charge)
        event = running.deliver()
        calls = running.again(event)
        with closing(sqlite3.connect(running.journal.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = threading.Thread(target=attempt_in_vain, args=(calls,))
            begun.start()
            while not running.caller.has_begun(event):
                pass
            running.revoke()
            other.execute("COMMIT")
        begun.join()
    assert counter.calls == []


def attempt_in_vain(calls: Any) -> None:
    with pytest.raises(ChioRevoked):
        calls.invoke(*CHARGE)

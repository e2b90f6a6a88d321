"""What is done while somebody waits for something else."""

from __future__ import annotations

import threading

import pytest

from chio_fast.kafka.aside import Aside
from tests.kafka.patience import patiently


def test_things_are_done_in_order_in_a_thread_of_their_own() -> None:
    aside = Aside("beside")
    done: list[tuple[int, str]] = []
    go_on = threading.Event()

    def first() -> int:
        assert go_on.wait(30)
        done.append((1, threading.current_thread().name))
        return 1

    begun = aside.begin(first)
    following = aside.begin(lambda: done.append((2, threading.current_thread().name)))
    assert done == []
    go_on.set()
    assert begun.wait() == 1
    following.wait()
    assert done == [(1, "beside"), (2, "beside")]
    aside.stop()
    for _ in patiently("the end of the thread"):
        if all(thread.name != "beside" for thread in threading.enumerate()):
            break


def test_what_goes_wrong_is_raised_where_it_was_asked_for() -> None:
    aside = Aside("beside")

    def fail() -> None:
        raise LookupError("as asked")

    with pytest.raises(LookupError, match="as asked"):
        aside.begin(fail).wait()
    assert aside.begin(lambda: 5).wait() == 5
    aside.stop()


def test_what_is_never_used_has_no_thread() -> None:
    before = threading.active_count()
    Aside("beside").stop()
    assert threading.active_count() == before

"""Guards: any denial denies, and so does whatever is no answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chio_fast import Allow, CheckRequest, ChioConfigError, Decision, Deny, Enforcer, GuardError, Policy
from chio_fast.decision import GuardRun
from tests.core.conftest import IDENTITY

Make = Callable[..., Enforcer]


class Answers:
    """A sync guard that gives what it was made with, or raises it."""

    def __init__(self, answer: Any, name: str = "guard") -> None:
        self.name = name
        self.answer = answer
        self.seen: list[Any] = []

    def evaluate(self, context: Any) -> Any:
        self.seen.append(context)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class AnswersLater(Answers):
    """The same, async."""

    async def evaluate(self, context: Any) -> Any:
        await asyncio.sleep(0)
        return super().evaluate(context)


@pytest.fixture(params=[Answers, AnswersLater])
def kind(request: pytest.FixtureRequest) -> Any:
    """Sync and async guards keep the same promises."""
    return request.param


def ask(enforcer: Enforcer, **arguments: Any) -> Decision:
    return enforcer.check("tools:search:web", arguments=arguments)


def test_a_guard_of_a_list_always_runs(enforcers: Make, kind: Any) -> None:
    guard = kind(Allow())
    enforcer = enforcers(guards=[guard])
    assert ask(enforcer)
    assert ask(enforcer, amount=2000).guard_runs == (GuardRun("guard", "allow"),)
    assert [context.arguments for context in guard.seen] == [{}, {"amount": 2000}]


def test_no_guard_runs_for_what_is_denied_already(enforcers: Make, kind: Any) -> None:
    guard = kind(Allow())
    assert not enforcers(guards=[guard]).check("tools:other", arguments={})
    assert guard.seen == []


def test_any_denial_denies_whatever_the_rules_say(enforcers: Make, kind: Any) -> None:
    enforcer = enforcers(guards=[kind(Allow(), "a"), kind(Deny("not today"), "b")])
    decision = ask(enforcer, amount=2000)
    assert (decision.verdict, decision.rule, decision.reason) == ("deny", "guard:b", "not today")
    assert decision.guard_runs == (GuardRun("a", "allow"), GuardRun("b", "deny", "not today"))


@pytest.mark.parametrize(
    "answer", [None, True, "allow", Allow, ValueError("x"), TimeoutError(), SystemExit(3), KeyboardInterrupt()]
)
def test_what_is_no_answer_denies(enforcers: Make, kind: Any, answer: Any) -> None:
    enforcer = enforcers(guards=[kind(answer)])
    decision = ask(enforcer)
    assert (decision.verdict, decision.rule) == ("deny", "guard:guard")
    assert [run.verdict for run in decision.guard_runs] == ["error"]
    assert ask(enforcer).verdict == "deny"


def test_a_context_shows_the_request(enforcers: Make, kind: Any) -> None:
    guard = kind(Allow())
    enforcer = enforcers(guards=[guard])
    event = {"topic": "tasks", "value": b"{}"}
    enforcer.check("events:consume:tasks", event=event)
    enforcer.check("events:produce:results", event=event, output={"topic": "results"})
    enforcer.check("tools:search:web", tool="search", arguments={"q": 1})
    seen = [(c.kind, c.scope, c.identity, c.topic, c.event, c.output, c.tool, c.arguments) for c in guard.seen]
    assert seen == [
        ("consume", "events:consume:tasks", IDENTITY, "tasks", event, None, None, None),
        ("produce", "events:produce:results", IDENTITY, "results", event, {"topic": "results"}, None, None),
        ("invoke", "tools:search:web", IDENTITY, None, None, None, "search", {"q": 1}),
    ]
    assert [guard.seen[0].has_scope(scope) for scope in ("tools:search:x", "data:pii:read")] == [False, False]
    assert guard.seen[0].has_scope("events:produce:results")


def test_a_guard_may_not_change_what_the_policy_saw(enforcers: Make) -> None:
    class Meddler:
        def evaluate(self, context: Any) -> Allow:
            context.arguments["amount"] = 0
            return Allow()

    given = {"amount": 5}
    enforcer = enforcers(guards=[Meddler()])
    enforcer.tool("t", lambda amount: amount)
    assert enforcer.invoke("t", "tools:search:web", given) == 5


def test_a_policy_that_names_a_guard_that_is_not_there_is_refused(enforcers: Make, policy: Policy) -> None:
    with pytest.raises(ChioConfigError, match="`watch`"):
        enforcers(policy)
    with pytest.raises(ChioConfigError, match="`watch`"):
        enforcers(policy, guards={"other": Answers(Allow())})
    enforcer = enforcers()
    with pytest.raises(ChioConfigError, match="`watch`"):
        enforcer.reload(policy)


def test_what_is_no_guard_is_refused(enforcers: Make) -> None:
    with pytest.raises(ChioConfigError, match="evaluate"):
        enforcers(guards=[object()])
    with pytest.raises(ChioConfigError, match="two guards"):
        enforcers(guards=[Answers(Allow()), Answers(Allow())])


def test_guards_of_a_batch_run_concurrently(enforcers: Make, kind: Any) -> None:
    class Sync(Answers):
        barrier = threading.Barrier(4, timeout=10)

        def evaluate(self, context: Any) -> Allow:
            self.barrier.wait()
            return Allow()

    class Async(Answers):
        waiting = 0
        event = None

        async def evaluate(self, context: Any) -> Allow:
            self.event = self.event or asyncio.Event()
            self.waiting += 1
            if self.waiting == 4:
                self.event.set()
            await self.event.wait()
            return Allow()

    guard = (Sync if kind is Answers else Async)(Allow())
    requests = [CheckRequest(scope="tools:search:web", arguments={"amount": i}) for i in range(4)]
    assert all(enforcers(guards=[guard], guard_threads=4).check_batch(requests))


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets hanging guards go when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_guard_that_does_not_answer_in_time_denies(enforcers: Make, release: threading.Event) -> None:
    class Sync(Answers):
        def evaluate(self, context: Any) -> Allow:
            release.wait()
            return Allow()

    class Async(Answers):
        async def evaluate(self, context: Any) -> Allow:
            await asyncio.Event().wait()
            return Allow()

    enforcer = enforcers(guards=[Sync(None, "sync"), Async(None, "async")], guard_timeout=0.2)
    decision = ask(enforcer)
    assert decision.verdict == "deny"
    assert [run.verdict for run in decision.guard_runs] == ["timeout", "timeout"]
    assert enforcer.stats().guards_hung == 1
    release.set()
    deadline = time.monotonic() + 10
    while enforcer.stats().guards_hung:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_pool_full_of_hung_guards_stops_with_an_error(enforcers: Make, release: threading.Event) -> None:
    class Hangs(Answers):
        def evaluate(self, context: Any) -> Allow:
            release.wait()
            return Allow()

    enforcer = enforcers(guards=[Hangs(None)], guard_timeout=0.1, guard_threads=2)
    assert [ask(enforcer).verdict for _ in range(2)] == ["deny", "deny"]
    issued = enforcer.log.issued
    with pytest.raises(GuardError, match="hang"):
        ask(enforcer)
    assert enforcer.log.issued == issued


def test_async_guards_that_ignore_cancelling_stop_with_an_error(enforcers: Make) -> None:
    stop = False

    class Stubborn(Answers):
        async def evaluate(self, context: Any) -> Allow:
            while not stop:
                try:
                    await asyncio.sleep(0.02)
                except asyncio.CancelledError:
                    continue
            return Allow()

    enforcer = enforcers(guards=[Stubborn(None)], guard_timeout=0.1, guard_concurrency=2)
    assert ask(enforcer).verdict == "deny"
    with pytest.raises(GuardError, match="do not end when cancelled"):
        ask(enforcer)
    stop = True


def test_an_async_guard_that_blocks_the_loop_stops_with_an_error(enforcers: Make, release: threading.Event) -> None:
    class Blocks(Answers):
        async def evaluate(self, context: Any) -> Allow:
            release.wait()
            return Allow()

    enforcer = enforcers(guards=[Blocks(None)], guard_timeout=0.1)
    with pytest.raises(GuardError, match="blocked the loop"):
        ask(enforcer)


async def test_async_guards_run_on_the_callers_loop_under_ainvoke(enforcers: Make) -> None:
    class Loop(Answers):
        async def evaluate(self, context: Any) -> Allow:
            self.seen.append(asyncio.get_running_loop())
            return Allow()

    guard = Loop(None)
    enforcer = enforcers(guards=[guard])
    enforcer.tool("t", lambda: 1)
    assert await enforcer.ainvoke("t", "tools:search:web") == 1
    assert guard.seen == [asyncio.get_running_loop()]

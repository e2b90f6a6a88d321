"""What changes between a decision, its receipt and what follows is noticed, or makes no difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chio_fast import Allow, ChioError, Enforcer, Policy
from tests.core.conftest import IDENTITY
from tests.core.test_gate import admitted, assigned, message

Make = Callable[..., Enforcer]


class Meanwhile:
    """A guard that allows, after something else has happened."""

    def __init__(self, happens: Callable[[], Any]) -> None:
        self._happens = happens

    def evaluate(self, context: Any) -> Allow:
        self._happens()
        return Allow()


def test_a_tool_is_not_called_with_arguments_that_nobody_decided_about(enforcers: Make) -> None:
    given: dict[str, Any] = {"orders": [{"amount": 5}]}
    enforcer = enforcers(guards=[Meanwhile(lambda: given["orders"].append({"amount": 5000}))])
    called: list[Any] = []
    enforcer.tool("pay", called.append)
    with pytest.raises(ChioError, match="changed after it was decided"):
        enforcer.invoke("pay", "tools:search:web", given)
    assert not called
    enforcer.seal()
    _, effect = enforcer.receipt_log.query()
    assert (effect.kind, effect.error) == ("effect", "ChioError")


async def test_nor_is_an_async_one(enforcers: Make) -> None:
    given: dict[str, Any] = {"orders": [{"amount": 5}]}
    enforcer = enforcers(guards=[Meanwhile(given["orders"].clear)])

    async def pay(orders: list[Any]) -> int:
        return len(orders)

    enforcer.tool("pay", pay)
    with pytest.raises(ChioError, match="changed after it was decided"):
        await enforcer.ainvoke("pay", "tools:search:web", given)


def test_headers_that_are_set_on_an_event_change_neither_its_receipt_nor_its_decision(enforcers: Make) -> None:
    policy = {
        "chio": "policy/v1",
        "identities": {IDENTITY: {"capabilities": ["events:consume:tasks", "events:produce:results"]}},
        "rules": [
            {
                "id": "stop",
                "effect": "deny",
                "identities": ["*"],
                "scopes": ["**"],
                "when": "has(event.headers.stop) && event.headers.stop == 'now'",
            }
        ],
    }
    enforcer = enforcers(Policy.from_dict(policy))
    for headers in ([("stop", b"later"), ("traceparent", b"t")], [("stop", b"now")]):
        [event] = admitted(enforcer, [message(0, headers=headers)], assigned(enforcer, "tasks"))
        [same] = admitted(enforcer, [message(0, headers=headers)], assigned(enforcer, "tasks"))
        event.set_headers([("stop", b"other")])
        assert event.headers() == [("stop", b"other")]
        enforcer.reload(Policy.from_dict(policy))
        enforcer.issue([event])
        enforcer.issue([same])
        assert event.chio_decision.verdict == same.chio_decision.verdict
        assert event.has_scope("events:consume:tasks") == same.has_scope("events:consume:tasks")
    enforcer.seal()
    receipts = list(enforcer.receipt_log.query())
    assert [receipt.verdict for receipt in receipts] == ["allow", "allow", "deny", "deny"]
    assert [receipt.correlation for receipt in receipts] == ["t", "t", None, None]
    for changed, same_receipt in (receipts[:2], receipts[2:]):
        assert changed.digest == same_receipt.digest


def test_an_event_that_is_decided_again_meanwhile_is_not_handed_out_by_what_held_before(
    enforcers: Make, policy: Policy
) -> None:
    """The second policy asks for a guard, which has not run; reading headers lets other threads run."""
    unguarded = {"chio": "policy/v1", "identities": {IDENTITY: {"capabilities": ["events:consume:watched"]}}}
    enforcer = enforcers(Policy.from_dict(unguarded), guards={"watch": Meanwhile(lambda: None)})
    reads: list[Any] = []

    class Standin:
        def __init__(self) -> None:
            self._inner = message(0, "watched")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def headers(self) -> None:
            if not reads:
                reads.append(True)
                enforcer.gate.set_policy(policy)
                assert enforcer.gate.issue([event])[2] == [event]

    [event] = admitted(enforcer, [Standin()], assigned(enforcer, "watched"))  # type: ignore[list-item]
    with pytest.raises(ChioError, match="decided again by another thread"):
        enforcer.gate.issue([event])
    assert event.chio_receipt_id is None
    allowed, _ = enforcer.issue([event])
    assert [run.name for run in allowed[0].chio_decision.guard_runs] == ["watch"]

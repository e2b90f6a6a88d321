"""Content that producers and models choose ends neither a consumer nor its patience."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from chio_fast import Deny, Enforcer
from chio_fast.kafka import envelope, failures
from tests.core.test_gate import admitted, assigned, message

Make = Callable[..., Enforcer]
NOT_UNICODE = b'{"customer": "\\ud800"}'
"""JSON of which Python makes a string that cannot be written as UTF-8."""


def test_a_guard_may_quote_text_that_is_not_unicode(enforcers: Make) -> None:
    class Quoting:
        def evaluate(self, context: Any) -> Deny:
            return Deny(f"no such customer: {json.loads(context.event.value())['customer']}")

    enforcer = enforcers(guards=[Quoting()])
    [event] = admitted(enforcer, [message(0, "later", value=NOT_UNICODE)], assigned(enforcer, "later"))
    _, denied = enforcer.issue([event])
    assert denied == [event]
    assert event.chio_decision.reason.startswith("no such customer: \ufffd")
    assert event.chio_decision.rule == "guard:Quoting"


def test_so_may_the_exception_of_a_handler(enforcer: Enforcer) -> None:
    [event] = admitted(enforcer, [message(0, value=b"{}")], assigned(enforcer, "tasks"))
    enforcer.issue([event])
    failure = failures.describe(KeyError(json.loads(NOT_UNICODE)["customer"]), 1)
    assert failures.describe(ValueError("\ud83d\ude00 \ud800"), 1).message.endswith("\ufffd")
    record = failures.error_record(event, failure, form=envelope.Form.FULL)
    assert json.loads(record.value or b"")["chio_error"]["type"] == "KeyError"


def test_an_event_that_names_very_many_parents_is_decided_at_once(enforcer: Enforcer) -> None:
    parent = str(enforcer.check("tools:search:web", arguments={}).receipt_id)
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    endings = (a + b + c + d for a in digits for b in digits for c in digits for d in digits)
    headers = [("X-Chio-Receipt", parent[:-4] + ending) for _, ending in zip(range(200_000), endings, strict=False)]
    started = time.monotonic()
    decision = enforcer.check("events:consume:tasks", event={"topic": "tasks", "headers": headers, "value": b"{}"})
    assert time.monotonic() - started < 5
    enforcer.seal()
    receipt = enforcer.receipt_log.get(str(decision.receipt_id))
    assert (len(receipt.parents), receipt.parents_rejected) == (16, 200_000 - 16)

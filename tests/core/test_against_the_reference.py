"""What an enforcer answers, and what the independent verifier reads in its receipts, is what the definition gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from blake3 import blake3
from confluent_kafka import Message

from chio_fast import Allow, CheckRequest, ChioError, Decision, Enforcer, Policy, TrustFile
from chio_fast.kafka.digests import is_content_of
from chio_fast.verify import canonical, load_trust, verify_log
from chio_fast.verify.frames import decode, split
from tests.policy import engine, generate, reference

if TYPE_CHECKING:
    from pathlib import Path

    from tests.policy.model import PolicyModel, Record, Request

Make = Callable[..., Enforcer]
CASES = 1_500
A_MINUTE = 60_000
"""Stands for each millisecond between a generated window's ends and the generated time."""


class Agreeable:
    """A guard that allows everything."""

    def evaluate(self, context: Any) -> Allow:
        return Allow()


def in_force(policy: PolicyModel) -> PolicyModel:
    """The policy with its windows around the time of now; none begins or ends while the test runs."""
    now = round(time.time() * 1000)

    def moved(boundary: int | None) -> int | None:
        return None if boundary is None else now + (boundary - generate.NOW) * A_MINUTE

    windows = [
        replace(rule, not_before=moved(rule.not_before), expires_at=moved(rule.expires_at)) for rule in policy.rules
    ]
    return replace(policy, rules=tuple(windows))


def asked(request: Request) -> CheckRequest:
    given = engine.arguments(request)
    del given["now"]
    return CheckRequest(scope=request.scope, identity=request.identity, **given)


def message(record: Record) -> Message:
    return Message(topic=record.topic, key=record.key, value=record.value, headers=list(record.headers))


def expected_body(request: Request, decision: Decision, wanted: reference.Outcome) -> dict[str, Any]:
    """The members of the receipt that follow from the definition."""
    record = {"consume": request.event, "produce": request.output}.get(request.kind)
    target: dict[str, Any] = {"tool": request.tool}
    if record is not None:
        target = {"topic": record.topic}
        if request.kind == "consume":
            target |= {"partition": record.partition, "timestamp": record.timestamp}
            target["offset"] = record.offset if record.offset <= canonical.MAX_SAFE else str(record.offset)
    body = {"identity": request.identity, "kind": request.kind, "scope": request.scope, "target": target}
    body |= {"time": decision.timestamp, "verdict": wanted.verdict, "v": 1}
    return body | ({"rule": wanted.rule} if wanted.rule else {})


def holds_digest(body: dict[str, Any], request: Request) -> bool | None:
    if request.kind == "invoke":
        text = canonical.dumps(canonical.loads(request.arguments or b""))
        encoding = b"\x02" + len(text).to_bytes(8, "little") + text
        return body["digest"] == blake3(encoding + bytes(-len(encoding) % 64)).hexdigest()
    record = request.event if request.kind == "consume" else request.output
    assert record is not None
    return is_content_of(body["digest"], message(record))


@pytest.mark.parametrize("seed", [1, 2])
def test_decisions_and_receipts_are_those_of_the_definition(enforcers: Make, tmp_path: Path, seed: int) -> None:
    enforcer = enforcers(guards=dict.fromkeys(generate.GUARDS, Agreeable()))
    answered: list[tuple[PolicyModel, Request, Decision]] = []
    for generated, requests in generate.take(f"surface {seed}", CASES):
        policy = in_force(generated)
        enforcer.reload(Policy.from_dict(policy.document()))
        named = [request for request in requests if request.scope]
        decisions = enforcer.check_batch(map(asked, named))
        answered += [(policy, request, decision) for request, decision in zip(named, decisions, strict=True)]
    enforcer.close()
    stream = tmp_path / "frames"
    enforcer.receipt_log.export_log(stream)
    trust = load_trust(TrustFile.of(enforcer.log.public_key).to_json().decode())
    report = verify_log(stream.read_bytes(), trust)
    assert (report.findings, report.receipts) == ([], len(answered))
    bodies = [msgspec.json.decode(body or b"") for frame in split(stream.read_bytes()) for body in decode(frame).bodies]
    for (policy, request, decision), body in zip(answered, bodies, strict=True):
        wanted = reference.decide(policy, replace(request, now=decision.timestamp))
        assert not engine.differences(decision, wanted), (policy.document(), request)
        assert body["id"] == decision.receipt_id
        wished = expected_body(request, decision, wanted)
        assert {name: body.get(name) for name in wished} == wished
        assert {run["name"] for run in body.get("guards", ())} == wanted.guards
        assert {error["rule"] for error in body.get("errors", ())} == set(wanted.errors)
        assert holds_digest(body, request), (policy.document(), request, body)
    assert {decision.verdict for _, _, decision in answered} == {"allow", "deny", "escalate", "delay"}


def test_what_has_no_scope_is_asked_in_vain(enforcer: Enforcer) -> None:
    with pytest.raises(ChioError, match="need a scope"):
        enforcer.check("", event={"topic": "t"})

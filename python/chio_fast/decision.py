"""What was decided, and what a guard may answer."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["allow", "deny", "escalate", "delay"]
"""The word; whatever is not `allow` stops the event or the call."""

Kind = Literal["consume", "invoke", "produce"]
"""The boundary at which something is decided."""


FOREVER = 2**63 - 1
"""Later than any time: until the policy changes."""


class RuleError(msgspec.Struct, frozen=True):
    """A rule whose condition erred while the decision was made.

    Attributes:
        rule: id of the rule.
        code: what went wrong, a word of a fixed list, such as `no_such_field`.
    """

    rule: str
    code: str


GuardVerdict = Literal["allow", "deny", "error", "timeout"]
"""What became of a guard; whatever is not `allow` denies."""


class GuardRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """A guard that was evaluated for the decision.

    Attributes:
        name: the guard's name.
        verdict: `allow`, `deny`, `error` (it raised, or its answer was neither `Allow` nor `Deny`) or `timeout`.
        reason: why it denied or what went wrong, empty if it allowed.
    """

    name: str
    verdict: GuardVerdict
    reason: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What the policy, and the guards if any ran, say about one request.

    It is true in a boolean context exactly if the verdict is `allow`.

    Attributes:
        identity: who asked.
        scope: the permission asked for.
        kind: the boundary.
        verdict: `allow`, `deny`, `escalate` or `delay`.
        rule: rule that decided: its id, `capability:{identity}:{pattern}`, `guard:{name}`, or empty if nothing matched.
        reason: a sentence for people.
        errors: rules whose condition erred.
        guards: names of the guards that are due (`decide`) or were evaluated (`check`).
        policy_version: hash of the policy's canonical form, hexadecimal.
        valid_until: Unix time in ms at which it has to be made again; `FOREVER` if it holds while the policy does.
        receipt_id: id of the receipt; None if none was issued (`decide`).
        timestamp: Unix time in ms at which it was decided.
        guard_runs: what each evaluated guard said.
    """

    identity: str
    scope: str
    kind: Kind
    verdict: Verdict
    rule: str
    reason: str
    errors: tuple[RuleError, ...]
    guards: tuple[str, ...]
    policy_version: str
    timestamp: int
    valid_until: int = FOREVER
    receipt_id: str | None = None
    guard_runs: tuple[GuardRun, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the verdict is `allow`."""
        return self.verdict == "allow"

    def __bool__(self) -> bool:
        """Give `allowed`, so that `if policy.decide(...)` cannot let a denial through."""
        return self.verdict == "allow"


class Allow:
    """A guard's answer: nothing speaks against it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Allow()"


class Deny:
    """A guard's answer: no.

    Args:
        reason: a sentence that goes into the receipt and the DLQ record.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = str(reason)

    def __repr__(self) -> str:
        return f"Deny({self.reason!r})"


class ExplainedRule(msgspec.Struct, frozen=True):
    """A rule whose identity and scope match the request.

    Attributes:
        rule: id of the rule.
        effect: its effect.
        condition: text of the condition; None if it has none.
        result: what it came to: `true`, `false`, `outside_window`, or the code of the error.
        guards: guards that it names.
        not_before: start of its window, Unix ms.
        expires_at: end of its window, Unix ms, not part of it.
        decided: whether this rule decided.
    """

    rule: str
    effect: Verdict
    condition: str | None
    result: str
    guards: tuple[str, ...]
    not_before: int | None
    expires_at: int | None
    decided: bool


class Explanation(msgspec.Struct, frozen=True):
    """Why a decision is what it is.

    Attributes:
        decision: the decision by the rules alone.
        why: one sentence: which rule decided, and why it and no other.
        rules: every rule that matched the identity and the scope, in the order of the policy.
    """

    decision: Decision
    why: str
    rules: tuple[ExplainedRule, ...]


class _NativeRule(msgspec.Struct):
    id: str
    effect: Verdict
    when: str | None
    outcome: str
    error: str | None
    guards: tuple[str, ...]
    not_before: int | None
    expires_at: int | None
    decided: bool


class _NativeExplanation(msgspec.Struct):
    identity: str
    scope: str
    kind: Kind
    now: int
    policy_version: str
    verdict: Verdict
    rule: str
    reason: str
    why: str
    guards: tuple[str, ...]
    errors: tuple[RuleError, ...]
    valid_until: int | None
    rules: tuple[_NativeRule, ...]


def read_explanation(json: bytes) -> Explanation:
    """Give the extension's explanation as structs."""
    native = msgspec.json.decode(json, type=_NativeExplanation)
    decision = Decision(
        identity=native.identity,
        scope=native.scope,
        kind=native.kind,
        verdict=native.verdict,
        rule=native.rule,
        reason=native.reason,
        errors=native.errors,
        guards=native.guards,
        policy_version=native.policy_version,
        timestamp=native.now,
        valid_until=FOREVER if native.valid_until is None else native.valid_until,
    )
    rules = tuple(
        ExplainedRule(
            rule=rule.id,
            effect=rule.effect,
            condition=rule.when,
            result=rule.error or rule.outcome,
            guards=rule.guards,
            not_before=rule.not_before,
            expires_at=rule.expires_at,
            decided=rule.decided,
        )
        for rule in native.rules
    )
    return Explanation(decision, native.why, rules)

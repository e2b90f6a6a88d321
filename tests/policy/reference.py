"""The naive reference evaluator: the definition of a decision, read line by line.

It looks at every rule of the policy for every request, matches patterns segment by segment, evaluates condition trees
instead of text and reads JSON with its own strict parser. It shares no code with the engine and is the oracle that the
engine is tested against.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.policy import operators, semantics, strict_json
from tests.policy.expressions import Name, Node, children
from tests.policy.model import Identity, PolicyModel, Record, Request, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOREVER = 2**63 - 1
# A decision that read the clock is good for this long.
NOW_LIFETIME_MS = 1000
OUTSIDE_WINDOW = "outside_window"
MALFORMED = "malformed"
MAX_SCOPE_BYTES = 512
MAX_IDENTITY_BYTES = 255
MAX_SEGMENTS = 16
# Strongest first.
PRECEDENCE = ("deny", "escalate", "delay", "allow")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision as the reference sees it.

    Attributes:
        verdict: allow, deny, escalate or delay.
        rule: id of the rule that decided; empty when none matched.
        errors: for every rule whose condition erred, the classes of error that may be reported.
        guards: names of the guards that are due.
        valid_until: Unix milliseconds; `FOREVER` when only a new policy can change the decision.
    """

    verdict: str
    rule: str
    errors: dict[str, frozenset[str]]
    guards: frozenset[str]
    valid_until: int


def decide(policy: PolicyModel, request: Request) -> Outcome:
    """Decide `request` by the definition."""
    if not well_formed(request):
        return Outcome("deny", "", {"": frozenset({MALFORMED})}, frozenset(), FOREVER)
    matching = matching_rules(policy, request)
    environment = environment_of(policy, request)
    errors: dict[str, frozenset[str]] = {}
    held: list[Rule] = []
    votes: list[tuple[str, str]] = []
    for rule in matching:
        result = result_of(rule, request, environment)
        if result == {"true"}:
            held.append(rule)
            votes.append((rule.effect, rule.id))
        elif not result & {"false", OUTSIDE_WINDOW}:
            errors[rule.id] = result
            if rule.effect != "allow":
                votes.append(("deny", rule.id))
    verdict, decisive = strongest(votes)
    due = frozenset(name for rule in held for name in rule.guards) if verdict != "deny" else frozenset()
    return Outcome(verdict, decisive, errors, due, valid_until(matching, request.now))


def explain(policy: PolicyModel, request: Request) -> list[tuple[str, frozenset[str], bool]]:
    """Every rule that matches: its id, what its condition may give, and whether it decides."""
    if not well_formed(request):
        return []
    environment = environment_of(policy, request)
    decisive = decide(policy, request).rule
    return [
        (rule.id, result_of(rule, request, environment), rule.id == decisive)
        for rule in matching_rules(policy, request)
    ]


def result_of(rule: Rule, request: Request, environment: Mapping[str, Any]) -> frozenset[str]:
    """What a matching rule gives: `true`, `false`, `outside_window`, or the classes of error that may be reported."""
    if not in_window(rule, request.now):
        return frozenset({OUTSIDE_WINDOW})
    try:
        held = rule.when is None or semantics.condition(rule.when, environment)
    except operators.ConditionError as error:
        return error.classes
    return frozenset({"true" if held else "false"})


def well_formed(request: Request) -> bool:
    """Whether identity and scope of a request are names: a wildcard, a space or an empty segment is no name."""
    segments = request.scope.split(":")
    return (
        len(request.scope.encode()) <= MAX_SCOPE_BYTES
        and len(request.identity.encode()) <= MAX_IDENTITY_BYTES
        and len(segments) <= MAX_SEGMENTS
        and all(_is_name(name) for name in (request.identity, *segments))
    )


def _is_name(text: str) -> bool:
    return bool(text) and not any(character == "*" or unicodedata.category(character)[0] in "CZ" for character in text)


def strongest(votes: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The strongest effect and the first rule that votes for it; no vote is a deny."""
    for effect in PRECEDENCE:
        for vote, rule_id in votes:
            if vote == effect:
                return effect, rule_id
    return "deny", ""


def valid_until(matching: Sequence[Rule], now: int) -> int:
    """Until when the decision holds: the next boundary of a window, or a moment if a condition reads the clock."""
    boundaries = [boundary for rule in matching for boundary in (rule.not_before, rule.expires_at)]
    limits = [boundary for boundary in boundaries if boundary is not None and boundary > now]
    if any(in_window(rule, now) and rule.when is not None and reads_now(rule.when) for rule in matching):
        limits.append(now + NOW_LIFETIME_MS)
    return min(limits, default=FOREVER)


def has_scope(policy: PolicyModel, request: Request) -> bool:
    """Whether the rules alone allow `request`."""
    return decide(policy, request).verdict == "allow"


def all_rules(policy: PolicyModel) -> Iterator[Rule]:
    """Every rule in the order of the document; a capability is an allow rule without condition."""
    for identity in policy.identities:
        for pattern in identity.capabilities:
            yield Rule(f"capability:{identity.name}:{pattern}", "allow", (identity.name,), (pattern,))
    yield from policy.rules


def matching_rules(policy: PolicyModel, request: Request) -> list[Rule]:
    """The rules that speak of this identity and this scope."""
    return [
        rule
        for rule in all_rules(policy)
        if any(identity_matches(pattern, request.identity) for pattern in rule.identities)
        and any(scope_matches(pattern, request.scope) for pattern in rule.scopes)
    ]


def identity_matches(pattern: str, identity: str) -> bool:
    """Whether an identity pattern (exact, `prefix*` or `*`) covers `identity`."""
    return segment_matches(pattern, identity)


def scope_matches(pattern: str, scope: str) -> bool:
    """Whether a scope pattern covers `scope`, segment by segment."""
    return _segments_match(pattern.split(":"), scope.split(":"))


def _segments_match(pattern: Sequence[str], scope: Sequence[str]) -> bool:
    if not pattern or not scope:
        return not pattern and not scope
    if pattern[0] == "**":
        return True
    return segment_matches(pattern[0], scope[0]) and _segments_match(pattern[1:], scope[1:])


def segment_matches(pattern: str, segment: str) -> bool:
    """Whether one segment of a pattern (literal, `prefix*` or `*`) covers one segment of a name."""
    if pattern.endswith("*"):
        return segment.startswith(pattern[:-1])
    return pattern == segment


def in_window(rule: Rule, now: int) -> bool:
    """Whether `now` is in [not_before, expires_at)."""
    return (rule.not_before is None or rule.not_before <= now) and (rule.expires_at is None or now < rule.expires_at)


def reads_now(node: Node) -> bool:
    """Whether an expression mentions the clock."""
    return node == Name("now") or any(map(reads_now, children(node)))


def environment_of(policy: PolicyModel, request: Request) -> dict[str, Any]:
    """The variables of a condition; what does not exist at this boundary is absent, and reading it errs."""
    environment: dict[str, Any] = {
        "identity": {"name": request.identity, "attributes": attributes_of(policy.identities, request.identity)},
        "scope": request.scope,
        "kind": request.kind,
        "now": request.now,
    }
    if request.event is not None:
        environment["event"] = _record(request.event)
    if request.kind == "invoke":
        if request.tool is not None:
            environment["tool"] = request.tool
        if request.arguments is not None:
            environment["arguments"] = _json(request.arguments)
    if request.kind == "produce" and request.output is not None:
        environment["output"] = _record(request.output)
    return environment


def attributes_of(identities: Sequence[Identity], name: str) -> dict[str, Any]:
    """The attributes that the policy gives to exactly this identity."""
    for identity in identities:
        if identity.name == name:
            return identity.attributes
    return {}


def _record(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "topic": record.topic,
        "key": _text(record.key),
        "headers": {name: _text(value) for name, value in record.headers},
        "value": _json(record.value),
        "size": len(record.value or b""),
    }
    known = {"partition": record.partition, "offset": record.offset, "timestamp": record.timestamp}
    return fields | {name: value for name, value in known.items() if value is not None}


def _text(data: bytes | None) -> Any:
    """A key or a header as a condition sees it: null when absent, a string when it is UTF-8, else bytes."""
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _json(data: bytes | None) -> Any:
    """The value of a JSON text; null for a tombstone; unreadable when it is not acceptable JSON."""
    if data is None:
        return None
    try:
        return strict_json.parse(data)
    except strict_json.StrictJsonError:
        return operators.Unreadable(operators.JSON)

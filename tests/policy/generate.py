"""Seeded generation of policies, requests and JSON texts for the differential tests.

One seed gives one sequence of cases, on every machine. Names come from small pools, so that rules overlap, prefixes
meet, and every verdict, error and guard occurs often.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from tests.policy.generate_conditions import STRINGS, ConditionGenerator, usual_document
from tests.policy.model import Identity, PolicyModel, Record, Request, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
KINDS = ("consume", "invoke", "produce")
IDENTITIES = ("research", "research-1", "research-eu", "refund", "ops", "r")
IDENTITY_PATTERNS = (*IDENTITIES, "*", "research*", "research-*", "re*", "nobody*")
SEGMENTS = (
    ("events", "tools", "data", "event"),
    ("consume", "search", "refund", "pii", "produce"),
    ("orders", "orders-eu", "order", "web", "web-1"),
    ("read", "write"),
)
GUARDS = ("pii", "schema", "budget")
EFFECTS = ("allow", "allow", "allow", "deny", "escalate", "delay")
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    {},
    {"region": "EUR", "level": 3, "teams": ["gold", "orders"]},
    {"region": "", "level": 1000, "teams": []},
    {"level": 1.5, "teams": ["eur", 1]},
)
BROKEN_JSON = (
    b"",
    b"{",
    b"not json",
    b'{"amount": 1} x',
    b'{"amount": 1, "amount": 2}',
    b'{"amount": 1, "amo\\u0075nt": 2}',
    b'{"amount": NaN}',
    b'{"amount": 18446744073709551616}',
    b'{"amount": 01}',
    b'{"note": "\xff"}',
    b'{"note": "\\ud800"}',
    b'{"note": "a\nb"}',
    b"[" * 65 + b"]" * 65,
    b'{"customer": {"tier": 1, "tier": 2}}',
)


class PolicyGenerator:
    """Makes policies and requests from one random source."""

    def __init__(self, seed: int | str) -> None:
        self.random = Random(seed)
        self.conditions = ConditionGenerator(self.random)
        self.crowded = ""

    def cases(self, requests_per_policy: int = 24) -> Iterator[tuple[PolicyModel, list[Request]]]:
        """Policies without end, each with its requests."""
        while True:
            policy = self.policy()
            yield policy, [self.request(policy) for _ in range(requests_per_policy)]

    def policy(self) -> PolicyModel:
        # Half of the rules speak of one scope, so that several of them meet in a decision.
        self.crowded = self._name()
        names = self.random.sample(IDENTITIES, self.random.randrange(1, 4))
        identities = tuple(
            Identity(name, self._distinct_patterns(self.random.randrange(4)), self.random.choice(ATTRIBUTES))
            for name in names
        )
        return PolicyModel(identities, tuple(self._rule(number) for number in range(self.random.randrange(10))))

    def request(self, policy: PolicyModel) -> Request:
        """A request that mostly aims at something the policy speaks of."""
        identity, scope = self._aim(policy) if self.random.random() < 0.8 else (None, None)
        kind = self.random.choices(KINDS, (6, 2, 2))[0]
        event = self._record() if kind == "consume" or self.random.random() < 0.7 else None
        return Request(
            identity=identity or self.random.choice((*IDENTITIES, "stranger")),
            scope=self.crowded if self.random.random() < 0.4 else scope or self.scope(),
            kind=kind,
            now=NOW + self.random.choice((-2000, -1, 0, 1, 500, 2000, 60_000)),
            event=event,
            tool=self.random.choice(("search", "refund")) if kind == "invoke" else None,
            arguments=self._arguments() if kind == "invoke" else None,
            output=self._output() if kind == "produce" else None,
        )

    def _aim(self, policy: PolicyModel) -> tuple[str | None, str | None]:
        """An identity and a scope that one of the policy's rules covers, or nearly."""
        targets = [(rule.identities, rule.scopes) for rule in policy.rules]
        targets += [
            ((identity.name,), identity.capabilities) for identity in policy.identities if identity.capabilities
        ]
        if not targets:
            return None, None
        identities, scopes = self.random.choice(targets)
        identity = self.random.choice(identities).replace("*", self.random.choice(("", "1", "-1")))
        return identity or None, self._concrete(self.random.choice(scopes))

    def _concrete(self, pattern: str) -> str:
        """A scope that `pattern` covers."""
        segments = []
        for segment in pattern.split(":"):
            if segment == "**":
                segments += [self.random.choice(SEGMENTS[3]) for _ in range(self.random.choice((1, 2, 3)))]
            elif segment == "*":
                segments.append(self.random.choice(SEGMENTS[2]))
            else:
                segments.append(segment.replace("*", self.random.choice(("", "s", "-1"))))
        return ":".join(segments)

    def _name(self) -> str:
        length = self.random.choices((1, 2, 3, 4, 5), (1, 3, 8, 2, 1))[0]
        return ":".join(self.random.choice(SEGMENTS[min(position, 3)]) for position in range(length))

    def scope(self) -> str:
        """A concrete scope; sometimes shorter or longer than the usual ones."""
        if self.random.random() < 0.003:
            return self.random.choice(("", "tools:*", "events::orders", "data:", "a b", ":".join("x" * 17)))
        return self._name()

    def pattern(self) -> str:
        """A scope pattern: a scope with some segments widened."""
        return self._wide(self._name())

    def _wide(self, scope: str) -> str:
        segments = [self._widened(segment) for segment in scope.split(":")]
        if self.random.random() < 0.2:
            segments = [*segments[: self.random.randrange(len(segments) + 1)], "**"]
        return ":".join(segments)

    def _widened(self, segment: str) -> str:
        choice = self.random.random()
        if choice < 0.25:
            return "*"
        if choice < 0.45:
            return segment[: self.random.randrange(1, len(segment) + 1)] + "*"
        return segment

    def _distinct_patterns(self, count: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.pattern() for _ in range(count)))

    def _rule(self, number: int) -> Rule:
        crowded = self.random.random() < 0.5
        window = self.random.choices(("none", "from", "until", "both"), (7, 1, 1, 1))[0]
        start = NOW + self.random.choice((-1000, 0, 1, 700))
        end = start + self.random.choice((1, 500, 5000))
        return Rule(
            id=f"rule-{number}",
            effect=self.random.choice(EFFECTS),
            identities=("*",) if crowded else tuple(self.random.sample(IDENTITY_PATTERNS, self.random.choice((1, 2)))),
            scopes=(self._wide(self.crowded),) if crowded else self._distinct_patterns(self.random.choice((1, 1, 2))),
            when=self.conditions.condition() if self.random.random() < 0.75 else None,
            not_before=start if window in ("from", "both") else None,
            expires_at=end if window in ("until", "both") else None,
            guards=tuple(self.random.sample(GUARDS, self.random.choice((0, 0, 0, 1, 2)))),
            reason=self.random.choice((None, "because")),
        )

    def _output(self) -> Record:
        """A record on its way out has no place in a partition and no time yet."""
        return replace(self._record(), partition=None, offset=None, timestamp=None)

    def _record(self) -> Record:
        return Record(
            topic=self.random.choice(("orders", "gold", "eur")),
            partition=self.random.randrange(3),
            offset=self.random.choice((0, 1, 1000, 2**53 + 1)),
            key=self.random.choice((None, b"", b"EUR", b"\xff\x00")),
            timestamp=NOW - self.random.choice((0, 1000, 60_000)),
            headers=self._headers(),
            value=self._value(),
        )

    def _headers(self) -> tuple[tuple[str, bytes | None], ...]:
        headers: list[tuple[str, bytes | None]] = []
        if self.random.random() < 0.6:
            headers.append(("trace", self.random.choice(STRINGS).encode()))
        if self.random.random() < 0.4:
            headers.append(("X-Tenant", b"gold"))
        if self.random.random() < 0.2:
            headers.append(("empty", b""))
        if self.random.random() < 0.1:
            headers.append(("trace", self.random.choice((None, b"\xff", b"last"))))
        return tuple(headers)

    def _value(self) -> bytes | None:
        choice = self.random.random()
        if choice < 0.03:
            return None
        if choice < 0.1:
            return self.random.choice(BROKEN_JSON)
        if choice < 0.13:
            return mutated(self.random, json_text(self.random, usual_document(self.random)))
        return json_text(self.random, usual_document(self.random))

    def _arguments(self) -> bytes:
        return json.dumps(usual_document(self.random)).encode()


def json_text(random: Random, value: Any) -> bytes:
    """`value` as JSON in one of several spellings."""
    style = random.randrange(4)
    text = json.dumps(
        value,
        ensure_ascii=style in (0, 1),
        separators=(",", ":") if style in (0, 2) else None,
        indent=2 if style == 3 else None,
    )
    return text.encode()


def mutated(random: Random, text: bytes) -> bytes:
    """`text` with one to three small injuries: bytes flipped, removed, doubled, inserted, or the tail cut off."""
    data = bytearray(text)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < len(data):
                del data[at]
            case 2:
                data[at:at] = data[at : at + random.randrange(1, 12)]
            case 3:
                data[at:at] = random.choice((b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"e9", b"\0"))
            case 4:
                del data[at:]
            case _:
                data[at:at] = random.choice((b" ", b"\n", b"\t", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xff", b"\\u0061"))
    return bytes(data)


def take(seed: int | str, count: int, requests_per_policy: int = 24) -> Iterator[tuple[PolicyModel, list[Request]]]:
    """The first `count` cases of a seed, as policies with their requests."""
    remaining = count
    for policy, requests in PolicyGenerator(seed).cases(requests_per_policy):
        yield policy, requests[:remaining]
        remaining -= len(requests)
        if remaining <= 0:
            return


def arbitrary_json(random: Random, depth: int = 4) -> Any:
    """Any JSON value."""
    scalars = (None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 0.1, -0.0, 1e300, 5e-324, *STRINGS)
    choice = random.random()
    if depth == 0 or choice < 0.4:
        return random.choice(scalars)
    if choice < 0.7:
        return [arbitrary_json(random, depth - 1) for _ in range(random.randrange(4))]
    names = itertools.islice(("a", "b", "amount", "", "ä", "a\u0000b", "x" * 70), random.randrange(5))
    return {name: arbitrary_json(random, depth - 1) for name in names}

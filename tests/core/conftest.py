"""What the tests of the core share: one policy that has something of everything, and an enforcer on a fresh log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chio_fast import Enforcer, Policy
from tests.core.calling import Counter

IDENTITY = "research-agents"
DOCUMENT = """
chio: policy/v1
identities:
  research-agents:
    capabilities: [events:consume:tasks, "tools:search:*", events:produce:results]
    attributes: {region: eu}
rules:
  - id: large-amounts
    effect: escalate
    identities: ["*"]
    scopes: ["tools:search:*"]
    when: has(arguments.amount) && arguments.amount > 1000
    reason: amounts over 1000 need approval
  - id: no-secrets
    effect: deny
    identities: ["*"]
    scopes: [events:consume:tasks]
    when: event.value != null && has(event.value.secret)
    reason: secrets do not travel
  - id: marked
    effect: deny
    identities: ["*"]
    scopes: [events:consume:marked]
    when: has(event.headers.stop)
  - id: may-read-marked
    effect: allow
    identities: [research-agents]
    scopes: [events:consume:marked]
  - id: looked-at
    effect: allow
    identities: [research-agents]
    scopes: [events:consume:watched]
    guards: [watch]
  - id: later
    effect: delay
    identities: [research-agents]
    scopes: [events:consume:later]
"""


@pytest.fixture
def policy() -> Policy:
    """The policy of `DOCUMENT`, whose guard `watch` has to be registered where it is enforced."""
    return Policy.from_yaml(DOCUMENT)


@pytest.fixture
def unguarded() -> Policy:
    """The same without the rule that names a guard."""
    before, rest = DOCUMENT.split("  - id: looked-at")
    return Policy.from_yaml(before + "  - id: later" + rest.split("  - id: later")[1])


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """Where a new receipt log may be."""
    return tmp_path / "receipts.db"


@pytest.fixture
def enforcers(unguarded: Policy, log_path: Path) -> Iterator[Callable[..., Enforcer]]:
    """Builds enforcers on the fresh log, and closes them."""
    made: list[Enforcer] = []

    def make(policy: Any = None, **options: Any) -> Enforcer:
        options.setdefault("identity", IDENTITY)
        options.setdefault("receipt_log", log_path)
        made.append(Enforcer(policy or unguarded, **options))
        return made[-1]

    yield make
    for enforcer in made:
        enforcer.close()


@pytest.fixture
def enforcer(enforcers: Callable[..., Enforcer]) -> Enforcer:
    """An enforcer without guards."""
    return enforcers()


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    """The system behind a tool."""
    return Counter(tmp_path)

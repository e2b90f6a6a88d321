"""One version, one meaning: what does not matter leaves the version as it is, and everything else changes it."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from chio_fast import Policy
from tests.policy import engine
from tests.policy.generate import EFFECTS, PolicyGenerator
from tests.policy.model import Identity, PolicyModel, Rule

if TYPE_CHECKING:
    from collections.abc import Hashable

POLICIES = 600


def meaning(policy: PolicyModel) -> Hashable:
    """What a version stands for, by the definition: everything but the order of sets and of identities."""
    document = policy.document()
    for rule in document.get("rules", []):
        for name in ("identities", "scopes", "guards"):
            rule[name] = sorted(rule.get(name, []))
    return json.dumps(document, sort_keys=True)


def shuffled(policy: PolicyModel, rng: Random) -> PolicyModel:
    """The same policy, written in another order."""

    def other(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(rng.sample(items, len(items)))

    rules = tuple(
        replace(rule, identities=other(rule.identities), scopes=other(rule.scopes), guards=other(rule.guards))
        for rule in policy.rules
    )
    return PolicyModel(other(policy.identities), rules)


def changed(policy: PolicyModel, rng: Random) -> PolicyModel:
    """The policy with one thing changed."""
    identities, rules = list(policy.identities), list(policy.rules)
    if identities and (not rules or rng.random() < 0.4):
        at = rng.randrange(len(identities))
        identities[at] = changed_identity(identities[at], rng)
    elif rules and rng.random() < 0.2:
        rng.shuffle(rules)
    elif rules:
        at = rng.randrange(len(rules))
        rules[at] = changed_rule(rules[at], rng)
    return PolicyModel(tuple(identities), tuple(rules))


def changed_identity(identity: Identity, rng: Random) -> Identity:
    how = rng.randrange(4)
    if how == 0:
        return replace(identity, capabilities=tuple(reversed(identity.capabilities)))
    if how == 1:
        return replace(identity, capabilities=(*identity.capabilities, f"new:{rng.randrange(9)}"))
    if how == 2:
        value = rng.choice([0, 0.0, -0.0, "0", False, None, [], [0], {}, {"a": 0}, 1, 1.0, True, 2**63, 2.0**63])
        return replace(identity, attributes=identity.attributes | {"level": value})
    return replace(identity, name=f"{identity.name}{rng.choice('xy')}")


def changed_rule(rule: Rule, rng: Random) -> Rule:
    bound = rule.not_before if rule.not_before is not None else 0
    return rng.choice(
        [
            replace(rule, effect=rng.choice(EFFECTS)),
            replace(rule, id=f"{rule.id}x"),
            replace(rule, identities=(*rule.identities, "somebody")),
            replace(rule, scopes=(*rule.scopes, "new:scope")),
            replace(rule, when=None),
            replace(rule, not_before=bound - 1),
            replace(rule, not_before=None),
            replace(rule, expires_at=None),
            replace(rule, guards=()),
            replace(rule, guards=(*rule.guards, "another")),
            replace(rule, reason=rng.choice(["other", "other reason", None])),
        ]
    )


@pytest.mark.parametrize("seed", range(4))
def test_policies_have_one_version_exactly_if_they_have_one_meaning(seed: int) -> None:
    generator = PolicyGenerator(f"versions {seed}")
    versions: dict[str, Hashable] = {}
    meanings: dict[Hashable, str] = {}
    for _ in range(POLICIES):
        policy = generator.policy()
        for written in (policy, shuffled(policy, generator.random), changed(policy, generator.random)):
            version, meant = engine.compiled(written).version, meaning(written)
            assert versions.setdefault(version, meant) == meant
            assert meanings.setdefault(meant, version) == version
    assert len(versions) > POLICIES


def test_policies_of_one_version_decide_alike() -> None:
    generator = PolicyGenerator("one version")
    for _ in range(200):
        policy = generator.policy()
        one, other = (engine.compiled(written) for written in (policy, shuffled(policy, generator.random)))
        assert one.version == other.version
        for _ in range(5):
            request = generator.request(policy)
            mine, theirs = engine.decide(one, request), engine.decide(other, request)
            for name in ("verdict", "rule", "reason", "errors", "guards"):
                assert getattr(mine, name) == getattr(theirs, name)


def test_the_form_of_the_document_does_not_matter() -> None:
    generator = PolicyGenerator("forms")
    for _ in range(200):
        policy = generator.policy()
        text = json.dumps(policy.document(), ensure_ascii=False)
        compiled = engine.compiled(policy)
        # JSON is YAML, with every string in quotes.
        for other in (Policy.from_json(text), Policy.from_yaml(text), Policy.from_json(compiled.canonical)):
            assert (other.version, other.canonical) == (compiled.version, compiled.canonical)

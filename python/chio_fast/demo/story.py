"""What the demonstration is about: a shop whose orders and research are handled by agents, and its policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from random import Random

SEED = 20260101
POLICY = """\
chio: policy/v1

identities:
  order-service:
    capabilities: ["events:produce:orders", "events:consume:payments"]
  payment-agents:
    attributes: {region: eu, limit: 1000}
    capabilities: ["events:consume:orders", "tools:charge:card", "events:produce:payments"]
  research-agents:
    capabilities: ["events:consume:research", "tools:search:*", "events:produce:findings"]

rules:
  - id: large-orders-need-a-human
    effect: escalate
    identities: [payment-agents]
    scopes: ["events:consume:orders"]
    when: event.value.amount > identity.attributes.limit
    reason: orders over the limit wait for approval

  - id: no-orders-from-embargoed-countries
    effect: deny
    identities: ["*"]
    scopes: ["events:consume:orders"]
    when: event.value.country in ["XA", "XB"]
    reason: the country is under embargo

  - id: research-stays-on-the-open-web
    effect: deny
    identities: [research-agents]
    scopes: ["tools:search:*"]
    when: arguments.url.matches("^https?://([^/]*[.])?internal[.]example(/|$)")
    reason: internal hosts are not for research agents

  - id: no-personal-data-in-findings
    effect: deny
    identities: ["*"]
    scopes: ["events:produce:findings"]
    when: has(output.value.email)
    reason: findings must not hold personal data

  - id: research-needs-a-tenant
    effect: deny
    identities: [research-agents]
    scopes: ["events:consume:research"]
    when: event.headers.tenant == ""
    reason: a task without tenant cannot be billed
"""
CASES = """\
cases:
  - name: a small order is charged
    identity: payment-agents
    scope: events:consume:orders
    event: {topic: orders, value: {order: A-1, amount: 99, country: DE}}
    expect: allow
  - name: a large order waits for a human
    identity: payment-agents
    scope: events:consume:orders
    event: {topic: orders, value: {order: A-2, amount: 1500, country: DE}}
    expect: {verdict: escalate, rule: large-orders-need-a-human}
  - name: an embargo wins over an approval
    identity: payment-agents
    scope: events:consume:orders
    event: {topic: orders, value: {order: A-3, amount: 1500, country: XA}}
    expect: {verdict: deny, rule: no-orders-from-embargoed-countries}
  - name: a value that is not json is denied, whatever it says
    identity: payment-agents
    scope: events:consume:orders
    event: {topic: orders, value: '{"amount": 1, "amount": 5000, "country": "DE"}'}
    expect: {verdict: deny, errors: [duplicate_member, duplicate_member]}
  - name: research agents may search
    identity: research-agents
    scope: tools:search:web
    arguments: {url: "https://example.org/tea"}
    expect: allow
  - name: research agents do not read internal hosts
    identity: research-agents
    scope: tools:search:web
    arguments: {url: "http://wiki.internal.example/salaries"}
    expect: deny
  - name: payment agents have no business with research
    identity: payment-agents
    scope: events:consume:research
    expect: deny
"""
COUNTRIES = ("DE", "FR", "NL", "IT", "ES", "PL")
SUBJECTS = ("tea prices", "port strikes", "solar panels", "battery recycling", "olive harvest")


class Seed(NamedTuple):
    """One event that the demonstration puts on a topic."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


def order(random: Random, number: int) -> Seed:
    """An order; some are large, some come from where none may come, a few are broken or ambiguous."""
    chance = random.random()
    amount = random.randrange(1001, 5000) if chance < 0.02 else random.randrange(5, 1000)
    country = random.choice(("XA", "XB")) if 0.02 <= chance < 0.03 else random.choice(COUNTRIES)
    body: dict[str, Any] = {
        "order": f"A-{number}",
        "amount": amount,
        "currency": "EUR",
        "country": country,
        "items": [{"sku": f"sku-{random.randrange(500)}", "count": random.randrange(1, 4)} for _ in range(3)],
    }
    value = json.dumps(body).encode()
    if 0.03 <= chance < 0.034:
        # Two amounts: a policy that reads the first while the application reads the last would be a hole.
        value = value.replace(b'"currency"', b'"amount": 9999, "currency"')
    elif 0.034 <= chance < 0.036:
        value = value[: len(value) // 2]
    return Seed("orders", f"A-{number}".encode(), value, [("trace", f"order-{number}"), ("source", "web-shop")])


def task(random: Random, number: int) -> Seed:
    """A research task; some have no tenant."""
    body = {"task": f"T-{number}", "subject": random.choice(SUBJECTS), "depth": random.randrange(1, 4)}
    tenant = "" if random.random() < 0.03 else f"tenant-{random.randrange(20)}"
    return Seed("research", f"T-{number}".encode(), json.dumps(body).encode(), [("tenant", tenant)])


def search_url(random: Random) -> str:
    """Where a research agent wants to look; now and then somewhere it should not."""
    if random.random() < 0.15:
        return f"http://wiki.internal.example/page/{random.randrange(100)}"
    return f"https://example.org/search?q={random.randrange(1000)}"


def finding(random: Random, number: int) -> dict[str, Any]:
    """What a research agent wants to publish; now and then with personal data in it."""
    body: dict[str, Any] = {"finding": f"F-{number}", "summary": "prices rose by 4 % in the last quarter"}
    if random.random() < 0.1:
        body["email"] = "jane.doe@example.org"
    return body

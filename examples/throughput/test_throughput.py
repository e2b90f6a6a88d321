"""A throughput regression test of your own policy on your own events, for your own CI.

pip install chio-fast pytest pytest-benchmark
pytest examples/throughput
"""

import json
from pathlib import Path

POLICY = Path(__file__).with_name("policy.yaml")
EVENTS = [
    json.dumps({"refund": number, "amount": amount, "currency": "EUR"}).encode()
    for number, amount in enumerate([12, 80, 250, 990, 4_000])
]


def test_our_policy_is_fast_enough(chio_throughput):
    chio_throughput(
        POLICY,
        EVENTS,
        identity="refund-agents",
        scope="events:consume:refunds",
        denied=1,  # the one of 4,000; a fast wrong answer would not count
        at_least=1.0,  # events decided per second, as a multiple of what json.loads parses per second
    )

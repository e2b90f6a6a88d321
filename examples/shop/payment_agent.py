"""An agent that charges orders, governed at each step: `python payment_agent.py`.

It may consume authorised orders, charge cards up to its limit, and nothing else; what needs a human is left out.
"""

from __future__ import annotations

import json
import os

from chio_fast import ChioConsumerMiddleware, ChioDenied, Enforcer

BOOTSTRAP = os.environ.get("CHIO_BOOTSTRAP_SERVERS", "localhost:9092")
IDLE_POLLS = 5


def charge_payment(order: str, amount: int) -> str:
    """Charge a card; a real one would ask a payment provider, with the order as idempotency key."""
    return f"charged {amount} for {order}"


def main() -> None:
    """Charge what there is, then end."""
    with Enforcer("policy.yaml", receipt_log="receipts.db", identity="payment-agents") as enforcer:
        enforcer.tool("charge_payment", charge_payment)
        charged = waiting = 0
        with ChioConsumerMiddleware.from_config(
            {"bootstrap.servers": BOOTSTRAP, "group.id": "payment-agents"},
            scope_map={"orders-authorised": "events:consume:orders-authorised"},
            dlq_topic="orders-denied",
            enforcer=enforcer,
        ) as consumer:
            idle = 0
            while idle < IDLE_POLLS:
                event = consumer.poll(1.0)
                if event is None:
                    # Nothing counts as idle before the group has given us partitions.
                    idle += bool(consumer.assignment())
                    continue
                idle = 0
                order = json.loads(event.value())
                with event:
                    try:
                        arguments = {"order": order["order"], "amount": order["amount"]}
                        enforcer.invoke("charge_payment", "tools:charge:card", arguments)
                        charged += 1
                    except ChioDenied as denied:
                        waiting += denied.decision.verdict == "escalate"
                consumer.commit(event)
            consumer.commit(asynchronous=False)
    print(f"{charged} orders charged, {waiting} wait for a human")


if __name__ == "__main__":
    main()

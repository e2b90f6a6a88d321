"""Puts 1,000 orders on the topic `orders`: `python produce_orders.py`."""

from __future__ import annotations

import json
import os
from random import Random

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = os.environ.get("CHIO_BOOTSTRAP_SERVERS", "localhost:9092")
ORDERS = 1000


def create_topic(name: str) -> None:
    """Create a topic, unless it is there."""
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    created = admin.create_topics([NewTopic(name, 4, 1)])
    try:
        created[name].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def order(random: Random, number: int) -> bytes:
    """One order; a few are large, a few are from where none may come, a few are cut short."""
    country = random.choice(["DE", "FR", "NL", "XA"] if number % 10 == 0 else ["DE", "FR", "NL"])
    amount = random.randrange(1001, 5000) if number % 50 == 1 else random.randrange(5, 1000)
    value = json.dumps({"order": f"A-{number}", "amount": amount, "country": country}).encode()
    return value[:-9] if number % 100 == 99 else value


def main() -> None:
    """Fill the topic."""
    create_topic("orders")
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "enable.idempotence": True})
    random = Random(2026)
    for number in range(ORDERS):
        producer.produce("orders", key=f"A-{number}", value=order(random, number))
    unsent = producer.flush(60)
    print(f"{ORDERS - unsent} orders produced")


if __name__ == "__main__":
    main()

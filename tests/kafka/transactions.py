"""Transactions of one record, and an ear for clients whose errors are of no interest."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from chio_fast.kafka.transaction import Transaction


def ignore(_error: KafkaError) -> None:
    """Hears errors and does nothing."""


def write(transaction: Transaction, topic: str, value: bytes, **more: Any) -> None:
    """Writes one record in a transaction that stays open."""
    transaction.begin()
    transaction.produce(topic, value=value, **more)
    transaction.flush()


def commit_one(transaction: Transaction, topic: str, value: bytes) -> None:
    """Commits a transaction of one record."""
    write(transaction, topic, value)
    transaction.commit()

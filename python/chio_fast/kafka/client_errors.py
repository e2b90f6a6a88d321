"""What the client's errors mean, and how long to wait before a call is repeated."""

from __future__ import annotations

import random

from confluent_kafka import KafkaError

PATIENCE = 60.0
"""Seconds for which a call is repeated whose error says to repeat it."""

FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})  # fmt: skip

# What repeating or renewing does not change.
REFUSED = frozenset({
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_TRANSACTION_TIMEOUT, KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED,
})  # fmt: skip

# Worth asking again; errors of the admin client do not say so themselves. `_NOENT` is its word for partitions that have
# no leader at the moment; of the brokers' errors, those that the Java client takes for retriable (`Errors.java`).
TRANSIENT = frozenset({
    KafkaError._NOENT, KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN,
    KafkaError._WAIT_COORD, KafkaError.REQUEST_TIMED_OUT, KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_CONTROLLER, KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION, KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.REPLICA_NOT_AVAILABLE, KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH,
})  # fmt: skip

# Why a record may not be delivered although nothing is wrong with it.
NOT_ITS_FAULT = frozenset({
    KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._STATE,
    KafkaError._FATAL, KafkaError._FENCED, KafkaError._DESTROY, KafkaError._RETRY, KafkaError._WAIT_COORD,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.NETWORK_EXCEPTION, KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.KAFKA_STORAGE_ERROR, KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED, KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.INVALID_TXN_STATE, KafkaError.INVALID_PRODUCER_ID_MAPPING, KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.UNKNOWN,
})  # fmt: skip


def backoff(attempt: int, *, base: float = 0.01, limit: float = 1.0) -> float:
    """Give seconds to wait before attempt `attempt` + 1, with jitter, so that instances do not meet again and again."""
    return random.uniform(0.5, 1.0) * min(limit, base * 2.0 ** min(attempt, 30))  # noqa: S311 - no secret

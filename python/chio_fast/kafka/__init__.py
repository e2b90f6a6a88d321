"""The Kafka layer: the governed consumer, its asyncio form, and the dead letter producer.

The only package of chio_fast that imports confluent_kafka.
"""

from chio_fast.kafka.aio import AsyncChioConsumer
from chio_fast.kafka.consumer import ChioConsumerMiddleware
from chio_fast.kafka.dlq import ChioDeadLetterProducer
from chio_fast.kafka.stats import ConsumerStats, PartitionStats

__all__ = ["AsyncChioConsumer", "ChioConsumerMiddleware", "ChioDeadLetterProducer", "ConsumerStats", "PartitionStats"]

"""The Kafka layer: the governed consumer, its asyncio form, the exactly-once processor, the dead letter producer.

The only package of chio_fast that imports confluent_kafka.
"""

from chio_fast.kafka.aio import AsyncChioConsumer
from chio_fast.kafka.consumer import ChioConsumerMiddleware
from chio_fast.kafka.dlq import ChioDeadLetterProducer
from chio_fast.kafka.handler_context import HandlerContext
from chio_fast.kafka.processor import ChioTransactionalProcessor
from chio_fast.kafka.recognition import Duplicates
from chio_fast.kafka.stats import ConsumerStats, PartitionStats, ProcessorStats

__all__ = [
    "AsyncChioConsumer",
    "ChioConsumerMiddleware",
    "ChioDeadLetterProducer",
    "ChioTransactionalProcessor",
    "ConsumerStats",
    "Duplicates",
    "HandlerContext",
    "PartitionStats",
    "ProcessorStats",
]

"""The Kafka layer: governed consumer and producer, their asyncio forms, exactly-once processor, dead letter producer.

The only package of chio_fast that imports confluent_kafka.
"""

from chio_fast._native import HandlerContext
from chio_fast.kafka.aio import AsyncChioConsumer
from chio_fast.kafka.aio_producer import AsyncChioProducer
from chio_fast.kafka.consumer import ChioConsumerMiddleware
from chio_fast.kafka.dlq import ChioDeadLetterProducer
from chio_fast.kafka.processor import ChioTransactionalProcessor
from chio_fast.kafka.producer import ChioProducerMiddleware
from chio_fast.kafka.stats import ConsumerStats, PartitionStats, ProcessorStats, ProducerStats
from chio_fast.repeats import Duplicates

__all__ = [
    "AsyncChioConsumer",
    "AsyncChioProducer",
    "ChioConsumerMiddleware",
    "ChioDeadLetterProducer",
    "ChioProducerMiddleware",
    "ChioTransactionalProcessor",
    "ConsumerStats",
    "Duplicates",
    "HandlerContext",
    "PartitionStats",
    "ProcessorStats",
    "ProducerStats",
]

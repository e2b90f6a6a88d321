"""In-process policy enforcement with signed receipts for agents that live on Kafka."""

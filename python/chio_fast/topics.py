"""The topics that chio_fast itself writes to, unless it is told others; known without the Kafka client."""

DLQ = "chio-dlq"
"""Events that were not authorised."""
CHECKPOINTS = "chio-checkpoints"
"""Signed checkpoints of transactions; to see one means that its transaction was committed."""
ANCHORS = "chio-anchors"
"""Heads of receipt logs, so that cutting one off shows."""

RECORD_KEEPING = {"cleanup.policy": "delete", "retention.bytes": "-1", "retention.ms": "-1"}
"""Settings of checkpoint and anchor topics: what is deleted tells nothing any more, and compaction keeps only the last
record of each key."""
RECORD_KEEPING_PARTITIONS = 8
"""Partitions of such a topic that is created here."""

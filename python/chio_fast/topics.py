"""Names of the topics that chio_fast itself writes to, unless it is told others; known without the Kafka client."""

DLQ = "chio-dlq"
"""Events that were not authorised."""
CHECKPOINTS = "chio-checkpoints"
"""Signed checkpoints of transactions; to see one means that its transaction was committed."""
ANCHORS = "chio-anchors"
"""Heads of receipt logs, so that cutting one off shows."""

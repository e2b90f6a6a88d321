"""What a governed consumer or producer has done so far, as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.anchors import AnchorPublisher
    from chio_fast.kafka.assignment import Assigned
    from chio_fast.kafka.outbox import Outbox
    from chio_fast.kafka.outlets import Outlets


class PartitionStats(msgspec.Struct, frozen=True):
    """One assigned partition.

    Attributes:
        topic: name.
        partition: number.
        position: offset after the last event that was handed out or denied; -1 before the first.
        committed: offset of the last commit of this assignment; -1 before the first.
    """

    topic: str
    partition: int
    position: int
    committed: int

    @classmethod
    def of(cls, held: Assigned) -> Self:
        """Give what is counted of an assignment."""
        return cls(*held.key, position=held.position, committed=held.frontier.committed)


class ConsumerStats(msgspec.Struct, frozen=True):
    """Counters since the consumer was made, and what waits now.

    Attributes:
        handed_out: events given to the application.
        denied: events that were not; each has a receipt.
        dead_letters: DLQ records acknowledged.
        dropped: prefetched events that were given up unseen, because their partition was revoked, lost or sought.
        recreated: partitions whose topic turned out to be created anew.
        buffered: prefetched events that wait for a hand-out.
        set_aside: prefetched events of paused partitions.
        backlog: denied events that wait for their DLQ record.
        throttled: whether fetching is paused because enough is prefetched.
        client_errors: transient errors that the client reported.
        commits: commits that the broker accepted.
        commit_failures: commits that it did not, after retries.
        replays: events that the log held already, of an earlier delivery.
        duplicates: events whose id was seen before.
        anchors: heads of the receipt log that the topic of anchors took.
        anchor_failures: heads that it did not.
        receipts_issued: ordinal of the last receipt of the log, by this consumer or others of this process.
        receipts_durable: ordinal up to which they are durable.
        policy_version: version by which events are decided now.
        partitions: those assigned now.
    """

    handed_out: int
    denied: int
    dead_letters: int
    dropped: int
    recreated: int
    buffered: int
    set_aside: int
    backlog: int
    throttled: bool
    client_errors: int
    commits: int
    commit_failures: int
    replays: int
    duplicates: int
    anchors: int
    anchor_failures: int
    receipts_issued: int
    receipts_durable: int
    policy_version: str
    partitions: list[PartitionStats]


class ProcessorStats(msgspec.Struct, frozen=True):
    """Counters since the processor was started, and what waits now.

    Attributes:
        taken: events that were handed out to handlers, or denied.
        denied: those of them that were denied.
        in_flight: events that were taken and are not committed.
        unfinished: those of them whose handler is not done.
        committed: events that were committed.
        transactions: transactions that were committed.
        aborts: those that were not.
        retried: attempts of handlers that failed and were made again.
        failed: events that went to the error topic.
        calls_replayed: tool calls that were answered from the journal.
        calls_unknown: those of which it was not known what had become of them.
        calls_diverged: those that were not the recorded ones, or were recorded and not repeated.
        dropped: prefetched events that were given up unseen, because their partition was revoked, lost or sought.
        buffered: prefetched events that wait to be taken.
        throttled: whether fetching is paused because enough is prefetched.
        client_errors: transient errors that the client reported.
        replays: events that the log held already, of an earlier delivery.
        duplicates: events whose id was seen before.
        anchors: heads of the receipt log that the topic of anchors took.
        anchor_failures: heads that it did not.
        receipts_issued: ordinal of the last receipt of the log, by this processor or others of this process.
        receipts_durable: ordinal up to which they are durable.
        policy_version: version by which events are decided now.
        transactional_id: what fences other instances of the same name.
        partitions: those assigned now.
    """

    taken: int
    denied: int
    in_flight: int
    unfinished: int
    committed: int
    transactions: int
    aborts: int
    retried: int
    failed: int
    calls_replayed: int
    calls_unknown: int
    calls_diverged: int
    dropped: int
    buffered: int
    throttled: bool
    client_errors: int
    replays: int
    duplicates: int
    anchors: int
    anchor_failures: int
    receipts_issued: int
    receipts_durable: int
    policy_version: str
    transactional_id: str
    partitions: list[PartitionStats]


class ProducerStats(msgspec.Struct, frozen=True):
    """Counters since the producer was made, and what waits now.

    Attributes:
        denied: messages that were not allowed; each has a receipt.
        sent: messages handed to the client, whose receipts were durable by then.
        refused: messages with a receipt that the client did not get or take; each receipt is taken back.
        waiting: messages that wait for their receipts to be durable, or for the client to have room.
        anchors: heads of the receipt log that the topic of anchors took.
        anchor_failures: heads that it did not.
        receipts_issued: ordinal of the last receipt of the log, by this producer or others of this process.
        receipts_durable: ordinal up to which they are durable.
        policy_version: version by which messages are decided now.
    """

    denied: int
    sent: int
    refused: int
    waiting: int
    anchors: int
    anchor_failures: int
    receipts_issued: int
    receipts_durable: int
    policy_version: str

    @classmethod
    def of(cls, outlets: Outlets, outbox: Outbox, enforcer: Enforcer, anchors: AnchorPublisher | None) -> Self:
        """Give what the parts of a producer have counted."""
        return cls(
            denied=outlets.denied,
            sent=outbox.sent,
            refused=outbox.refused,
            waiting=len(outbox),
            anchors=anchors.published if anchors else 0,
            anchor_failures=anchors.failures if anchors else 0,
            receipts_issued=enforcer.log.issued,
            receipts_durable=enforcer.log.durable,
            policy_version=enforcer.policy.version,
        )

"""Client settings: which are required for safety, which cost speed without a reason, and which are refused.

One confluent configuration describes consumer, DLQ producer and admin client. Settings that only one kind of
client knows are kept from the others, because librdkafka logs a warning for each that it must ignore.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END

from chio_fast.errors import ChioConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import KafkaError

log = logging.getLogger("chio_fast.kafka")

CONSUMER_ONLY_PREFIXES = ("fetch.", "group.", "auto.", "queued.", "offset.store.", "consume.")
CONSUMER_ONLY = frozenset({
    "allow.auto.create.topics", "check.crcs", "coordinator.query.interval.ms", "enable.auto.commit",
    "enable.auto.offset.store", "enable.partition.eof", "heartbeat.interval.ms", "isolation.level",
    "max.partition.fetch.bytes", "max.poll.interval.ms", "on_commit", "partition.assignment.strategy",
    "session.timeout.ms",
})  # fmt: skip
PRODUCER_ONLY_PREFIXES = ("batch.", "compression.", "queue.buffering.", "transaction", "enable.gapless")
PRODUCER_ONLY = frozenset({
    "acks", "delivery.report.only.error", "delivery.timeout.ms", "enable.idempotence", "linger.ms",
    "message.send.max.retries", "message.timeout.ms", "on_delivery", "partitioner", "queuing.strategy",
    "request.required.acks", "request.timeout.ms", "retries", "sticky.partitioning.linger.ms",
    "topic.metadata.propagation.max.ms",
})  # fmt: skip

# Defaults that a caller may override. `fetch.queue.backoff.ms` is 1,000 in librdkafka, which caps the draining of a
# backlog.
TUNED_CONSUMER: dict[str, Any] = {
    "fetch.queue.backoff.ms": 10,
    "isolation.level": "read_committed",
}
# A denial must be acknowledged before its offset is committed: waiting for company costs more than it saves, and a
# topic that does not exist should be reported in seconds.
TUNED_PRODUCER: dict[str, Any] = {
    "compression.type": "lz4",
    "delivery.timeout.ms": 60_000,
    "linger.ms": 2,
    "topic.metadata.propagation.max.ms": 5_000,
}

# Transactions follow each other closely: with librdkafka's 100 ms of `retry.backoff.ms` each would wait that long for
# the one before it. Handlers run outside of transactions, so one lasts milliseconds; a dead member's hides its records
# from readers, and its offsets from its successor, for as long as `transaction.timeout.ms`. Long enough that one
# outlives the crash of a broker, which the cluster notices after 9 s (`broker.session.timeout.ms`). Of compressed
# records a broker looks at sizes and offsets alone, others it takes apart, headers included.
TUNED_TRANSACTION: dict[str, Any] = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "queue.buffering.max.messages": 1_000_000,
    "retry.backoff.max.ms": 2,
    "retry.backoff.ms": 1,
    "topic.metadata.propagation.max.ms": 5_000,
    "transaction.timeout.ms": 15_000,
}

# For readers of a topic up to its end, which is told when a fetch came back empty: the broker puts that off by so much.
UP_TO_THE_END: dict[str, Any] = {"enable.partition.eof": True, "fetch.wait.max.ms": 20}

CLIENT_BYTES = 1_000_000
"""The client's own defaults of `message.max.bytes` and `batch.size`."""

FALSE_WORDS = (False, "false", "False", "FALSE", 0, "0")
TRUE_WORDS = (True, "true", "True", "TRUE", 1, "1")


RESETS: dict[str, int | None] = {
    **dict.fromkeys(("earliest", "smallest", "beginning"), OFFSET_BEGINNING),
    **dict.fromkeys(("latest", "largest", "end"), OFFSET_END),
    "error": None,
}
"""Where to begin by the words of `auto.offset.reset`; None if that is an error."""


def is_consumer_only(name: str) -> bool:
    """Say whether librdkafka knows setting `name` for consumers alone."""
    return name in CONSUMER_ONLY or name.startswith(CONSUMER_ONLY_PREFIXES)


def is_producer_only(name: str) -> bool:
    """Say whether librdkafka knows setting `name` for producers alone."""
    return name in PRODUCER_ONLY or name.startswith(PRODUCER_ONLY_PREFIXES)


def reset_of(conf: Mapping[str, Any]) -> int | None:
    """Give where to begin in a partition of which nothing is committed, or whose committed offset is not there.

    Args:
        conf: one confluent configuration. Without a word of it that is the beginning: an offset that is out of range
            must not skip events in silence.

    Returns:
        `OFFSET_BEGINNING`, `OFFSET_END`, or None if that is an error.

    Raises:
        ChioConfigError: `auto.offset.reset` is none of the client's words, or stands where the client alone reads it.
    """
    if "auto.offset.reset" in conf.get("default.topic.config", {}):
        raise ChioConfigError(
            "`auto.offset.reset` is in `default.topic.config`, where the client would begin by it although offsets are "
            "committed; write it beside `group.id`"
        )
    word = conf.get("auto.offset.reset", "earliest")
    if str(word).lower() not in RESETS:
        raise ChioConfigError(f"`auto.offset.reset` is `{word}`; write `earliest`, `latest` or `error`")
    return RESETS[str(word).lower()]


def is_cooperative(conf: Mapping[str, Any]) -> bool:
    """Say whether a group's members change their assignments step by step (KIP-429, KIP-848)."""
    strategies = str(conf.get("partition.assignment.strategy", ""))
    return "cooperative" in strategies or str(conf.get("group.protocol", "")).lower() == "consumer"


def consumer_config(conf: Mapping[str, Any], on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Give the settings of a governed consumer.

    Args:
        conf: one confluent configuration; producer settings in it are left out.
        on_error: hears every client-level error; an `error_cb` of the configuration is called as well.

    Raises:
        ChioConfigError: a setting would let an offset be committed that the application never saw, or has no meaning.
    """
    if not conf.get("group.id"):
        raise ChioConfigError("the configuration has no `group.id`; write the name of the consumer group")
    for name in ("enable.auto.commit", "enable.auto.offset.store"):
        if conf.get(name, False) not in FALSE_WORDS:
            raise ChioConfigError(
                f"`{name}` is `{conf[name]}`: the client would commit events that were prefetched and never handed "
                f"out; remove it or write `{name}=false`"
            )
    if "on_commit" in conf:
        raise ChioConfigError("`on_commit` in the configuration is never called; give `on_commit=` to the consumer")
    reset_of(conf)  # the client, which is told another word, would not say that this one means nothing
    mine = {name: value for name, value in conf.items() if not is_producer_only(name)}
    return {
        **TUNED_CONSUMER,
        **mine,
        # It would reset positions that it has no reason to, see `Starts`; `reset_of` says where to begin.
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "error_cb": chain_error_callbacks(conf.get("error_cb"), on_error),
    }


def producer_config(conf: Mapping[str, Any], on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Give the settings of the DLQ producer: idempotent, acknowledged by all in-sync replicas.

    Args:
        conf: one confluent configuration; consumer settings in it are left out.
        on_error: hears every client-level error; an `error_cb` of the configuration is called as well.

    Raises:
        ChioConfigError: a setting would let a denial be reported as delivered before it is safe.
    """
    if "transactional.id" in conf:
        raise ChioConfigError(
            "`transactional.id` is set, but a consumer's DLQ producer writes outside transactions; remove it"
        )
    return {**TUNED_PRODUCER, **_safe_producer(conf, on_error)}


def governed_producer_config(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of a governed producer: idempotent, acknowledged by all in-sync replicas.

    Args:
        conf: one confluent configuration; consumer settings in it are left out.

    Raises:
        ChioConfigError: a setting would let a message be lost or written twice, or asks for transactions.
    """
    if "transactional.id" in conf:
        raise ChioConfigError(
            "`transactional.id` is set, but a governed producer sends in the background, outside transactions; remove "
            "it, or use `ChioTransactionalProcessor`"
        )
    return {**TUNED_PRODUCER, **_safe_producer(conf, lambda error: log.warning("producer: %s", error))}


def transactional_config(
    conf: Mapping[str, Any], transactional_id: str, on_error: Callable[[KafkaError], None]
) -> dict[str, Any]:
    """Give the settings of the processor's producer.

    Args:
        conf: one confluent configuration; consumer settings in it are left out.
        transactional_id: names the instance; a second producer with the same one fences the first.
        on_error: hears every client-level error; an `error_cb` of the configuration is called as well.

    Raises:
        ChioConfigError: a setting would weaken the transaction, or outlasts it.
    """
    if conf.get("transactional.id", transactional_id) != transactional_id:
        raise ChioConfigError(
            f"`transactional.id` is `{conf['transactional.id']}`, but the processor makes it of group and member: "
            f"`{transactional_id}`; remove it, and write `member=` to name the instance"
        )
    settings = {**TUNED_TRANSACTION, **_safe_producer(conf, on_error)}
    longest = int(settings["transaction.timeout.ms"])
    for name in ("delivery.timeout.ms", "socket.timeout.ms"):
        if int(settings.get(name, 0)) > longest:
            raise ChioConfigError(
                f"`{name}` is {settings[name]}, longer than a transaction may take; write at most {longest}, or raise "
                "`transaction.timeout.ms`"
            )
    return {**settings, "transactional.id": transactional_id, "delivery.report.only.error": True}


def processor_consumer_config(conf: Mapping[str, Any], on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Give the settings of the processor's consumer: those of a governed consumer, and stable offsets.

    Args:
        conf: one confluent configuration; producer settings in it are left out.
        on_error: as for `consumer_config`.

    Raises:
        ChioConfigError: a setting would let an offset be committed that the application never saw, or would start
            from offsets whose transaction is not decided.
    """
    if conf.get("isolation.level", "read_committed") != "read_committed":
        raise ChioConfigError(
            f"`isolation.level` is `{conf['isolation.level']}`: events of transactions that are rolled back would be "
            "processed, and offsets of undecided ones taken for committed; remove it or write "
            "`isolation.level=read_committed`"
        )
    return consumer_config(conf, on_error)


def observer_config(conf: Mapping[str, Any], on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Give the settings of a consumer that asks what is committed, records and offsets, and never joins or commits.

    It carries the configuration's own `group.id`, because that is the one that its user may read with.

    Args:
        conf: one confluent configuration; only what every kind of client knows is taken from it, and the group.
        on_error: hears every client-level error.
    """
    return {
        **_shared(conf),
        "group.id": conf["group.id"],
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        **UP_TO_THE_END,
        # A position that is out of range means that records were deleted, which must be heard.
        "auto.offset.reset": "error",
        "error_cb": chain_error_callbacks(None, on_error),
    }


def admin_config(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of the admin client: those that every kind of client knows."""
    on_error = chain_error_callbacks(None, lambda error: log.debug("admin client: %s", error))
    return {**_shared(conf), "error_cb": on_error}


def _shared(conf: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in conf.items() if not is_consumer_only(name) and not is_producer_only(name)}


def _safe_producer(conf: Mapping[str, Any], on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Give the producer settings of `conf`: idempotent, acknowledged by all in-sync replicas."""
    for name in ("acks", "request.required.acks"):
        if conf.get(name, "all") not in ("all", -1, "-1"):
            raise ChioConfigError(
                f"`{name}` is `{conf[name]}`: a record could be lost after the offset of its event is committed; "
                f"remove it or write `{name}=all`"
            )
    if conf.get("enable.idempotence", True) not in TRUE_WORDS:
        raise ChioConfigError(
            "`enable.idempotence` is off: a retry could write a record twice; remove it or write "
            "`enable.idempotence=true`"
        )
    mine = {name: value for name, value in conf.items() if not is_consumer_only(name)}
    if "message.timeout.ms" in mine:
        mine["delivery.timeout.ms"] = mine.pop("message.timeout.ms")
    return {
        **mine,
        "acks": "all",
        "enable.idempotence": True,
        "error_cb": chain_error_callbacks(conf.get("error_cb"), on_error),
    }


def chain_error_callbacks(
    own: Callable[[KafkaError], None] | None, on_error: Callable[[KafkaError], None]
) -> Callable[[KafkaError], None]:
    """Join the application's `error_cb` with the wrapper's.

    An exception out of a client callback makes the client throw away the messages of the running call, so none is
    let through.
    """

    def error_cb(error: KafkaError) -> None:
        on_error(error)
        if own is not None:
            try:
                own(error)
            except Exception:
                log.exception("the configured error_cb raised")

    return error_cb

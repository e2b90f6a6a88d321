"""Holding receipt logs against the topics: was every event decided exactly once, and did everything follow from that.

The system may be running. So the order of looking counts, numbered below: receipts are durable before what follows from
them, and outcomes are recorded after it, so what lies in a topic before 2 has its receipts by 3, and what is committed
by 3 lies in its topic by 4. What is seen on one side only between 2 and 4 is fresh, and nobody's fault.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from chio_fast.errors import CheckpointsError, ChioConfigError
from chio_fast.kafka import digests, scan
from chio_fast.kafka.assignment import key_of_message
from chio_fast.kafka.balance import Balance, Roles
from chio_fast.kafka.books import CHUNK, Books
from chio_fast.kafka.checkpoints import read_record
from chio_fast.kafka.config import admin_config
from chio_fast.kafka.envelope import HEADER_RECEIPT, HEADER_REQUEST, HEADER_TOPIC
from chio_fast.kafka.metadata import TIMEOUT, Cluster, patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from confluent_kafka import Message

    from chio_fast.kafka.assignment import Key
    from chio_fast.kafka.reconciliation import Reconciliation
    from chio_fast.kafka.scan import Span
    from chio_fast.log import ReceiptLog


def reconcile(
    conf: Mapping[str, Any],
    logs: Sequence[ReceiptLog],
    group: str,
    *,
    dlq_topics: Collection[str] = (),
    error_topics: Collection[str] = (),
    output_topics: Collection[str] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Reconciliation:
    """Compare receipts and topics; the logs themselves are to be verified before.

    Args:
        conf: settings of the client.
        logs: every receipt log of the group's members.
        group: the consumer group.
        dlq_topics: topics for denied events; without any, nothing is said of denials.
        error_topics: topics for events whose handler failed.
        output_topics: topics in which every record must have a produce receipt; by default those of the logs' produce
            receipts.
        progress: is told how many receipts and records are read.

    Raises:
        ChioConfigError: the logs hold nothing of this group, or a topic does not exist.
        KafkaException: the cluster cannot be reached, or refuses.
        LogError: a log cannot be read.
    """
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done)

    with Books(group) as books:
        # 1. What the logs hold so far says which topics there are.
        loaded = [books.load(number, log) for number, log in enumerate(logs)]
        named = {"dlq": set(dlq_topics), "error": set(error_topics)}
        admin = AdminClient(admin_config(conf))
        roles, ids = _roles(admin, books, {**named, "output": None if output_topics is None else set(output_topics)})
        # 2. The ends of the topics and the committed offsets, from before the rest of the logs is read.
        everything = sorted(set().union(*roles.values()))
        before = scan.spans(conf, everything, "read_committed")
        committed = _committed(conf, group, [key for key in before if key[0] in roles["source"]])
        # 3. The rest of the logs, and outcomes that were recorded meanwhile.
        for number, (log, so_far) in enumerate(zip(logs, loaded, strict=True)):
            rest = books.load(number, log, so_far.after)
            books.refresh(number, log)
            loaded[number] = rest._replace(withheld=so_far.withheld + rest.withheld)
        books.index()
        former = books.forget_former_topics(ids)
        count(books.one("SELECT COUNT(*) FROM receipts"))
        # 4. The ends of the topics after that, and what they hold up to there.
        after = scan.spans(conf, everything, "read_committed")
        ends = scan.spans(conf, everything, "read_uncommitted")
        hidden = {key[0] for key, span in after.items() if span.end < ends[key].end}
        messages = scan.read(conf, after, "read_committed")
        while chunk := list(itertools.islice(messages, CHUNK)):
            _take(books, roles, before, chunk)
            count(len(chunk))
        return Balance(
            books,
            logs,
            roles,
            after,
            committed,
            hidden=hidden,
            compacted=_compacted(admin, roles["source"]),
            withheld=sum(log.withheld for log in loaded),
            former=former,
        ).strike()


def _roles(admin: AdminClient, books: Books, named: Mapping[str, set[str] | None]) -> tuple[Roles, dict[str, str]]:
    """Give the topics by role, and the ids that they have now; those that the logs alone name may be gone."""
    sources = {topic for (topic,) in books.ask("SELECT DISTINCT topic FROM receipts WHERE kind = 'consume'")}
    sources |= {topic for (topic,) in books.ask("SELECT DISTINCT topic FROM ranges")}
    if not sources:
        raise ChioConfigError(f"the receipt logs hold nothing of group `{books.group}`; `--group` names another one")
    metadata = patiently(admin)
    query = "SELECT DISTINCT json_extract(CAST(attestation AS TEXT), '$.checkpoint_topic') FROM transactions"
    produced = {topic for (topic,) in books.ask("SELECT DISTINCT topic FROM receipts WHERE kind = 'produce'")}
    told = {
        "source": sources,
        "checkpoint": {topic for (topic,) in books.ask(query)},
        "output": produced,
    }
    roles = {role: topics & set(metadata.topics) for role, topics in told.items()}
    roles |= {role: topics for role, topics in named.items() if topics is not None}
    cluster = Cluster(metadata, admin)
    cluster.refresh(roles["source"], TIMEOUT)
    return roles, {topic: found for topic in roles["source"] if (found := cluster.topic_id(topic))}


def _compacted(admin: AdminClient, topics: Iterable[str]) -> set[str]:
    """Give the topics that are compacted, as far as their settings may be read."""
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    found = set()
    for resource, future in admin.describe_configs(resources, request_timeout=TIMEOUT).items():
        with suppress(KafkaException):
            if "compact" in future.result()["cleanup.policy"].value:
                found.add(resource.name)
    return found


def _committed(conf: Mapping[str, Any], group: str, keys: Iterable[Key]) -> dict[Key, int]:
    """Give the group's committed offsets; `read_committed` makes the broker wait for transactions that hold some."""
    settings = {"group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer({**admin_config(conf), **settings})
    try:
        found = consumer.committed([TopicPartition(*key) for key in keys], timeout=scan.STALLED)
        return {(part.topic, part.partition): max(part.offset, -1) for part in found}
    finally:
        consumer.close()


def _take(books: Books, roles: Roles, before: Mapping[Key, Span], messages: Iterable[Message]) -> None:
    """Enter records of the topics."""
    tables = ("events", "altered", "letters", "failures", "outputs", "shown")
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in tables}
    for message in messages:
        key, offset = key_of_message(message), message.offset() or 0
        topic = key[0]
        place, fresh = f"{topic}/{key[1]}/{offset}", offset >= before[key].end
        if topic in roles["source"]:
            rows["events"].append((*key, offset, message.timestamp()[1]))
            if not _is_as_consumed(books, message):
                rows["altered"].append((*key, offset))
        if topic in roles["checkpoint"]:
            rows["shown"].extend(_shown(message, place, fresh=fresh))
            continue
        headers = digests.header_pairs(message)
        receipt = _last(headers, HEADER_RECEIPT)
        if topic in roles["dlq"]:
            rows["letters"].append((place, receipt, *_origin(headers), fresh))
        if topic in roles["error"]:
            rows["failures"].append((place, receipt, fresh))
        if topic in roles["output"]:
            rows["outputs"].append((place, topic, receipt, _is_as_receipted(books, message, receipt), fresh))
    for table, found in rows.items():
        books.put(table, found)


def _shown(message: Message, place: str, *, fresh: bool) -> Iterator[tuple[Any, ...]]:
    transactional_id = bytes(message.key() or b"").decode("utf-8", "replace")
    try:
        signatures = read_record(message.value() or b"")
    except CheckpointsError:
        yield None, None, transactional_id, place, fresh
        return
    for checkpoint, signature in signatures.items():
        yield checkpoint, signature, transactional_id, place, fresh


def _last(headers: Iterable[tuple[str, Any]], name: str) -> str | None:
    """Give the last header of a name: ours follow those that an event came with."""
    found = None
    for header, value in headers:
        if header == name:
            found = value
    return None if found is None else bytes(found).decode("utf-8", "replace")


def _origin(headers: list[tuple[str, Any]]) -> tuple[str | None, int | None, int | None]:
    """Give topic, partition and offset of a denied event."""
    topic, request = _last(headers, HEADER_TOPIC), _last(headers, HEADER_REQUEST) or ""
    try:
        _, partition, offset = request.rsplit("-", 2)
        return topic, int(partition), int(offset)
    except ValueError:
        return topic, None, None


def _is_as_consumed(books: Books, message: Message) -> bool:
    """Say whether nothing speaks against an event being what its consume receipts were given for."""
    query = """SELECT DISTINCT digest FROM receipts WHERE kind = 'consume' AND topic = :topic AND partition = :partition
        AND offset = :offset AND digest IS NOT NULL"""
    if books.has_digest_key:
        return True
    found = books.ask(query, topic=message.topic(), partition=message.partition(), offset=message.offset())
    return all(digests.is_content_of(digest, message) is not False for (digest,) in found)


def _is_as_receipted(books: Books, message: Message, receipt: str | None) -> bool | None:
    """Say whether a record's digest is its receipt's; None if that cannot be told."""
    found = next(books.ask("SELECT digest FROM receipts WHERE id = :id", id=receipt), None)
    if found is None or found[0] is None or books.has_digest_key:
        return None
    return digests.is_content_of(found[0], message)

"""Forwarding what is allowed: consume, decide again at the produce boundary, produce with the receipt attached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from chio_fast._native import Event
from chio_fast.enforcer import CheckRequest
from chio_fast.kafka.consumer import ChioConsumerMiddleware
from chio_fast.kafka.dlq import ChioDeadLetterProducer, Letter
from chio_fast.kafka.producing import Feed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chio_fast.enforcer import Enforcer


class ForwardCounts(msgspec.Struct):
    """What a forwarder has done.

    Attributes:
        consumed: events that were allowed to be consumed.
        forwarded: events produced and acknowledged.
        not_forwarded: events of topics without a target.
        refused: events that were not allowed to be produced; they went to the DLQ.
    """

    consumed: int = 0
    forwarded: int = 0
    not_forwarded: int = 0
    refused: int = 0


class Forwarder:
    """Moves events from a governed consumer to other topics, at least once.

    One step takes a batch and ends before the next begins, in this order; a crash in any of them leaves the batch
    uncommitted, so it is delivered and decided again, and nothing is lost:
      1. consume: events that may be consumed; the consumer sends the others to the DLQ
      2. decide at the produce boundary; the receipts are durable before step 3
      3. produce what is allowed, send the rest to the DLQ, wait for every acknowledgement
      4. commit

    Args:
        consumer: the governed consumer.
        feed: for the targets; acknowledged by all in-sync replicas.
        dead_letters: for events that may not be produced.
        enforcer: decides; the consumer's own.
        routes: source topic → target topic and the scope that producing there needs.
    """

    def __init__(
        self,
        consumer: ChioConsumerMiddleware,
        feed: Feed,
        dead_letters: ChioDeadLetterProducer,
        enforcer: Enforcer,
        routes: Mapping[str, tuple[str, str]],
    ) -> None:
        self.consumer = consumer
        self._feed = feed
        self._dead_letters = dead_letters
        self._enforcer = enforcer
        self._routes = dict(routes)
        self.counts = ForwardCounts()

    @classmethod
    def from_config(
        cls,
        conf: Mapping[str, Any],
        *,
        enforcer: Enforcer,
        scope_map: Mapping[str, str],
        routes: Mapping[str, tuple[str, str]],
        dlq_topic: str,
        **arguments: Any,
    ) -> Self:
        """Build consumer and producer from one configuration of the client.

        Args:
            conf: settings of the client, with `group.id`.
            enforcer: decides, and names the identity.
            scope_map: source topic → the scope that consuming it needs.
            routes: source topic → target topic and the scope that producing there needs.
            dlq_topic: for what is denied at either boundary.
            **arguments: others of `ChioConsumerMiddleware`.

        Raises:
            ChioConfigError: a setting is missing or unsafe.
        """
        feed = Feed.from_config(conf)
        consumer = ChioConsumerMiddleware.from_config(
            conf,
            scope_map=scope_map,
            identity=enforcer.identity,
            dlq_topic=dlq_topic,
            enforcer=enforcer,
            **arguments,
        )
        return cls(consumer, feed, ChioDeadLetterProducer(feed.producer, dlq_topic), enforcer, routes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is done and leave the group."""
        self.consumer.close()

    def step(self, batch_size: int, timeout: float) -> int:
        """Take and forward one batch.

        Args:
            batch_size: events at most.
            timeout: seconds to wait for the first one.

        Returns:
            How many events were taken.

        Raises:
            ChioError: an event could be neither forwarded nor sent to the DLQ; nothing of the batch is committed.
        """
        taken = self.consumer.consume(batch_size, timeout)
        events = [event for event in taken if isinstance(event, Event)]
        if not events:
            return 0
        routed = [event for event in events if event.topic() in self._routes]
        decisions = self._enforcer.check_batch([self._request(event) for event in routed], durable=True)
        refused: list[Letter] = []
        for event, decision in zip(routed, decisions, strict=True):
            if decision.allowed:
                target, _ = self._routes[event.topic()]
                self._feed.send(target, event.key(), event.value(), event.headers() or [], receipt=decision)
            else:
                refused.append(Letter(event, decision))
        if refused:
            self._dead_letters.send_all(refused)
        self._feed.flush()
        self.consumer.commit()
        self.counts.consumed += len(events)
        self.counts.not_forwarded += len(events) - len(routed)
        self.counts.refused += len(refused)
        self.counts.forwarded += len(routed) - len(refused)
        return len(events)

    def _request(self, event: Event) -> CheckRequest:
        target, scope = self._routes[event.topic()]
        output = {"topic": target, "key": event.key(), "value": event.value(), "headers": event.headers() or []}
        return CheckRequest(scope=scope, kind="produce", event=event, output=output)

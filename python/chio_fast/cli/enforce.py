"""`chio-fast enforce`: the main job without writing Python."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chio_fast.cli import config_files, enforce_config, options
from chio_fast.cli.attending import REPORT_SECONDS, attended, reload
from chio_fast.cli.enforce_config import EnforceConfig
from chio_fast.cli.output import Output
from chio_fast.cli.wishes import Wishes

if TYPE_CHECKING:
    from chio_fast._native import Event, HandlerContext
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.forward import Forwarder

log = logging.getLogger("chio_fast.enforce")

POLL_SECONDS = 0.25


def enforce(
    config_file: options.OwnConfigFile = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    group: options.Group = None,
    identity: options.Identity = None,
    policy: options.PolicyFile = None,
    receipt_log: options.OptionalLog = None,
    signing_key: options.SigningKey = None,
    dlq_topic: options.DlqTopic = None,
    error_topic: options.ErrorTopic = None,
    delivery: Annotated[
        enforce_config.Delivery | None, typer.Option(help="What holds for what is forwarded; else at-least-once.")
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", "-t", help="Topic to consume, and where to forward; repeatable.", metavar="FROM[=TO]"),
    ] = None,
    idle_exit: options.IdleExit = None,
    example: options.Example = False,
    as_json: options.Json = False,
) -> None:
    """Consume topics, forward what is allowed, send the rest to the DLQ, with a receipt of every decision.

    Both boundaries are decided: consuming (scope `events:consume:TOPIC`) and producing to the target (scope
    `events:produce:TARGET`); other scopes are written into the file. Forwarded events carry X-Chio-Receipt and
    X-Chio-Scope.

    Delivery is at least once, or with `--delivery exactly-once` in transactions of offsets, forwarded events and
    receipts; then what may be consumed and not forwarded goes to the error topic instead of the DLQ.

    SIGTERM and Ctrl-C finish the batch, commit and end. SIGHUP reads the policy again; if it is malformed, the former
    one stays.

    Example: `chio-fast enforce -b localhost:9092 --group gate --identity gate --policy policy.yaml --dlq-topic denied
    -t orders=orders-authorised`
    """
    output = Output(as_json)
    if example:
        sys.stdout.write(enforce_config.EXAMPLE)
        return
    config = config_files.load(config_file, EnforceConfig)
    config.take_flags(
        bootstrap,
        properties,
        group,
        identity=identity,
        policy=policy,
        receipt_log=receipt_log,
        signing_key=signing_key,
        dlq_topic=dlq_topic,
        error_topic=error_topic,
        delivery=delivery,
        topics=enforce_config.source_topics(topics) if topics else None,
    )
    config.check()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(output, config, idle_exit)


def run(output: Output, config: EnforceConfig, idle_exit: float | None) -> None:
    """Build the parts, run until told to stop, and say what was done.

    Raises:
        ChioError: something must not go on; what was not committed is delivered again.
    """
    from chio_fast.enforcer import Enforcer

    with Enforcer(
        config.policy, receipt_log=config.receipt_log, signer=config.signing_key, identity=config.identity
    ) as enforcer:
        log.info("policy version %s, receipts in %s", enforcer.policy.version, enforcer.receipt_log.location)
        log.info("consuming %s as `%s`, %s", ", ".join(config.topics), config.identity, config.delivery)
        work = _exactly_once if config.delivery == "exactly-once" else _at_least_once
        output.summary(work(config, enforcer, idle_exit))


def _exactly_once(config: EnforceConfig, enforcer: Enforcer, idle_exit: float | None) -> dict[str, Any]:
    from chio_fast.kafka import ChioTransactionalProcessor

    routes = config.routes()
    processor = ChioTransactionalProcessor(
        bootstrap_servers=config.kafka["bootstrap.servers"],
        group_id=config.kafka["group.id"],
        consume_topics=list(config.topics),
        consume_scope=config.scope_map(),
        produce_scope_map=config.targets(),
        enforcer=enforcer,
        dlq_topic=config.dlq_topic,
        error_topic=config.error_topic,
        on_replay=config.on_replay,
        duplicates=config.duplicates,
        anchor_topic=config.anchor_topic,
        batch_size=config.batch_size,
        order="partition",
        journal=False,  # nothing is called
        config=config.kafka,
    )

    def forward(event: Event, ctx: HandlerContext) -> None:
        target, _ = routes[event.topic()]
        ctx.produce(target, event.value(), event.key(), headers=event.headers())

    for topic in config.topics:
        processor.register(topic, forward if topic in routes else _leave)
    return attended(processor, enforcer, idle_exit)


def _leave(_event: Event, _ctx: HandlerContext) -> None:
    """Forward nothing: the event is decided and on record."""


def _at_least_once(config: EnforceConfig, enforcer: Enforcer, idle_exit: float | None) -> dict[str, Any]:
    from chio_fast.kafka.forward import Forwarder

    wishes = Wishes()
    with (
        wishes.listening(),
        Forwarder.from_config(
            config.kafka,
            enforcer=enforcer,
            scope_map=config.scope_map(),
            routes=config.routes(),
            dlq_topic=config.dlq_topic,
            batch_size=config.batch_size,
            evidence=config.evidence,
            on_replay=config.on_replay,
            duplicates=config.duplicates,
            anchor_topic=config.anchor_topic,
        ) as forwarder,
    ):
        _loop(forwarder, enforcer, wishes, config.batch_size, idle_exit)
    return _summary(forwarder, enforcer)


def _loop(
    forwarder: Forwarder,
    enforcer: Enforcer,
    wishes: Wishes,
    batch_size: int,
    idle_exit: float | None,
) -> None:
    last_event = last_report = time.monotonic()
    handled = 0
    while not wishes.stop:
        if wishes.reload:
            wishes.reload = False
            reload(enforcer)
        forwarder.step(batch_size, POLL_SECONDS)
        now = time.monotonic()
        stats = forwarder.consumer.stats()
        if stats.handed_out + stats.denied > handled or not stats.partitions:
            # Joining the group may take longer than the stream may be silent.
            handled, last_event = stats.handed_out + stats.denied, now
        if now - last_report >= REPORT_SECONDS:
            last_report = now
            log.info("%d allowed, %d denied, %d forwarded", stats.handed_out, stats.denied, forwarder.counts.forwarded)
        if idle_exit is not None and now - last_event >= idle_exit:
            log.info("no event for %g s", idle_exit)
            return
    log.info("asked to stop: committing what is done")


def _summary(forwarder: Forwarder, enforcer: Enforcer) -> dict[str, Any]:
    stats, counts = forwarder.consumer.stats(), forwarder.counts
    return {
        "allowed": stats.handed_out,
        "denied": stats.denied,
        "forwarded": counts.forwarded,
        "refused_at_produce": counts.refused,
        "receipts": enforcer.log.issued,
        "log": str(enforcer.receipt_log.location),
        "policy_version": enforcer.policy.version,
    }

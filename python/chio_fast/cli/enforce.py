"""`chio-fast enforce`: the main job without writing Python."""

from __future__ import annotations

import logging
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chio_fast.cli import enforce_config, options
from chio_fast.cli.enforce_config import EnforceConfig
from chio_fast.cli.output import Output
from chio_fast.errors import ChioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.forward import Forwarder

log = logging.getLogger("chio_fast.enforce")

POLL_SECONDS = 0.25
REPORT_SECONDS = 10.0


class Wishes:
    """What signals have asked for since the loop last looked."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as a wish to stop, SIGHUP as one to reload."""
        handlers: dict[int, Any] = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self._reload
        former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stop = True

    def _reload(self, _number: int, _frame: object) -> None:
        self.reload = True


def enforce(
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file; see --example. Flags win over it.")
    ] = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    group: Annotated[str | None, typer.Option(help="Consumer group.")] = None,
    identity: Annotated[str | None, typer.Option(envvar="CHIO_IDENTITY", help="Who acts.")] = None,
    policy: Annotated[str | None, typer.Option(envvar="CHIO_POLICY", help="The policy file.")] = None,
    receipt_log: Annotated[
        str | None,
        typer.Option("--log", envvar="CHIO_RECEIPT_LOG", help="The receipt log: a path, or a URL `postgresql://…`."),
    ] = None,
    signing_key: Annotated[str | None, typer.Option(help="Key file; by default the log's own.")] = None,
    dlq_topic: Annotated[str | None, typer.Option(help="Topic for what is denied.")] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", "-t", help="Topic to consume, and where to forward; repeatable.", metavar="FROM[=TO]"),
    ] = None,
    idle_exit: Annotated[
        float | None,
        typer.Option(help="End after so many seconds without an event, partitions being assigned; else run on."),
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Print an example of the file and exit.")] = False,
    as_json: options.Json = False,
) -> None:
    """Consume topics, forward what is allowed, send the rest to the DLQ, with a receipt of every decision.

    Both boundaries are decided: consuming (scope `events:consume:TOPIC`) and producing to the target (scope
    `events:produce:TARGET`); other scopes are written into the file. Forwarded events carry X-Chio-Receipt and
    X-Chio-Scope. Delivery is at least once.

    SIGTERM and Ctrl-C finish the batch, commit and end. SIGHUP reads the policy again; if it is malformed, the former
    one stays.

    Example: `chio-fast enforce -b localhost:9092 --group gate --identity gate --policy policy.yaml --dlq-topic denied
    -t orders=orders-authorised`
    """
    output = Output(as_json)
    if example:
        sys.stdout.write(enforce_config.EXAMPLE)
        return
    config = enforce_config.load(config_file)
    _override(
        config, identity=identity, policy=policy, receipt_log=receipt_log, signing_key=signing_key, dlq_topic=dlq_topic
    )
    if topics:
        config.topics = enforce_config.source_topics(topics)
    config.kafka |= enforce_config.client_properties(properties or [])
    config.kafka |= {"bootstrap.servers": bootstrap} if bootstrap else {}
    config.kafka |= {"group.id": group} if group else {}
    config.check()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(output, config, idle_exit)


def _override(config: EnforceConfig, **flags: str | None) -> None:
    for name, value in flags.items():
        if value is not None:
            setattr(config, name, value)


def run(output: Output, config: EnforceConfig, idle_exit: float | None) -> None:
    """Build the parts, run until told to stop, and say what was done.

    Raises:
        ChioError: something must not go on; what was not committed is delivered again.
    """
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka.forward import Forwarder

    wishes = Wishes()
    with (
        wishes.listening(),
        Enforcer(
            config.policy, receipt_log=config.receipt_log, signer=config.signing_key, identity=config.identity
        ) as enforcer,
    ):
        with Forwarder.from_config(
            config.kafka,
            enforcer=enforcer,
            scope_map=config.scope_map(),
            routes=config.routes(),
            dlq_topic=config.dlq_topic,
            batch_size=config.batch_size,
            evidence=config.evidence,
        ) as forwarder:
            log.info("policy version %s, receipts in %s", enforcer.policy.version, enforcer.receipt_log.location)
            log.info("consuming %s as `%s`", ", ".join(config.topics), config.identity)
            _loop(forwarder, enforcer, wishes, config.batch_size, idle_exit)
        _summary(output, forwarder, enforcer)


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
            _reload(enforcer)
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


def _reload(enforcer: Enforcer) -> None:
    try:
        version = enforcer.reload()
    except ChioError:
        # The enforcer has logged why, and decides on by the former policy.
        return
    log.info("policy read again, version %s", version)


def _summary(output: Output, forwarder: Forwarder, enforcer: Enforcer) -> None:
    stats, counts = forwarder.consumer.stats(), forwarder.counts
    summary = {
        "allowed": stats.handed_out,
        "denied": stats.denied,
        "forwarded": counts.forwarded,
        "refused_at_produce": counts.refused,
        "receipts": enforcer.log.issued,
        "log": str(enforcer.receipt_log.location),
        "policy_version": enforcer.policy.version,
    }
    if output.as_json:
        output.json(summary)
    else:
        output.fields(list(summary.items()))

"""`chio-fast process`: handlers in an exactly-once processor, without writing a main program."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chio_fast.cli import config_files, options
from chio_fast.cli.output import Output

if TYPE_CHECKING:
    from chio_fast.cli.process_config import ProcessConfig

log = logging.getLogger("chio_fast.process")


def process(
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
    topics: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", "-t", help="Topic to consume, and its handler; repeatable.", metavar="TOPIC=MODULE:FUNCTION"
        ),
    ] = None,
    produces: Annotated[
        list[str] | None,
        typer.Option(
            "--produce", help="Topic that handlers may produce to, and its scope; repeatable.", metavar="TOPIC[=SCOPE]"
        ),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tool", help="Tool that handlers may call; repeatable.", metavar="NAME=MODULE:FUNCTION"),
    ] = None,
    member: Annotated[
        str | None,
        typer.Option(envvar="CHIO_MEMBER", help="Name of this instance, the same after a restart; else host and slot."),
    ] = None,
    journal: Annotated[
        str | None, typer.Option(help="File of the tool calls; by default beside the receipt log.", metavar="PATH")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Handlers that run at the same time.", min=1)] = None,
    idle_exit: options.IdleExit = None,
    example: options.Example = False,
    as_json: options.Json = False,
) -> None:
    """Have the events of topics handled by functions of yours, exactly once.

    A handler is `def on_order(event, ctx)`, sync or async. `ctx.produce(topic, value)` and `ctx.chio.invoke(tool,
    scope, arguments)` are decided first. Offsets, produced events and receipts commit in one transaction, or not at
    all; tool calls of an event that is delivered again are answered from a journal. Modules are looked for in the
    folder of the configuration file, or without one in the working folder.

    What is denied goes to the DLQ topic; an event whose handler fails, after some attempts, to the error topic. Without
    an error topic the run ends with code 7.

    SIGTERM and Ctrl-C finish what is in flight, commit and end. SIGHUP reads the policy again; if it is malformed, the
    former one stays.

    Example: `chio-fast process -b localhost:9092 --group payments --identity payment-service --policy policy.yaml
    --dlq-topic denied --error-topic failed -t orders=payments.handlers:on_order --produce payments`
    """
    from chio_fast.cli import process_config

    output = Output(as_json)
    if example:
        sys.stdout.write(process_config.EXAMPLE)
        return
    config = config_files.load(config_file, process_config.ProcessConfig)
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
        member=member,
        journal=journal,
        concurrency=concurrency,
        topics=process_config.handled_topics(topics) if topics else None,
        produces=process_config.produced_topics(produces) if produces else None,
        tools=process_config.tools(tools) if tools else None,
    )
    config.require(config.topics)
    sys.path.insert(0, str(config_file.parent if config_file else Path.cwd()))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(output, config, idle_exit)


def run(output: Output, config: ProcessConfig, idle_exit: float | None) -> None:
    """Build the parts, run until told to stop, and say what was done.

    Raises:
        ChioError: something must not go on; what was not committed is delivered again.
    """
    from chio_fast.cli.attending import attended
    from chio_fast.enforcer import Enforcer
    from chio_fast.kafka import ChioTransactionalProcessor

    handlers, tools = config.handlers(), config.configured_tools()
    with Enforcer(
        config.policy,
        receipt_log=config.receipt_log,
        signer=config.signing_key,
        identity=config.identity,
        guards=config.made_guards(),
    ) as enforcer:
        processor = ChioTransactionalProcessor(
            bootstrap_servers=config.kafka["bootstrap.servers"],
            group_id=config.kafka["group.id"],
            consume_topics=list(config.topics),
            consume_scope=config.scope_map(),
            produce_scope_map=config.targets(),
            enforcer=enforcer,
            dlq_topic=config.dlq_topic,
            error_topic=config.error_topic,
            on_handler_error=config.on_handler_error,
            max_attempts=config.max_attempts,
            batch_size=config.batch_size,
            max_batch_ms=config.max_batch_ms,
            tracks=config.tracks,
            concurrency=config.concurrency,
            order=config.order,
            member=config.member,
            journal=config.journal,
            on_divergence=config.on_divergence,
            on_replay=config.on_replay,
            duplicates=config.duplicates,
            anchor_topic=config.anchor_topic,
            config=config.kafka,
        )
        for topic, handler in handlers.items():
            processor.register(topic, handler)
        for name, (function, tool) in tools.items():
            processor.tool(name, function, on_unknown=tool.on_unknown, result=tool.result)
        log.info("policy version %s, receipts in %s", enforcer.policy.version, enforcer.receipt_log.location)
        log.info("consuming %s as `%s`", ", ".join(config.topics), config.identity)
        output.summary(attended(processor, enforcer, idle_exit))

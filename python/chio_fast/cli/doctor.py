"""`chio-fast doctor`: is everything there, and would anything be lost."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chio_fast import diagnosis, settings, topics
from chio_fast.cli import config_files, enforce_config, options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output
from chio_fast.cli.run_config import QUIET
from chio_fast.errors import ChioError, LogMissingError
from chio_fast.location import LogLocation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chio_fast.cli.enforce_config import EnforceConfig
    from chio_fast.cli.process_config import ProcessConfig
    from chio_fast.cli.run_config import RunConfig
    from chio_fast.diagnosis import Diagnosis

    Config = EnforceConfig | ProcessConfig

SLOW_SYNC_MS = 50.0
LOW_SPACE = 1 << 30
PRIVATE = 0o600


def doctor(
    config_file: options.ConfigFile = None,
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
        list[str] | None, typer.Option("--topic", "-t", help="Topic to consume; repeatable.", metavar="FROM[=TO]")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Create missing topics but those to consume; make key files private.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Examine client, cluster, topics, policy, keys and receipt log: one line each, with what to do.

    Whatever is not given is not examined. Exits with 1 if a line is an error.

    Example: `chio-fast doctor -c enforce.yaml --fix`
    """
    output = Output(as_json)
    config = config_files.load_either(config_file)
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
        topics=enforce_config.source_topics(topics) if topics else None,
    )
    config.kafka = QUIET | config.kafka
    diagnoses = [*_policy(config), *_key(config, fix=fix), *_log(config), *_kafka(config, fix=fix)]
    if output.as_json:
        for found in diagnoses:
            output.json(found)
    else:
        output.table(
            ("", "what", "found", "what to do"),
            ((found.status, found.what, found.message, found.remedy) for found in diagnoses),
        )
    if any(found.status == "error" for found in diagnoses):
        raise typer.Exit(ExitCode.NO)


def _policy(config: Config) -> Iterator[Diagnosis]:
    from chio_fast._native import Policy

    if not config.policy:
        yield diagnosis.warning("policy", "none given", f"write --policy, or set {settings.POLICY}")
        return
    try:
        policy = Policy.from_file(config.policy)
    except (ChioError, OSError) as error:
        yield diagnosis.error("policy", str(error), "correct it; nothing passes without a policy")
        return
    yield diagnosis.ok("policy", f"{config.policy}, version {policy.version[:16]}…")
    if policy.guards:
        yield diagnosis.warning(
            "guards", f"the policy names {', '.join(policy.guards)}",
            "`chio-fast enforce` has none and refuses this policy; `process` takes `guards:`, programs register them",
        )  # fmt: skip
    if config.identity:
        yield from _grants(config, policy)


def _grants(config: Config, policy: Any) -> Iterator[Diagnosis]:
    """Find topics of which the policy says nothing for this identity, so that all of it would be denied."""
    wanted = [(scope, "consume") for scope in config.scope_map().values()]
    wanted += [(scope, "produce") for scope in config.targets().values()]
    for scope, kind in wanted:
        rules = policy.explain(config.identity, scope, kind=kind).rules
        if any(rule.effect == "allow" for rule in rules):
            yield diagnosis.ok(
                f"grant {scope}", f"rules that speak of `{config.identity}` and this scope: {len(rules)}"
            )
        else:
            yield diagnosis.warning(
                f"grant {scope}", f"no rule can allow it to `{config.identity}`: every event is denied",
                f"give the identity the capability `{scope}`, or leave the topic out",
            )  # fmt: skip


def _key(config: RunConfig, *, fix: bool) -> Iterator[Diagnosis]:
    from chio_fast._native import Signer

    if not config.signing_key:
        return
    path = Path(config.signing_key)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~PRIVATE and fix:
            path.chmod(PRIVATE)
        signer = Signer.from_file(path)
    except (ChioError, OSError) as error:
        yield diagnosis.error("key", str(error), f"`chio-fast key generate {path}`, or `chmod 600 {path}`")
        return
    yield diagnosis.ok("key", f"{path}, id {signer.key_id}" + (", made private" if mode & ~PRIVATE else ""))


def _log(config: RunConfig) -> Iterator[Diagnosis]:
    if not config.receipt_log:
        return
    location = LogLocation(config.receipt_log)
    if location.path is None:
        yield from _stored(location)
        return
    folder = location.path.parent
    if not os.access(folder, os.W_OK):
        yield diagnosis.error("log", f"`{folder}` is missing or not writable", "create it, or grant write access")
        return
    took = _sync_ms(folder)
    text = f"a durable write in `{folder}` takes {took:.1f} ms"
    if took > SLOW_SYNC_MS:
        yield diagnosis.warning("log disk", text, "put the log on a local disk: every commit waits for one such write")
    else:
        yield diagnosis.ok("log disk", text)
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    if free < LOW_SPACE:
        yield diagnosis.warning("log space", f"{free >> 20} MiB left", "make room: without it nothing is committed")
    yield from _stored(location)


def _stored(location: LogLocation) -> Iterator[Diagnosis]:
    from chio_fast.log import ReceiptLog

    try:
        batches = sum(1 for _ in ReceiptLog.open(location).batches())
    except LogMissingError:
        yield diagnosis.ok("log", f"`{location}` will be created")
    except ChioError as error:
        yield diagnosis.error("log", str(error), f"`chio-fast verify --log {location}` tells more")
    else:
        yield diagnosis.ok("log", f"`{location}` holds {batches} batches")


def _sync_ms(folder: Path) -> float:
    """Milliseconds that one small durable write takes in `folder`, the median of a few."""
    probe = folder / f".chio-doctor-{os.getpid()}"
    times = []
    try:
        with probe.open("wb") as file:
            for _ in range(9):
                file.write(b"\0" * 4096)
                file.flush()
                started = time.perf_counter()
                os.fsync(file.fileno())
                times.append((time.perf_counter() - started) * 1000)
    finally:
        probe.unlink(missing_ok=True)
    return sorted(times)[len(times) // 2]


def _kafka(config: Config, *, fix: bool) -> Iterator[Diagnosis]:
    from chio_fast.kafka import examine

    yield from examine.client()
    if not config.kafka.get("bootstrap.servers"):
        yield diagnosis.warning("brokers", "none given", "write `--bootstrap-servers host:port`")
        return
    if config.kafka.get("group.id"):
        yield from examine.settings(config.kafka)
    cluster = examine.reach(config.kafka)
    if isinstance(cluster, diagnosis.Diagnosis):
        yield cluster
        return
    yield from cluster.itself()
    yield from _topics(config, cluster, fix=fix)


def _topics(config: Config, cluster: Any, *, fix: bool) -> Iterator[Diagnosis]:
    sources, targets = list(config.topics), list(config.targets())
    letters = [(name, role) for name, role in ((config.dlq_topic, "DLQ"), (config.error_topic, "error topic")) if name]
    own = list(dict.fromkeys([*targets, *(name for name, _ in letters)]))
    created = set()
    if fix and (wanted := cluster.missing(own)):
        created = set(wanted)
        yield from cluster.create(wanted, like=next(iter(sources), None))
    roles = [(name, "topic") for name in sources] + [(name, "topic") for name in targets]
    roles += letters
    for name, role in roles:
        if name in created:
            continue
        if cluster.missing([name]):
            remedy = "create it" if name in sources else "create it, or run `chio-fast doctor --fix`"
            yield diagnosis.error(f"{role} {name}", "there is no such topic", remedy)
        else:
            yield from cluster.topic(name, role)
    if config.dlq_topic and not cluster.missing([config.dlq_topic, *sources]):
        yield from cluster.dlq(config.dlq_topic, sources)
    if config.anchor_topic is not None:
        purpose = "nobody notices if the end of a receipt log is cut off"
        yield from cluster.record_keeping(config.anchor_topic, purpose, fix=fix)
    yield from cluster.record_keeping(topics.CHECKPOINTS, "a transactional processor does not start", fix=fix)

"""`chio-fast dlq`: look at what was denied, group it, send it again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from chio_fast.cli import config_files, options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output, clock
from chio_fast.cli.requests import parse_time
from chio_fast.cli.run_config import client_settings
from chio_fast.errors import ChioConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chio_fast.kafka.letters import StoredLetter

app = typer.Typer(help="Events that were not authorised: list them, group them, send them again.", no_args_is_help=True)

Topic = Annotated[
    str | None, typer.Option("--topic", "-t", help="The DLQ topic; by default that of the file of --config.")
]
File = Annotated[Path | None, typer.Option("--file", help="Instead of a topic: what `dlq list --json` printed.")]
Reason = Annotated[str | None, typer.Option(help="Only denials whose reason contains this.")]
Scope = Annotated[str | None, typer.Option(help="Only denials of this scope.")]
Identity = Annotated[str | None, typer.Option(help="Only denials of this identity.")]
Rule = Annotated[str | None, typer.Option(help="Only denials by this rule.")]
From = Annotated[str | None, typer.Option("--from", help="Only events of this original topic.")]
FIELDS = ("reason", "rule", "scope", "identity", "verdict", "topic")


class Filter(msgspec.Struct, kw_only=True):
    """Which denials are wanted; None does not filter."""

    reason: str | None = None
    scope: str | None = None
    identity: str | None = None
    rule: str | None = None
    topic: str | None = None
    since: int | None = None
    until: int | None = None

    def wants(self, stored: StoredLetter) -> bool:
        """Whether a denial passes the filter."""
        fields = fields_of(stored)
        exact = all(getattr(self, name) in (None, fields[name]) for name in ("scope", "identity", "rule", "topic"))
        in_time = self.until is None or stored.timestamp < self.until
        return exact and in_time and (self.reason is None or self.reason in fields["reason"])


def fields_of(stored: StoredLetter) -> dict[str, str]:
    """What denials are filtered and grouped by."""
    if stored.letter is None:
        return dict.fromkeys(FIELDS, "")
    denial = stored.letter.chio_denial
    return {
        "reason": denial.reason,
        "rule": denial.rule or "",
        "scope": denial.scope_requested,
        "identity": denial.identity,
        "verdict": denial.verdict,
        "topic": stored.letter.original_topic,
    }


class Place(NamedTuple):
    """Where denials lie: a topic, with the settings of the client, or else a file."""

    topic: str
    settings: dict[str, Any]
    file: Path | None = None

    @classmethod
    def of(
        cls,
        topic: str | None,
        file: Path | None,
        config_file: Path | None,
        bootstrap: str | None,
        properties: list[str] | None,
    ) -> Place:
        """Make one of the options; flags win over the configuration file.

        Raises:
            ChioConfigError: neither a topic nor a file is given, or both are, or no brokers.
        """
        config = config_files.load_either(config_file)
        if file is not None:
            if topic is not None:
                raise ChioConfigError("`--topic` and `--file` are both given; write one of them")
            return cls("", {}, file)
        if not (topic := topic or config.dlq_topic):
            raise ChioConfigError("the DLQ topic is not given; write `--topic`, or `-c` with the file of `enforce`")
        return cls(topic, client_settings(config.kafka, bootstrap, properties))

    def read(self, since: int | None) -> Iterator[StoredLetter]:
        """Give every record from a time on, Unix ms."""
        from chio_fast.kafka import letters

        if self.file is not None:
            return letters.read_file(self.file, since=since)
        return letters.read(self.settings, self.topic, since=since)


def read_denials(output: Output, stored_letters: Iterator[StoredLetter], chosen: Filter) -> Iterator[StoredLetter]:
    """Those denials that pass the filter; what is no denial is counted and told at the end."""
    foreign = 0
    with output.progress("reading denials") as advance:
        for number, stored in enumerate(stored_letters, 1):
            advance(number)
            if stored.letter is None:
                foreign += 1
            elif chosen.wants(stored):
                yield stored
    if foreign:
        output.warn(f"{foreign} records are no denials written by chio_fast, and were passed over")


@app.command("list")
def list_denials(
    topic: Topic = None,
    file: File = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    config_file: options.ConfigFile = None,
    reason: Reason = None,
    scope: Scope = None,
    identity: Identity = None,
    rule: Rule = None,
    original: From = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = 100,
    as_json: options.Json = False,
) -> None:
    """Print denials, oldest first in each partition.

    Exits with 1 if there is none. Example: `chio-fast dlq list -b localhost:9092 -t orders-denied --since 1h`
    """
    output = Output(as_json)
    chosen = _filter(reason, scope, identity, rule, original, since, until)
    found = Place.of(topic, file, config_file, bootstrap, properties).read(chosen.since)
    rows: list[StoredLetter] = []
    for stored in read_denials(output, found, chosen):
        if len(rows) == limit:
            output.note(f"more than {limit}; use --limit, or a filter")
            break
        rows.append(stored)
    if output.as_json:
        for stored in rows:
            output.json(stored.written())
    else:
        columns = ("dlq", "time", "event", "identity", "scope", "verdict", "reason")
        output.table(columns, (_row(stored) for stored in rows))
    if not rows:
        output.note("no denial passes these filters")
        raise typer.Exit(ExitCode.NO)


def _row(stored: StoredLetter) -> tuple[str, ...]:
    fields, letter = fields_of(stored), stored.letter
    event = letter.request.removeprefix("chio-kafka-") if letter else ""
    place = f"{stored.partition}/{stored.offset}"
    return (
        place,
        clock(stored.timestamp),
        event,
        *(fields[name] for name in ("identity", "scope", "verdict", "reason")),
    )


def _filter(
    reason: str | None,
    scope: str | None,
    identity: str | None,
    rule: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    return Filter(
        reason=reason,
        scope=scope,
        identity=identity,
        rule=rule,
        topic=topic,
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
    )


@app.command()
def group(
    topic: Topic = None,
    file: File = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    config_file: options.ConfigFile = None,
    by: Annotated[
        str, typer.Option(help=f"What to group by, joined by commas: {', '.join(FIELDS)}.")
    ] = "reason,scope,identity",
    reason: Reason = None,
    scope: Scope = None,
    identity: Identity = None,
    rule: Rule = None,
    original: From = None,
    since: options.Since = None,
    until: options.Until = None,
    alert: Annotated[int | None, typer.Option(help="Exit with 1 if a group has at least so many.", min=1)] = None,
    limit: options.Limit = 100,
    as_json: options.Json = False,
) -> None:
    """Count denials by what they have in common: the pattern is the signal.

    Example: `chio-fast dlq group -b localhost:9092 -t orders-denied --by rule,identity --since 15m --alert 100`
    """
    output = Output(as_json)
    names = [name.strip() for name in by.split(",")]
    if unknown := [name for name in names if name not in FIELDS]:
        raise typer.BadParameter(f"`{unknown[0]}` is none of {', '.join(FIELDS)}", param_hint="--by")
    chosen = _filter(reason, scope, identity, rule, original, since, until)
    found = Place.of(topic, file, config_file, bootstrap, properties).read(chosen.since)
    counts: Counter[tuple[str, ...]] = Counter()
    seen: dict[tuple[str, ...], tuple[int, int]] = {}
    for stored in read_denials(output, found, chosen):
        fields = fields_of(stored)
        key = tuple(fields[name] for name in names)
        counts[key] += 1
        first, last = seen.get(key, (stored.timestamp, stored.timestamp))
        seen[key] = (min(first, stored.timestamp), max(last, stored.timestamp))
    if output.as_json:
        for key, count in counts.most_common(limit):
            first, last = seen[key]
            output.json({**dict(zip(names, key, strict=True)), "count": count, "first": first, "last": last})
    else:
        rows = ((count, *key, clock(seen[key][0]), clock(seen[key][1])) for key, count in counts.most_common(limit))
        output.table(("count", *names, "first", "last"), rows)
    if not counts:
        output.note("no denial passes these filters")
    if alert is not None and counts and max(counts.values()) >= alert:
        output.warn(f"the largest group has {max(counts.values())} denials, the limit is {alert}")
        raise typer.Exit(ExitCode.NO)


@app.command()
def redrive(
    topic: Topic = None,
    bootstrap: options.Bootstrap = None,
    properties: options.Property = None,
    config_file: options.ConfigFile = None,
    to: Annotated[str | None, typer.Option(help="Send to this topic; by default to the one each came from.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Send only what this policy file would allow now, for the identity denied.")
    ] = None,
    reason: Reason = None,
    scope: Scope = None,
    identity: Identity = None,
    rule: Rule = None,
    original: From = None,
    since: options.Since = None,
    until: options.Until = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send; without it only say what would be sent.")] = False,
    as_json: options.Json = False,
) -> None:
    """Send denied events again, with key, value and headers as they were.

    They are decided again where they are consumed: redriving opens no way around a policy. Each carries the header
    X-Chio-Redriven with its place in the DLQ, which itself stays as it is, so choose by time, rule or policy and run
    it once. Events whose value was left out of the DLQ are counted and stay.

    Example: `chio-fast dlq redrive -b localhost:9092 -t orders-denied --policy new-policy.yaml --since 24h --yes`
    """
    from chio_fast.kafka.redrive import Redrive

    output = Output(as_json)
    place = Place.of(topic, None, config_file, bootstrap, properties)
    chosen = _filter(reason, scope, identity, rule, original, since, until)
    drive = Redrive(place.settings, to=to, policy_file=policy, send=yes)
    for stored in read_denials(output, place.read(chosen.since), chosen):
        drive.take(stored)
    counts = drive.finish()
    if output.as_json:
        output.json(counts)
        return
    for target, count in sorted(counts.topics.items()):
        output.line(f"{count} events {'sent' if yes else 'would be sent'} to {target}")
    if counts.still_denied:
        output.line(f"{counts.still_denied} stay, because the policy would not allow them")
    if counts.without_value:
        output.line(f"{counts.without_value} stay, because the DLQ does not hold their value")
    if not yes:
        output.note("nothing was sent; add --yes to send")

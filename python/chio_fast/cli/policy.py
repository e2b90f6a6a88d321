"""`chio-fast policy`: check a policy, explain a decision, run a file of expected verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chio_fast._native import Policy
from chio_fast.cli import options
from chio_fast.cli.exits import ExitCode
from chio_fast.cli.output import Output, rule_errors
from chio_fast.cli.policy_cases import run_cases
from chio_fast.cli.requests import WrittenRecord, WrittenRequest, parse_json, parse_time, read_argument
from chio_fast.decision import Kind
from chio_fast.errors import PolicyError

if TYPE_CHECKING:
    from chio_fast.decision import Explanation

app = typer.Typer(help="Check a policy, explain its decisions, test it in your CI.", no_args_is_help=True)

PolicyFile = Annotated[Path, typer.Argument(help="The policy: YAML, or JSON if the name ends in .json.")]


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="One or more policies.")], as_json: options.Json = False
) -> None:
    """Compile policies and say what is in them.

    Exits with 3 if one is malformed; the message names the line or rule and what to write instead.

    Example: `chio-fast policy check policy.yaml`
    """
    output = Output(as_json)
    failed = False
    for file in files:
        try:
            policy = Policy.from_file(file)
        except PolicyError as error:
            failed = True
            _report_bad(output, file, error)
            continue
        _report_good(output, file, policy)
    if failed:
        raise typer.Exit(ExitCode.INPUT)


def _report_bad(output: Output, file: Path, error: PolicyError) -> None:
    if output.as_json:
        problem = {"message": str(error), "line": error.line, "rule": error.rule}
        output.json({"file": str(file), "ok": False, "error": problem})
    else:
        output.line(str(error), style="red")


def _report_good(output: Output, file: Path, policy: Policy) -> None:
    document = json.loads(policy.canonical)
    identities: dict[str, Any] = document.get("identities", {})
    rules: list[dict[str, Any]] = document.get("rules", [])
    capabilities = sum(len(identity.get("capabilities", [])) for identity in identities.values())
    summary = {
        "file": str(file),
        "ok": True,
        "version": policy.version,
        "identities": len(identities),
        "capabilities": capabilities,
        "rules": len(rules),
        "guards": list(policy.guards),
    }
    if output.as_json:
        output.json(summary)
        return
    output.line(f"{file}: ok", style="green")
    output.fields([(name, value) for name, value in summary.items() if name not in ("file", "ok")])
    if policy.guards:
        output.note(f"a program that uses it must register the guards {', '.join(policy.guards)}")


@app.command()
def explain(
    file: PolicyFile,
    identity: Annotated[str, typer.Argument(help="Who asks.")],
    scope: Annotated[str, typer.Argument(help="The permission asked for, such as `events:consume:orders`.")],
    kind: Annotated[Kind | None, typer.Option(help="The boundary; by default what the rest says.")] = None,
    event: Annotated[
        str | None, typer.Option(help="The inbound event as JSON (topic, key, headers, value, …), or @file.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="Just the inbound event's value, or @file.")] = None,
    tool: Annotated[str | None, typer.Option(help="The tool that is called.")] = None,
    arguments: Annotated[str | None, typer.Option(help="The tool's arguments as JSON, or @file.")] = None,
    output_record: Annotated[str | None, typer.Option("--output", help="The outbound event as JSON, or @file.")] = None,
    now: Annotated[str | None, typer.Option(help="Time of the decision: RFC 3339 or Unix ms.")] = None,
    as_json: options.Json = False,
) -> None:
    """Tell every rule that matched, what its condition gave, and which one decided.

    Exits with 0 whatever the verdict is; ask `policy test` for expectations.

    Example: `chio-fast policy explain policy.yaml refund-agents tools:refund:card --arguments '{"amount": 1500}'`
    """
    output = Output(as_json)
    request = WrittenRequest(identity=identity, scope=scope, kind=kind, tool=tool)
    request.event = _record(event, "--event") if event else WrittenRecord() if value is not None else None
    if value is not None and request.event is not None:
        request.event.value = read_argument(value)
    if arguments is not None:
        request.arguments = parse_json(arguments, "--arguments")
    if output_record is not None:
        request.output = _record(output_record, "--output")
    request.now = parse_time(now) if now else None
    explanation = Policy.from_file(file).explain(identity, scope, **request.keywords())
    if output.as_json:
        output.json(explanation)
    else:
        show_explanation(output, explanation)


def _record(text: str, option: str) -> WrittenRecord:
    try:
        return msgspec.convert(parse_json(text, option), WrittenRecord)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"not an event: {error}", param_hint=option) from None


def show_explanation(output: Output, explanation: Explanation) -> None:
    """Print an explanation for people: the decision, then the rules that matched."""
    decision = explanation.decision
    output.fields(
        [
            ("verdict", decision.verdict),
            ("rule", decision.rule or "none matched"),
            ("reason", decision.reason),
            ("why", explanation.why),
            ("guards due", list(decision.guards)),
            ("errors", rule_errors(decision.errors)),
        ]
    )
    if explanation.rules:
        output.line()
        rows = (
            ("→" if rule.decided else " ", rule.rule, rule.effect, rule.condition, rule.result)
            for rule in explanation.rules
        )
        output.table(("", "rule", "effect", "condition", "gave"), rows)


@app.command("test")
def run(
    file: PolicyFile,
    cases: Annotated[list[Path], typer.Argument(help="Files of cases, YAML or JSON.")],
    as_json: options.Json = False,
) -> None:
    """Run files of cases with expected verdicts; for your CI.

    A file of cases:

        cases:
          - name: refunds over 1000 wait for a human
            identity: refund-agents
            scope: tools:refund:card
            arguments: {amount: 1500}
            expect: escalate       # or {verdict: escalate, rule: large-refunds}

    A case may hold `kind`, `event` and `output` (topic, partition, offset, key, timestamp, headers, value), `tool`,
    `arguments` and `now`; `expect` may name `rule`, `errors` and `guards`. Exits with 1 if a case fails.

    Example: `chio-fast policy test policy.yaml cases.yaml`
    """
    output = Output(as_json)
    policy = Policy.from_file(file)
    results = [result for path in cases for result in run_cases(path, policy)]
    failed = [result for result in results if not result.passed]
    if output.as_json:
        for result in results:
            output.json(result)
    else:
        rows = ((result.word, result.name, result.verdict, result.rule, result.problem) for result in results)
        output.table(("", "case", "verdict", "rule", "problem"), rows)
        output.line()
        output.line(f"{len(results) - len(failed)} of {len(results)} cases passed", style="red" if failed else "green")
    if failed:
        raise typer.Exit(ExitCode.NO)

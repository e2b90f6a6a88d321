"""`chio-fast process`, and `enforce` exactly once, on a real broker: run, stopped and killed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import POLICY
from tests.cli.gateway import (
    BROKEN,
    EVENTS,
    LARGE,
    SECRET,
    WHEN_IDLE,
    WHEN_IDLE_AFTER_A_KILL,
    await_line,
    end,
    fill,
)
from tests.kafka.topics import await_records, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ran
    from tests.kafka.broker import Broker

HANDLERS = """\
import itertools, os, signal
from pathlib import Path

CALLS = Path(__file__).with_name("calls")
FATAL = Path(__file__).with_name("fatal")
COUNT = itertools.count(1)


def forward(event, ctx):
    import json
    number = json.loads(event.value())["number"]
    if number in FAILING:
        raise RuntimeError(f"{number} cannot be handled")
    receipt = ctx.chio.invoke(tool="note", scope="tools:note", arguments={"number": number})
    ctx.produce(topic=TARGET, value=event.value(), key=event.key(), headers=[("noted", receipt)])


def note(number, idempotency_key):
    with CALLS.open("a") as calls:
        calls.write(f"{number} {idempotency_key}\\n")
    if FATAL.exists() and next(COUNT) == int(FATAL.read_text()):
        os.kill(os.getpid(), signal.SIGKILL)
    return str(number)
"""
FAILING = {13, 26}
DEADLY = "9"
"""The call of its process in which the tool kills it."""
DONE = set(range(EVENTS)) - LARGE - BROKEN


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """The policy of these tests, with the tool; nothing but large and broken events is refused."""
    path = tmp_path / "policy.yaml"
    document, _, _ = POLICY.partition("  - id: no-secrets-out")
    path.write_text(document.replace('"events:produce:**"', '"events:produce:**", "tools:**"'))
    return path


@pytest.fixture
def errors(new_topic: Callable[..., str]) -> str:
    return new_topic("errors", partitions=2)


@pytest.fixture
def config(tmp_path: Path, policy_file: Path, topics: dict[str, str], errors: str, broker: Broker) -> Path:
    """A configuration file for `process`, with the module of its handler beside it."""
    (tmp_path / "handlers.py").write_text(f"TARGET = {topics['target']!r}\nFAILING = set()\n{HANDLERS}")
    document = {
        "identity": "gate",
        "policy": policy_file.name,
        "receipt_log": "receipts.db",
        "dlq_topic": topics["denied"],
        "error_topic": errors,
        "member": "a",
        "kafka": {
            "bootstrap.servers": broker.bootstrap,
            "group.id": topics["source"],
            # A member that was killed keeps its partitions until its session ends, and the offsets of its running
            # transaction are not told to others until that ends.
            "session.timeout.ms": 1000,
            "heartbeat.interval.ms": 300,
            "transaction.timeout.ms": 3000,
        },
        "topics": {topics["source"]: "handlers:forward"},
        "produces": {topics["target"]: None},
        "tools": {"note": "handlers:note"},
    }
    path = tmp_path / "process.yaml"
    path.write_text(json.dumps(document))
    return path


def changed(config: Path, **members: Any) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | members))


def fail_once(config: Path, **members: Any) -> None:
    """Let the handler raise for some events, which are given up at once."""
    handlers = config.with_name("handlers.py")
    handlers.write_text(handlers.read_text().replace("FAILING = set()", f"FAILING = {FAILING}"))
    changed(config, max_attempts=1, **members)


def calls(config: Path) -> list[list[str]]:
    return [line.split() for line in config.with_name("calls").read_text().splitlines()]


def numbers(broker: Broker, topic: str) -> Counter[int]:
    """How often each event is in a topic, as readers of committed transactions see it."""
    return Counter(int(message.key()) for message in read(broker.bootstrap, topic))


def test_events_are_handled_once_and_sigterm_commits_what_is_done(
    start: Callable[..., Any],
    chio: Callable[..., Ran],
    config: Path,
    topics: dict[str, str],
    errors: str,
    broker: Broker,
) -> None:
    fail_once(config)
    fill(broker, topics["source"])
    process = start("--config", config, "--json", command="process")
    await_records(broker.bootstrap, topics["target"], len(DONE - FAILING))
    summary = end(process)
    assert (summary["denied"], summary["failed"]) == (len(LARGE | BROKEN), len(FAILING))
    assert summary["committed"] == EVENTS

    again = chio("process", "--config", config, *WHEN_IDLE, "--json")
    assert again.code == 0, again.err
    assert (again.documents[0]["allowed"], again.documents[0]["denied"]) == (0, 0)
    assert numbers(broker, topics["target"]) == Counter(DONE - FAILING)
    assert numbers(broker, topics["denied"]) == Counter(LARGE | BROKEN)
    assert numbers(broker, errors) == Counter(FAILING)
    assert sorted(int(number) for number, _ in calls(config)) == sorted(DONE - FAILING)
    log = config.with_name("receipts.db")
    assert chio("verify", "--log", log, "--independent").code == 0
    last = list(read(broker.bootstrap, topics["target"]))[-1]
    chain = chio("receipt", "chain", dict(last.headers())["X-Chio-Receipt"].decode(), "--log", log)
    assert "note" in chain.out
    assert f"{topics['source']} consumed by gate" in chain.out


def die_in_the_tool(start: Callable[..., Any], config: Path) -> None:
    """Run a process that is killed by its tool."""
    config.with_name("fatal").write_text(DEADLY)
    assert start("--config", config, command="process").wait(60) == -signal.SIGKILL
    config.with_name("fatal").unlink()


@pytest.mark.parametrize("successor", ["a", "b"], ids=["itself", "another member"])
def test_what_was_called_by_a_process_that_is_killed_in_a_tool_is_known_to_its_successor(
    start: Callable[..., Any],
    chio: Callable[..., Ran],
    config: Path,
    topics: dict[str, str],
    broker: Broker,
    successor: str,
) -> None:
    changed(config, concurrency=1)
    fill(broker, topics["source"])
    die_in_the_tool(start, config)
    again = chio("process", "--config", config, "--member", successor, *WHEN_IDLE_AFTER_A_KILL, "--json")
    assert again.code == 0, again.err
    assert again.documents[0]["calls_unknown"] == 1
    assert numbers(broker, topics["target"]) == Counter(DONE)
    made = calls(config)
    per_key = Counter(key for _, key in made)
    assert len(per_key) == len(DONE)
    assert [call for call in made if per_key[call[1]] > 1] == [made[int(DEADLY) - 1]] * 2
    assert chio("reconcile", "-c", config).code == 0


def test_over_many_kills_every_call_is_made_once_or_left_to_people(
    start: Callable[..., Any],
    chio: Callable[..., Ran],
    config: Path,
    topics: dict[str, str],
    errors: str,
    broker: Broker,
) -> None:
    kills, concurrency = 4, 3
    changed(config, concurrency=concurrency, tools={"note": {"function": "handlers:note", "on_unknown": "escalate"}})
    fill(broker, topics["source"])
    for _ in range(kills):
        die_in_the_tool(start, config)
    last = chio("process", "--config", config, *WHEN_IDLE_AFTER_A_KILL, "--json")
    assert last.code == 0, last.err
    assert set(Counter(key for _, key in calls(config)).values()) == {1}
    made = {int(number) for number, _ in calls(config)}
    assert len(made) == len(calls(config))
    # A call whose start was durable may not have reached the tool when the process died: it is left to people as well.
    assert DONE - made <= set(numbers(broker, errors))
    failed = list(read(broker.bootstrap, errors))
    assert kills <= len(failed) <= kills * concurrency
    assert {json.loads(event.value())["chio_error"]["type"] for event in failed} == {"ChioCallUnknown"}
    assert numbers(broker, topics["target"]) + numbers(broker, errors) == Counter(DONE)
    assert chio("reconcile", "-c", config).code == 0


def test_a_handler_that_fails_without_an_error_topic_ends_the_run(
    chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    fail_once(config, error_topic=None)
    fill(broker, topics["source"])
    ran = chio("process", "-c", config, "--idle-exit", "10")
    assert ran.code == 7, ran.err
    assert "cannot be handled" in ran.err


def test_a_tool_that_is_not_there_ends_the_run(
    chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    changed(config, tools={})
    fill(broker, topics["source"])
    ran = chio("process", "-c", config, "--idle-exit", "10")
    assert ran.code == 3, ran.err
    assert "no tool is called `note`" in ran.err
    assert numbers(broker, topics["target"]) == Counter()


def test_an_unknown_call_can_end_every_run_until_somebody_decides(
    start: Callable[..., Any], chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    tool = {"function": "handlers:note", "on_unknown": "stop"}
    changed(config, concurrency=1, tools={"note": tool})
    fill(broker, topics["source"])
    die_in_the_tool(start, config)
    for _ in range(2):
        ran = chio("process", "-c", config, "--idle-exit", "10")
        assert ran.code == 7, ran.err
        assert "whether it did its work is not known" in ran.err
    assert len(calls(config)) <= len(DONE)
    changed(config, tools={"note": tool | {"on_unknown": "call again"}})
    assert chio("process", "-c", config, *WHEN_IDLE_AFTER_A_KILL).code == 0
    assert numbers(broker, topics["target"]) == Counter(DONE)
    assert Counter(Counter(key for _, key in calls(config)).values()) == {1: len(DONE) - 1, 2: 1}


def test_sighup_takes_the_new_policy_over(
    start: Callable[..., Any], config: Path, policy_file: Path, topics: dict[str, str], broker: Broker
) -> None:
    process = start("--config", config, "--json", command="process")
    fill(broker, topics["source"], range(1))
    await_records(broker.bootstrap, topics["target"], 1)
    policy_file.write_text(policy_file.read_text().replace("event.value.amount > 1000", "event.value.amount > 1"))
    process.send_signal(signal.SIGHUP)
    await_line(process, "policy read again")
    fill(broker, topics["source"], range(1, 2))
    await_records(broker.bootstrap, topics["denied"], 1)
    assert end(process, signal.SIGINT)["denied"] == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"topics": {}}, "a topic to consume"),
        ({"topics": {"a": "absent:function"}}, "module `absent`"),
        ({"topics": {"a": "handlers:absent"}}, "no `absent` in module `handlers`"),
        ({"topics": {"a": "handlers:CALLS"}}, "cannot be called"),
        ({"tools": {"note": {"function": "handlers:note", "on_unknown": "retry"}}}, "on_unknown"),
        ({"guards": {"pii": "handlers"}}, "module:name"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_configuration_that_cannot_run_is_refused(
    chio: Callable[..., Ran], tmp_path: Path, policy_file: Path, change: dict[str, Any], expected: str
) -> None:
    (tmp_path / "handlers.py").write_text(f"TARGET = 't'\nFAILING = set()\n{HANDLERS}")
    document = {
        "identity": "gate",
        "policy": policy_file.name,
        "dlq_topic": "denied",
        "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
        "topics": {"a": "handlers:forward"},
    }
    (tmp_path / "process.yaml").write_text(json.dumps(document | change))
    ran = chio("process", "-c", "process.yaml")
    assert ran.code == 3
    assert expected in ran.err


def test_the_example_of_process_is_one_that_doctor_understands(
    chio: Callable[..., Ran], tmp_path: Path, policy_file: Path
) -> None:
    (tmp_path / "example.yaml").write_text(chio("process", "--example").out)
    ran = chio("doctor", "-c", "example.yaml", "-b", "127.0.0.1:1", "--identity", "gate", "--json")
    grants = {line["what"] for line in ran.documents if line["what"].startswith("grant") and line["status"] == "ok"}
    assert grants == {
        "grant events:consume:orders",
        "grant events:consume:refunds:eu",
        "grant events:produce:payments",
        "grant events:produce:receipts:eu",
    }


# enforce, exactly once


@pytest.fixture
def gateway(tmp_path: Path, topics: dict[str, str], errors: str, broker: Broker) -> Path:
    """A configuration file for `enforce`, with the policy that keeps secrets in."""
    (tmp_path / "gateway.yaml").write_text(POLICY)
    document = {
        "identity": "gate",
        "policy": "gateway.yaml",
        "receipt_log": "gateway.db",
        "delivery": "exactly-once",
        "dlq_topic": topics["denied"],
        "error_topic": errors,
        "batch_size": 20,
        "kafka": {
            "bootstrap.servers": broker.bootstrap,
            "group.id": topics["source"],
            "session.timeout.ms": 1000,
            "heartbeat.interval.ms": 300,
        },
        "topics": {topics["source"]: {"forward": topics["target"]}},
    }
    path = tmp_path / "enforce.yaml"
    path.write_text(json.dumps(document))
    return path


def test_what_enforce_forwards_exactly_once_survives_kills_without_loss_and_without_repetition(
    start: Callable[..., subprocess.Popen[str]],
    chio: Callable[..., Ran],
    gateway: Path,
    topics: dict[str, str],
    errors: str,
    broker: Broker,
) -> None:
    wanted = range(2000)
    fill(broker, topics["source"], wanted)
    for progress in (1, 600):
        process = start("--config", gateway)
        await_records(broker.bootstrap, topics["target"], progress)
        process.kill()
        process.wait()
    last = chio("enforce", "--config", gateway, *WHEN_IDLE_AFTER_A_KILL, "--json")
    assert last.code == 0, last.err
    assert numbers(broker, topics["target"]) == Counter(set(wanted) - LARGE - BROKEN - SECRET)
    assert numbers(broker, topics["denied"]) == Counter(LARGE | BROKEN)
    assert numbers(broker, errors) == Counter(SECRET)
    assert chio("verify", "--log", gateway.with_name("gateway.db"), "--independent").code == 0
    assert chio("reconcile", "-c", gateway).code == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"delivery": "at-most-once"}, "at-most-once"),
        ({"error_topic": None}, "error_topic"),
        ({"evidence": "before_action"}, "evidence"),
    ],
)
def test_an_exactly_once_gateway_that_cannot_run_is_refused(
    chio: Callable[..., Ran], gateway: Path, change: dict[str, Any], expected: str
) -> None:
    changed(gateway, **change)
    ran = chio("enforce", "-c", gateway)
    assert ran.code == 3
    assert expected in ran.err

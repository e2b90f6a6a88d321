"""`chio-fast enforce`, `dlq` and `doctor` on a real broker, as a user runs them: processes, files and topics."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

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


def test_forwards_what_is_allowed_and_denies_the_rest(
    chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    fill(broker, topics["source"])
    ran = chio("enforce", "--config", config, *WHEN_IDLE, "--json")
    assert ran.code == 0, ran.err
    [summary] = ran.documents
    assert summary["forwarded"] == EVENTS - len(LARGE | SECRET | BROKEN)
    assert summary["denied"] == len(LARGE | BROKEN)
    assert summary["refused_at_produce"] == len(SECRET)

    forwarded = await_records(broker.bootstrap, topics["target"], summary["forwarded"])
    assert {int(message.key()) for message in forwarded} == set(range(EVENTS)) - LARGE - SECRET - BROKEN
    log = str(config.with_name("receipts.db"))
    for message in forwarded:
        headers = dict(message.headers())
        assert headers["kept"] == b"\xff"
        assert headers["X-Chio-Scope"].decode() == f"events:produce:{topics['target']}"
    last = dict(forwarded[-1].headers())["X-Chio-Receipt"].decode()
    [receipt] = chio("receipt", "show", last, "--log", log, "--json").documents
    assert receipt["kind"] == "produce"
    backward = chio("receipt", "chain", last, "--direction", "backward", "--log", log)
    assert backward.code == 0
    assert f"{topics['source']} consumed by gate" in backward.out
    assert chio("verify", "--log", log).code == 0
    assert chio("verify", "--log", log, "--independent").code == 0


def test_sigterm_commits_so_that_a_restart_repeats_nothing(
    start: Callable[..., Any], chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    fill(broker, topics["source"])
    process = start("--config", config, "--json")
    await_records(broker.bootstrap, topics["target"], EVENTS - len(LARGE | SECRET | BROKEN))
    assert end(process)["forwarded"] == EVENTS - len(LARGE | SECRET | BROKEN)
    again = chio("enforce", "--config", config, *WHEN_IDLE, "--json")
    assert (again.documents[0]["allowed"], again.documents[0]["denied"]) == (0, 0)


@pytest.mark.parametrize("role", ["target", "denied"])
def test_a_topic_that_is_missing_stops_the_run_and_nothing_is_committed(
    chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker, role: str
) -> None:
    fill(broker, topics["source"])
    whole = config.read_text()
    config.write_text(whole.replace(topics[role], f"{topics[role]}-absent"))
    stopped = chio("enforce", "--config", config, "--idle-exit", "10", "-X", "topic.metadata.propagation.max.ms=2000")
    assert stopped.code == 5
    assert f"{topics[role]}-absent" in stopped.err
    config.write_text(whole)
    resumed = chio("enforce", "--config", config, *WHEN_IDLE, "--json").documents[0]
    assert resumed["forwarded"] == EVENTS - len(LARGE | SECRET | BROKEN)


def test_kill_9_at_any_point_loses_nothing(
    start: Callable[..., Any], chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    wanted = range(3000)
    fill(broker, topics["source"], wanted)
    # A dead member keeps its partitions until its session ends; small batches leave many points to die at.
    quick = ("--config", config, "-X", "session.timeout.ms=1000", "-X", "heartbeat.interval.ms=300")
    config.write_text(config.read_text().replace('"identity"', '"batch_size": 20, "identity"'))
    for progress in (1, 500, 1200, 2000):
        process = start(*quick)
        await_records(broker.bootstrap, topics["target"], progress)
        process.kill()
        process.wait()
    last = chio("enforce", *quick, *WHEN_IDLE_AFTER_A_KILL, "--json")
    assert last.code == 0, last.err
    forwarded = {int(message.key()) for message in read(broker.bootstrap, topics["target"])}
    denied = {int(message.key()) for message in read(broker.bootstrap, topics["denied"])}
    assert forwarded | denied == set(wanted)
    assert forwarded & denied == set()
    assert denied == LARGE | SECRET | BROKEN
    assert chio("verify", "--log", config.with_name("receipts.db"), "--independent").code == 0


def test_sighup_takes_the_new_policy_over_and_refuses_a_bad_one(
    start: Callable[..., Any], config: Path, policy_file: Path, topics: dict[str, str], broker: Broker
) -> None:
    process = start("--config", config, "--json")
    fill(broker, topics["source"], range(1))
    await_records(broker.bootstrap, topics["target"], 1)
    text = policy_file.read_text()
    policy_file.write_text("chio: policy/v9\n")
    process.send_signal(signal.SIGHUP)
    fill(broker, topics["source"], range(1, 2))
    await_records(broker.bootstrap, topics["target"], 2)
    policy_file.write_text(text.replace("event.value.amount > 1000", "event.value.amount > 1"))
    process.send_signal(signal.SIGHUP)
    await_line(process, "policy read again")
    fill(broker, topics["source"], range(2, 3))
    await_records(broker.bootstrap, topics["denied"], 1)
    assert end(process)["denied"] == 1


@pytest.fixture
def denied(chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker) -> str:
    """A DLQ topic with what `enforce` denied."""
    fill(broker, topics["source"])
    assert chio("enforce", "--config", config, *WHEN_IDLE).code == 0
    return topics["denied"]


def test_the_dlq_is_listed_grouped_and_sent_again(
    chio: Callable[..., Ran],
    denied: str,
    topics: dict[str, str],
    broker: Broker,
    policy_file: Path,
    tmp_path: Path,
) -> None:
    at = ("--bootstrap-servers", broker.bootstrap, "--topic", denied)
    listed = chio("dlq", "list", *at, "--json").documents
    assert len(listed) == len(LARGE | SECRET | BROKEN)
    assert chio("dlq", "list", *at, "--rule", "no-secrets-out", "--json").out.count("\n") == len(SECRET)
    assert chio("dlq", "list", *at, "--rule", "nothing").code == 1

    groups = {row["rule"]: row["count"] for row in chio("dlq", "group", *at, "--by", "rule", "--json").documents}
    assert groups == {"large-orders": len(LARGE | BROKEN), "no-secrets-out": len(SECRET)}
    assert "large orders wait" in chio("dlq", "group", *at).out
    assert chio("dlq", "group", *at, "--alert", "3").code == 1
    assert chio("dlq", "group", *at, "--alert", "100").code == 0

    saved = tmp_path / "denied.jsonl"
    saved.write_text(chio("dlq", "list", *at, "--json").out)
    assert chio("dlq", "group", "--file", saved, "--by", "rule", "--json").documents[0]["count"] == len(LARGE | BROKEN)

    dry = chio("dlq", "redrive", *at, "--rule", "large-orders")
    assert f"{len(LARGE | BROKEN)} events would be sent to {topics['source']}" in dry.out
    policy_file.write_text(policy_file.read_text().replace("> 1000", "> 9000"))
    sent = chio("dlq", "redrive", *at, "--rule", "large-orders", "--policy", policy_file, "--yes", "--json").documents
    assert sent == [{"topics": {topics["source"]: len(LARGE)}, "without_value": 0, "still_denied": 1, "sent": True}]
    events = await_records(broker.bootstrap, topics["source"], EVENTS + len(LARGE))
    again = [event for event in events if len(event.headers()) > 1]
    assert {int(event.key()) for event in again} == LARGE
    assert all(dict(event.headers())["X-Chio-Redriven"].startswith(denied.encode()) for event in again)


def test_doctor_names_what_is_missing_and_fixes_it(
    chio: Callable[..., Ran], config: Path, topics: dict[str, str], broker: Broker
) -> None:
    config.write_text(config.read_text().replace(topics["denied"], f"{topics['denied']}-absent"))
    found = {line["what"]: line for line in chio("doctor", "-c", config, "--json").documents}
    missing = found[f"DLQ {topics['denied']}-absent"]
    assert missing["status"] == "error"
    assert "--fix" in missing["remedy"]
    assert found["brokers"]["status"] == "ok"
    assert found["policy"]["status"] == "ok"
    assert chio("doctor", "-c", config).code == 1
    assert chio("doctor", "-c", config, "--fix").code == 0
    after = chio("doctor", "-c", config)
    assert after.code == 0
    assert "error" not in after.out.split()


def test_doctor_warns_of_unsafe_settings_and_of_grants_that_are_missing(chio: Callable[..., Ran], config: Path) -> None:
    unsafe = ("-X", "enable.auto.commit=true", "-X", "isolation.level=read_uncommitted")
    ran = chio("doctor", "-c", config, "--identity", "stranger", "--json", *unsafe)
    status = {line["what"].split()[0]: line["status"] for line in ran.documents}
    assert ran.code == 1
    assert (status["consumer"], status["isolation"], status["grant"]) == ("error", "warning", "warning")


def test_a_cluster_that_is_not_there_is_an_error_and_no_traceback(chio: Callable[..., Ran], config: Path) -> None:
    ran = chio("doctor", "-c", config, "--bootstrap-servers", "127.0.0.1:1", "--json")
    assert ran.code == 1
    [brokers] = [line for line in ran.documents if line["what"] == "brokers"]
    assert brokers["status"] == "error"
    assert "Connection refused" in brokers["message"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"identity": ""}, "identity"),
        ({"topics": {}}, "topic"),
        ({"dlq_topic": ""}, "dlq"),
        ({"colour": 1}, "colour"),
        ({"batch_size": 0}, "batch_size"),
        ({"kafka": {"group.id": "g"}}, "brokers"),
    ],
)
def test_a_configuration_that_cannot_run_is_refused(
    chio: Callable[..., Ran], tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    document = {
        "identity": "gate",
        "policy": "policy.yaml",
        "dlq_topic": "denied",
        "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
        "topics": {"a": {"forward": "b"}},
    }
    (tmp_path / "enforce.yaml").write_text(json.dumps({**document, **change}))
    ran = chio("enforce", "-c", "enforce.yaml")
    assert ran.code == 3
    assert expected.lower() in ran.err.lower()


def test_the_example_configuration_is_valid(chio: Callable[..., Ran], tmp_path: Path, policy_file: Path) -> None:
    (tmp_path / "example.yaml").write_text(chio("enforce", "--example").out)
    ran = chio("doctor", "-c", "example.yaml", "-b", "127.0.0.1:1", "--identity", "gate", "--json")
    grants = [line for line in ran.documents if line["what"].startswith("grant")]
    assert len(grants) == 4
    assert all(line["status"] == "ok" for line in grants)

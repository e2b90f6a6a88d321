"""`on_replay`, `duplicates` and `anchor_topic` in the files of `enforce` and `process`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.cli.gateway import EVENTS, WHEN_IDLE, fill
from tests.kafka.topics import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ran
    from tests.kafka.broker import Broker

OPEN = """\
chio: policy/v1
identities:
  gate:
    capabilities: ["events:consume:**", "events:produce:**"]
"""
CLOSED = OPEN.replace('"events:consume:**", ', "")

Run = tuple[str, dict[str, Any]]


@pytest.fixture(params=["enforce", "enforce exactly once", "process"])
def run(request: pytest.FixtureRequest, topics: dict[str, str], new_topic: Callable[..., str]) -> Run:
    """A command, and what its file says beside what all files say."""
    if request.param == "process":
        return "process", {"topics": {topics["source"]: "handlers:forward"}, "produces": {topics["target"]: None}}
    forwarding = {"topics": {topics["source"]: {"forward": topics["target"]}}}
    if request.param == "enforce":
        return "enforce", forwarding
    return "enforce", forwarding | {"delivery": "exactly-once", "error_topic": new_topic("errors", partitions=2)}


@pytest.fixture
def write(tmp_path: Path, run: Run, topics: dict[str, str], broker: Broker) -> Callable[..., Path]:
    """Writes the file of the command, and what it names."""

    def write(policy: str = OPEN, **members: Any) -> Path:
        (tmp_path / "policy.yaml").write_text(policy)
        (tmp_path / "handlers.py").write_text(
            f"def forward(event, ctx):\n    ctx.produce({topics['target']!r}, event.value(), event.key())\n"
        )
        document = {
            "identity": "gate",
            "policy": "policy.yaml",
            "receipt_log": "receipts.db",
            "dlq_topic": topics["denied"],
            "kafka": {"bootstrap.servers": broker.bootstrap, "group.id": topics["source"]},
        }
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(document | run[1] | members))
        return path

    return write


def test_duplicates_are_denied_where_the_file_says_so(
    chio: Callable[..., Ran], run: Run, write: Callable[..., Path], topics: dict[str, str], broker: Broker
) -> None:
    fill(broker, topics["source"])
    config = write(duplicates={"header": "kept", "action": "deny"})
    ran = chio(run[0], "-c", config, *WHEN_IDLE, "--json")
    assert ran.code == 0, ran.err
    assert ran.documents[0]["denied"] == EVENTS - 1
    assert len(list(read(broker.bootstrap, topics["target"]))) == 1


def test_replays_are_honoured_where_the_file_says_so(
    chio: Callable[..., Ran], run: Run, write: Callable[..., Path], topics: dict[str, str], broker: Broker
) -> None:
    fill(broker, topics["source"], range(10))
    for policy, members, denied in ((OPEN, {}, 0), (CLOSED, {"on_replay": "honor"}, 0), (CLOSED, {}, 10)):
        ran = chio(run[0], "-c", write(policy, **members), *WHEN_IDLE, "--json")
        assert ran.code == 0, ran.err
        assert ran.documents[0]["denied"] == denied
        move_back(broker, topics["source"])
    assert len(list(read(broker.bootstrap, topics["target"]))) == 20


def move_back(broker: Broker, topic: str) -> None:
    """Commit offset 0, as an operator does; the group has the topic's name."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic})
    consumer.commit(offsets=[TopicPartition(topic, number, 0) for number in range(2)], asynchronous=False)
    consumer.close()


@pytest.mark.parametrize("is_named", [True, False])
def test_heads_are_published_where_the_file_says(
    chio: Callable[..., Ran],
    run: Run,
    write: Callable[..., Path],
    topics: dict[str, str],
    broker: Broker,
    new_topic: Callable[..., str],
    is_named: bool,
) -> None:
    named = new_topic("heads", partitions=2)
    fill(broker, topics["source"], range(1))
    config = write(anchor_topic=named if is_named else None)
    ran = chio(run[0], "-c", config, *WHEN_IDLE, "--json")
    assert ran.code == 0, ran.err
    heads = list(read(broker.bootstrap, named))
    assert bool(heads) is is_named
    assert "anchors" not in ran.err
    if is_named:
        anchored = chio("verify", "--log", "receipts.db", "--anchors", named, "-b", broker.bootstrap, "--json")
        assert anchored.documents[0]["anchors"] == len(heads)


def test_doctor_examines_the_topic_that_the_file_names(
    chio: Callable[..., Ran], write: Callable[..., Path], new_topic: Callable[..., str]
) -> None:
    named = f"{new_topic('heads')}-absent"

    def examined(topic: str | None) -> dict[str, str]:
        ran = chio("doctor", "-c", write(anchor_topic=topic), "--json")
        return {line["what"]: line["status"] for line in ran.documents}

    assert examined(named)[f"topic {named}"] == "warning"
    assert not any("anchors" in what or "heads" in what for what in examined(None))


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"on_replay": "never"}, "$.on_replay"),
        ({"duplicates": {"window": "15 minutes"}}, "$.duplicates.window"),
        ({"duplicates": {"window": 0}}, "$.duplicates"),
        ({"duplicates": {"action": "drop"}}, "$.duplicates.action"),
        ({"duplicates": {"colour": 1}}, "$.duplicates"),
        ({"anchor_topic": ""}, "$.anchor_topic"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_its_place(
    chio: Callable[..., Ran], run: Run, write: Callable[..., Path], wrong: dict[str, Any], place: str
) -> None:
    ran = chio(run[0], "-c", write(**wrong))
    assert ran.code == 3
    assert "config.yaml" in ran.err
    assert f"at `{place}`" in ran.err

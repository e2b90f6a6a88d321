"""Events that were decided before are recognised: replays by their place, duplicates by the producer's id."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from chio_fast import ChioConfigError, Policy, ReceiptLog
from chio_fast.kafka import Duplicates, envelope
from tests.kafka.scenario import CLOSED_POLICY, OPEN_POLICY

if TYPE_CHECKING:
    from chio_fast.records import Receipt
    from tests.kafka.scenario import Scenario


def receipts_of(scenario: Scenario, offset: int, partition: int = 0) -> list[Receipt]:
    log = ReceiptLog.open(scenario.log_path)
    return list(log.query(kind="consume", topic=scenario.topic, partition=partition, offset=offset))


def move_back(scenario: Scenario) -> None:
    """Sets the committed offsets to the beginning, as an operator does while nobody is in the group."""
    operator = Consumer({"bootstrap.servers": scenario.broker.bootstrap, "group.id": scenario.group})
    try:
        operator.commit(offsets=[TopicPartition(*key, 0) for key in scenario.committed()], asynchronous=False)
    finally:
        operator.close()


def run(scenario: Scenario, policy: str, allowed: int, denied: int = 0, **arguments: Any) -> Any:
    """Takes so many allowed events and waits for so many denials, commits, and gives the statistics."""
    with scenario.consumer(policy=Policy.from_yaml(policy), **arguments) as consumer:
        if allowed:
            scenario.take(consumer, allowed)
        scenario.await_dead_letters(consumer, denied)
        consumer.commit(asynchronous=False)
        return consumer.stats()


class TestReplay:
    def test_a_fresh_event_has_no_earlier_receipt(self, scenario: Scenario) -> None:
        scenario.raw_produce(b"{}")
        stats = run(scenario, OPEN_POLICY, 1)
        [receipt] = receipts_of(scenario, 0)
        assert (stats.replays, receipt.parents, receipt.attempt) == (0, (), 1)

    def test_a_replay_is_decided_anew_and_names_the_earlier_receipt(self, scenario: Scenario) -> None:
        for n in range(3):
            scenario.raw_produce(b'{"n": %d}' % n)
        run(scenario, OPEN_POLICY, 3)
        move_back(scenario)
        stats = run(scenario, CLOSED_POLICY, 0, 3)
        assert (stats.replays, stats.denied) == (3, 3)
        for offset in range(3):
            first, again = receipts_of(scenario, offset)
            assert again.parents == (first.id,)
            assert (first.verdict, again.verdict, again.attempt) == ("allow", "deny", 2)

    def test_an_honoured_decision_stands_although_the_policy_denies_now(self, scenario: Scenario) -> None:
        scenario.raw_produce(b"{}")
        run(scenario, OPEN_POLICY, 1)
        move_back(scenario)
        stats = run(scenario, CLOSED_POLICY, 1, on_replay="honor")
        first, again = receipts_of(scenario, 0)
        assert (stats.replays, stats.denied, again.verdict, again.rule) == (1, 0, "allow", first.rule)
        assert again.parents == (first.id,)
        assert first.id in again.reason
        assert again.batch.policy_version == Policy.from_yaml(CLOSED_POLICY).version

    def test_an_honoured_denial_stands_although_the_policy_allows_now(self, scenario: Scenario) -> None:
        scenario.raw_produce(b"{}")
        run(scenario, CLOSED_POLICY, 0, 1)
        move_back(scenario)
        stats = run(scenario, OPEN_POLICY, 0, 1, on_replay="honor")
        assert (stats.handed_out, stats.denied) == (0, 1)
        assert [receipt.verdict for receipt in receipts_of(scenario, 0)] == ["deny", "deny"]

    def test_events_behind_the_replayed_ones_are_decided_as_ever(self, scenario: Scenario) -> None:
        scenario.raw_produce(b"{}")
        run(scenario, CLOSED_POLICY, 0, 1)
        scenario.raw_produce(b"{}")
        move_back(scenario)
        stats = run(scenario, OPEN_POLICY, 1, 1, on_replay="honor")
        assert (stats.replays, stats.handed_out, stats.denied) == (1, 1, 1)
        [fresh] = receipts_of(scenario, 1)
        assert (fresh.verdict, fresh.parents) == ("allow", ())

    def test_another_groups_receipt_is_not_of_the_same_request(self, scenario: Scenario) -> None:
        scenario.raw_produce(b"{}")
        run(scenario, CLOSED_POLICY, 0, 1)
        scenario.group += "-other"
        stats = run(scenario, OPEN_POLICY, 1, on_replay="honor")
        assert (stats.replays, stats.handed_out) == (0, 1)

    def test_a_word_that_is_none_is_refused(self, scenario: Scenario) -> None:
        with pytest.raises(ChioConfigError, match="write `re-evaluate` or `honor`"):
            scenario.consumer(on_replay="ignore")


class TestDuplicates:
    def produce(self, scenario: Scenario, *ids: str | None) -> None:
        for name in ids:
            scenario.raw_produce(b"{}", headers=[] if name is None else [("X-Message-Id", name.encode())])

    def test_a_duplicate_is_handed_out_and_its_receipt_says_of_what(self, scenario: Scenario) -> None:
        self.produce(scenario, "a", "b", "a", None, None)
        stats = run(scenario, OPEN_POLICY, 5, duplicates=Duplicates())
        [original], [other], [duplicate] = (receipts_of(scenario, offset) for offset in range(3))
        assert (stats.duplicates, duplicate.verdict, other.parents) == (1, "allow", ())
        assert duplicate.parents == (original.id,)
        assert duplicate.reason == f"duplicate of {original.id}"

    def test_denied_duplicates_go_to_the_dlq(self, scenario: Scenario) -> None:
        self.produce(scenario, "a", "a", "a")
        with scenario.consumer(
            policy=Policy.from_yaml(OPEN_POLICY), duplicates=Duplicates(action="deny"), evidence="before_action"
        ) as consumer:
            scenario.take(consumer, 1)
            scenario.await_dead_letters(consumer, 2)
            consumer.commit(asynchronous=False)
        letters = [envelope.decode(message.value()) for message in scenario.read(scenario.dlq)]
        assert [letter.chio_denial.rule for letter in letters] == ["duplicate", "duplicate"]
        assert {letter.original_offset for letter in letters} == {1, 2}

    def test_an_id_is_forgotten_after_so_many_events(self, scenario: Scenario) -> None:
        self.produce(scenario, "a", "b", "c", "a")
        with scenario.consumer(policy=Policy.from_yaml(OPEN_POLICY), duplicates=Duplicates(window=2)) as consumer:
            for _ in range(4):
                scenario.take(consumer, 1)
            assert consumer.stats().duplicates == 0

    def test_an_id_is_forgotten_after_some_time(self, scenario: Scenario) -> None:
        self.produce(scenario, "a", "a")
        window = timedelta(milliseconds=50)
        with scenario.consumer(policy=Policy.from_yaml(OPEN_POLICY), duplicates=Duplicates(window=window)) as consumer:
            scenario.take(consumer, 1)
            deadline = time.monotonic() + window.total_seconds()
            while time.monotonic() <= deadline:
                pass
            scenario.take(consumer, 1)
            assert consumer.stats().duplicates == 0

    @pytest.mark.parametrize(
        "wrong", [{"header": ""}, {"window": 0}, {"window": timedelta(0)}, {"action": "skip"}], ids=str
    )
    def test_settings_that_cannot_work_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ChioConfigError):
            Duplicates(**wrong)

"""Policies that change, rules that expire, and guards that misbehave, under load."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from chio_fast import Allow, Deny, Enforcer, GuardContext, Policy
from chio_fast.errors import ChioError, GuardError
from tests.kafka import receipts
from tests.kafka.scenario import CLOSED_POLICY, IDENTITY, OPEN_POLICY, Scenario


def run_until_settled(scenario: Scenario, enforcer: Enforcer, *, batch: int = 50) -> None:
    """Consumes everything with the given enforcer."""
    with scenario.consumer(enforcer=enforcer) as consumer:
        scenario.finish(consumer, batch=batch)


def enforcer_of(scenario: Scenario, policy: str, **arguments: object) -> Enforcer:
    """An enforcer on the scenario's log."""
    return Enforcer(
        Policy.from_yaml(policy),
        receipt_log=scenario.log_path,
        signer=scenario.key_path,
        identity=IDENTITY,
        **arguments,  # type: ignore[arg-type]
    )


def fates_by_receipts(scenario: Scenario) -> None:
    """Takes from the log who was denied: where the moment decides, only the log knows."""
    for receipt in receipts.consume_receipts(scenario.log_path).values():
        scenario.fates[receipt.place] = receipt.verdict != "allow"


def test_a_reload_takes_effect_on_events_that_are_prefetched_already(scenario: Scenario):
    scenario.topics = scenario.topics[:1]
    scenario.produce(400, seed=61, denied=0)
    with enforcer_of(scenario, OPEN_POLICY) as enforcer:
        with scenario.consumer(enforcer=enforcer) as consumer:
            scenario.take(consumer, 100, batch=1)
            assert consumer.stats().buffered > 0
            enforcer.reload(Policy.from_yaml(CLOSED_POLICY))
            scenario.await_dead_letters(consumer, 300)
            consumer.commit(asynchronous=False)
        fates_by_receipts(scenario)
        versions = {receipt.policy_version for receipt in receipts.consume_receipts(scenario.log_path).values()}
        assert len(versions) == 2
    scenario.audit()


def test_reloads_under_load_leave_every_event_with_one_decision(scenario: Scenario):
    scenario.produce(3_000, seed=62, denied=0)
    done = threading.Event()
    with enforcer_of(scenario, OPEN_POLICY) as enforcer:

        def reload() -> None:
            while not done.wait(0.01):
                for policy in (CLOSED_POLICY, OPEN_POLICY):
                    enforcer.reload(Policy.from_yaml(policy))

        reloading = threading.Thread(target=reload)
        reloading.start()
        try:
            run_until_settled(scenario, enforcer)
        finally:
            done.set()
            reloading.join()
    fates_by_receipts(scenario)
    scenario.audit()


def test_a_rule_that_expires_denies_from_that_moment_on(scenario: Scenario):
    scenario.topics = scenario.topics[:1]
    scenario.produce(300, seed=63, denied=0)
    moment = time.time() + 4
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    policy = f"""
chio: policy/v1
rules:
  - id: for-a-moment
    effect: allow
    identities: [{IDENTITY}]
    scopes: ["events:consume:*"]
    expires_at: {expires}
"""
    with enforcer_of(scenario, policy) as enforcer, scenario.consumer(enforcer=enforcer) as consumer:
        scenario.take(consumer, 100, batch=1)
        assert consumer.stats().buffered > 0
        time.sleep(max(0.0, moment - time.time()))
        scenario.await_dead_letters(consumer, 200)
        consumer.commit(asynchronous=False)
    fates_by_receipts(scenario)
    scenario.audit()


class Picky:
    """Denies every third event, raises on every seventh."""

    name = "picky"

    async def evaluate(self, context: GuardContext) -> Allow | Deny:
        """Looks at the offset."""
        offset = context.event.offset()
        await asyncio.sleep(0.001)
        if offset % 7 == 0:
            raise RuntimeError("seven")
        return Deny("every third") if offset % 3 == 0 else Allow()


def test_guards_decide_and_one_that_raises_denies(scenario: Scenario):
    scenario.topics = scenario.topics[:1]
    scenario.produce(300, seed=64, denied=0)
    for where in scenario.fates:
        scenario.fates[where] = where[2] % 7 == 0 or where[2] % 3 == 0
    with enforcer_of(scenario, OPEN_POLICY, guards=[Picky()]) as enforcer:
        run_until_settled(scenario, enforcer)
    scenario.audit()
    denied = {letter.chio_denial.rule for letter in scenario.dead_letters()}
    assert denied == {"guard:picky"}


def test_a_guard_that_hangs_on_one_event_denies_it_and_the_rest_goes_on(scenario: Scenario):
    class Hangs:
        name = "hangs"

        async def evaluate(self, context: GuardContext) -> Allow:
            if context.event.offset() == 3:
                await asyncio.sleep(3600)
            return Allow()

    scenario.topics, scenario.policy = scenario.topics[:1], OPEN_POLICY
    for n in range(20):
        where = scenario.raw_produce(b"%d" % n)
        scenario.fates[where] = where[2] == 3
    with enforcer_of(scenario, OPEN_POLICY, guards=[Hangs()], guard_timeout=0.5) as enforcer:
        run_until_settled(scenario, enforcer)
    scenario.audit()


def test_a_pool_full_of_hung_guards_stops_the_consumer(scenario: Scenario):
    release = threading.Event()

    class Hung:
        name = "hung"

        def evaluate(self, _context: GuardContext) -> Allow:
            release.wait(60)
            return Allow()

    scenario.topics = scenario.topics[:1]
    for n in range(20):
        scenario.raw_produce(b"%d" % n)
    try:
        enforcer = enforcer_of(scenario, OPEN_POLICY, guards=[Hung()], guard_timeout=0.2, guard_threads=2)
        consumer = scenario.consumer(enforcer=enforcer)
        with pytest.raises(GuardError):
            consumer.poll(20)
        with pytest.raises(ChioError):
            consumer.close()
    finally:
        release.set()
    enforcer.close()
    assert set(scenario.committed().values()) == {-1001}


def test_guards_of_many_events_run_side_by_side(scenario: Scenario):
    class Slow:
        name = "slow"

        async def evaluate(self, _context: GuardContext) -> Allow:
            await asyncio.sleep(0.1)
            return Allow()

    scenario.topics = scenario.topics[:1]
    scenario.produce(200, seed=66, denied=0)
    with (
        enforcer_of(scenario, OPEN_POLICY, guards=[Slow()]) as enforcer,
        scenario.consumer(enforcer=enforcer) as consumer,
    ):
        scenario.take(consumer, 1)
        started = time.monotonic()
        scenario.take(consumer, 199, batch=1)
        assert time.monotonic() - started < 10, "one after the other they take 20 s"

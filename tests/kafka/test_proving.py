"""How often a process ended while an event was handled, as the receipts of earlier processes tell it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chio_fast import Enforcer, Event, Policy, ReceiptLog, Signer
from chio_fast.kafka.proving import Tries
from chio_fast.kafka.sample import sample_message

POLICY = """
chio: policy/v1
identities:
  workers:
    capabilities: [events:consume:orders]
"""
LAST = 20


class Life:
    """A process, as far as a receipt log knows it: everything of its issuer and epoch."""

    def __init__(self, folder: Path) -> None:
        signer = Signer.from_file(folder / "key")
        policy = Policy.from_yaml(POLICY)
        self.log = folder / "receipts.db"
        self.enforcer = Enforcer(policy, receipt_log=self.log, identity="workers", signer=signer)
        self.gate = self.enforcer.gate
        self.partition = self.gate.partition(
            "orders",
            0,
            scope="events:consume:orders",
            identity="workers",
            cluster="c",
            topic_id="t",
            group="g",
            stamp=1,
        )
        messages = [sample_message(b"{}", topic="orders", offset=offset) for offset in range(LAST + 1)]
        self.events: list[Event] = self.gate.admit(messages, {("orders", 0): self.partition})[0]
        self.gate.take(self.events)

    def count(self, *offsets: int) -> None:
        """Count the events from the first to the last of these, as `Proving` does."""
        self.gate.attempt_now([self.events[offset] for offset in offsets])

    def fail(self, offset: int) -> None:
        """Let the handler of an event fail, and take the event again."""
        self.gate.attempt([self.events[offset]])
        self.gate.take([self.events[offset]])

    def end(self) -> None:
        """End without another receipt."""
        self.enforcer.close()

    def tries(self, first: int = 0, last: int = LAST) -> list[int]:
        """What this process knows of the events from `first` to `last`."""
        self.enforcer.seal()
        self.gate.log.wait_durable(self.gate.log.issued)
        receipts = ReceiptLog.open(self.log).consumed(self.partition, first, last)
        tries = Tries(receipts, (self.gate.log.issuer, self.gate.log.epoch), first, last)
        return [tries.of(offset) for offset in range(first, last + 1)]


@pytest.fixture
def live(tmp_path: Path) -> Callable[[], Life]:
    Signer.generate(tmp_path / "key")
    return lambda: Life(tmp_path)


def ended(*offsets: int, first: int = 0, last: int = LAST) -> list[int]:
    """The tries of the events from `first` to `last`, if those at `offsets` were tried once for each time."""
    return [offsets.count(offset) for offset in range(first, last + 1)]


def test_a_stretch_stands_for_all_events_between_its_ends(live: Callable[[], Life]) -> None:
    life = live()
    life.count(3, 7)
    life.count(9)
    life.end()
    assert live().tries() == ended(3, 4, 5, 6, 7, 9)


def test_each_process_that_ended_counts_and_the_present_one_does_not(live: Callable[[], Life]) -> None:
    for _ in range(2):
        life = live()
        life.count(3, 7)
        life.end()
    life = live()
    life.count(6, 8)
    assert life.tries() == ended(*2 * [3, 4, 5, 6, 7])
    life.end()
    assert live().tries() == ended(*2 * [3, 4, 5, 6, 7], 6, 7, 8)


def test_whoever_seals_another_receipt_has_lived_to_do_so(live: Callable[[], Life]) -> None:
    life = live()
    life.count(3, 7)
    life.fail(3)
    life.fail(5)
    life.end()
    assert live().tries() == ended(4, 6, 7)


def test_an_event_that_is_tried_again_is_counted_again(live: Callable[[], Life]) -> None:
    life = live()
    life.count(3, 7)
    for _ in range(2):
        life.fail(5)
        life.count(5)
    life.end()
    assert live().tries() == ended(3, 4, 5, 6, 7)


@pytest.mark.parametrize(("first", "last"), [(5, LAST), (0, 5), (7, 7), (8, LAST)])
def test_ends_beyond_what_is_looked_at_are_not_needed(live: Callable[[], Life], first: int, last: int) -> None:
    life = live()
    life.count(3, 7)
    life.end()
    assert live().tries(first, last) == ended(3, 4, 5, 6, 7, first=first, last=last)

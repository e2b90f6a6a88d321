"""What may be committed: claims, and the confirmed denials that follow them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chio_fast.kafka.frontier import NOTHING, Frontier


def test_nothing_is_due_before_anything_is_claimed_or_denied():
    assert Frontier().due() is None


def test_a_claim_is_due_until_it_is_committed():
    frontier = Frontier()
    frontier.claim(7)
    assert frontier.due() == 7
    frontier.committed = 7
    assert frontier.due() is None


def test_denials_from_the_start_are_due_without_any_claim():
    frontier = Frontier()
    frontier.deny(NOTHING, 1)
    frontier.deny(NOTHING, 2)
    assert frontier.due() == 2


def test_denials_behind_an_unclaimed_event_wait_for_its_claim():
    frontier = Frontier()
    frontier.deny(floor=4, end=6)  # the event at 3 was handed out
    assert frontier.due() is None
    frontier.claim(4)
    assert frontier.due() == 6


def test_a_claim_in_the_middle_extends_only_over_the_denials_that_follow_it():
    frontier = Frontier()
    frontier.deny(floor=1, end=3)  # 0 handed out, 1 and 2 denied
    frontier.deny(floor=4, end=5)  # 3 handed out, 4 denied
    frontier.claim(1)
    assert frontier.due() == 3


def test_a_claim_may_go_back():
    frontier = Frontier()
    frontier.claim(10)
    frontier.committed = 10
    frontier.claim(4)
    assert frontier.due() == 4


@given(
    st.lists(st.sampled_from(["handed out", "denied", "gap"]), max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_no_commit_ever_passes_an_event_that_was_handed_out_and_not_claimed(fates: list[str], claims: list[int]):
    """The oracle knows every event: an offset may be committed if all handed out below it are claimed."""
    frontier, floor = Frontier(), NOTHING
    handed: list[int] = []
    claimed = 0
    pending = sorted(claims)
    for offset, fate in enumerate(fates):
        if fate == "handed out":
            handed.append(offset)
            floor = offset + 1
        elif fate == "denied":
            frontier.deny(floor, offset + 1)
        while pending and handed and pending[0] <= handed[-1]:
            claimed = handed[pending.pop(0) % len(handed)] + 1
            frontier.claim(claimed)
        due = frontier.due()
        if due is not None:
            assert all(event < claimed for event in handed if event < due)
            assert due >= claimed
    frontier.claim(len(fates))
    assert frontier.due() == (len(fates) if len(fates) != frontier.committed else None)

"""How fresh deliveries and the backlog share an endpoint's slots."""

from __future__ import annotations

import pytest

from bridge.delivery.slots import FRESH_SECONDS, Slots


@pytest.mark.parametrize(("count", "share"), [(1, 0), (2, 1), (3, 1), (10, 5)])
def test_each_has_its_share_while_both_want_slots(count: int, share: int) -> None:
    """Fresh deliveries get half of the slots beside a backlog, which gets the rest."""
    slots = Slots(count)
    assert slots.for_fresh(0.0, backlog=True) == share
    assert slots.for_backlog(0.5) == count - share
    slots.take(count - share)
    assert slots.for_backlog(0.5) == 0
    assert slots.for_fresh(0.5, backlog=True) == share
    slots.take(share, fresh=True)
    assert slots.for_fresh(0.5, backlog=True) == 0
    slots.give_back()
    assert slots.for_backlog(0.5) == 1
    assert slots.for_fresh(0.5, backlog=True) == 0


def test_each_has_all_slots_while_the_other_wants_none() -> None:
    slots = Slots(4)
    assert slots.for_backlog(100.0) == 4
    assert slots.for_fresh(100.0, backlog=False) == 4
    assert slots.for_backlog(100.0 + FRESH_SECONDS / 2) == 2
    assert slots.for_backlog(100.0 + FRESH_SECONDS) == 4


def test_a_full_house_admits_nobody() -> None:
    """Shares are taken as slots get free: no attempt is ended for them, and none is too many."""
    slots = Slots(4)
    slots.take(4)
    assert slots.for_fresh(0.0, backlog=True) == 0
    assert slots.for_backlog(0.5) <= 0
    slots.give_back()
    assert slots.for_backlog(0.5) <= 0  # the free one is for a fresh delivery
    assert slots.for_fresh(0.5, backlog=True) == 1
    slots.take(fresh=True)
    assert slots.busy == 4


def test_pending_records_take_room() -> None:
    """Four attempts for each slot whose record isn't committed stop both."""
    slots = Slots(2)
    slots.recording = 8
    assert slots.for_backlog(0.0) == 0
    assert slots.for_fresh(0.0, backlog=False) == 0
    slots.recording = 7
    assert slots.for_fresh(0.0, backlog=False) == 1

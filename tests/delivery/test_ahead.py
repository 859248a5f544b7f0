"""How much is claimed ahead, for how long it is kept, and what is given back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.delivery.ahead import Ahead
from bridge.delivery.waiting import AHEAD_SECONDS
from bridge.model import Claim
from bridge.reload import lease_seconds

MakeClaim = Callable[..., Claim]


def _known(call_seconds: float, claim_seconds: float, slots: int = 10) -> Ahead:
    ahead = Ahead(slots)
    for _ in range(100):
        ahead.called(call_seconds)
        ahead.claimed(claim_seconds)
    return ahead


@pytest.mark.parametrize(
    ("call", "claim", "room"),
    [(0.001, 0.010, 30), (0.010, 0.010, 10), (0.020, 0.001, 1), (0.0, 0.010, 30), (0.01, 0.0, 0)],
)
def test_what_can_begin_during_a_claim_is_claimed_ahead(
    call: float, claim: float, room: int
) -> None:
    """As much as all slots call while a claim is committed, at most three times the slots."""
    assert _known(call, claim).room() == pytest.approx(room, abs=1)


def test_nothing_is_claimed_ahead_of_an_endpoint_that_is_not_known() -> None:
    """Before the first call has ended nobody knows how long one takes."""
    ahead = Ahead(10)
    ahead.claimed(1.0)
    assert ahead.room() == 0
    ahead.called(0.001)
    assert ahead.room() == 30


def test_claims_are_not_made_for_one_at_a_time(claim_of: MakeClaim) -> None:
    """More is claimed when half of it has begun, and then as much again."""
    ahead = _known(0.001, 0.010)
    ahead.add([claim_of(number) for number in range(30)], 0.0)
    rooms = []
    for _ in range(30):
        rooms.append(ahead.room())
        ahead.take(1.0)
    assert rooms[:15] == [0] * 15
    assert rooms[15:] == [30] * 15


def test_the_oldest_begins_first(claim_of: MakeClaim) -> None:
    """They begin in the order in which they were claimed."""
    ahead = Ahead(1)
    claims = [claim_of(number) for number in range(4)]
    ahead.add(claims[:2], 1.0)
    ahead.add(claims[2:], 2.0)
    assert len(ahead) == 4
    assert [ahead.take(3.0) for _ in range(5)] == [*claims, None]
    assert not len(ahead)


def test_what_waited_too_long_never_begins(claim_of: MakeClaim) -> None:
    """An attempt that could outlive its lease is given back instead, and only once."""
    ahead = Ahead(1)
    old, young = claim_of(1), claim_of(2)
    ahead.add([old], 1.0)
    ahead.add([young], 2.0)
    assert ahead.wait(2.0) == AHEAD_SECONDS - 1
    assert ahead.unwanted(AHEAD_SECONDS + 0.9) == []
    assert ahead.take(AHEAD_SECONDS + 1) is None
    assert ahead.unwanted(AHEAD_SECONDS + 1) == [old]
    assert ahead.unwanted(AHEAD_SECONDS + 1) == []
    assert ahead.take(AHEAD_SECONDS + 1) is young
    assert ahead.wait(0.0) is None


def test_a_lease_outlives_what_began_late() -> None:
    """Begun as late as it may be, an attempt still ends long before its lease."""
    assert lease_seconds([]) - AHEAD_SECONDS >= 20


def test_nothing_asked_for_before_a_dismissal_begins(claim_of: MakeClaim) -> None:
    """Neither what waits nor what a claim on its way will bring; what is asked for later does."""
    ahead = Ahead(1)
    waiting, on_its_way, later = claim_of(1), claim_of(2), claim_of(3)
    ahead.add([waiting], 1.0)
    ahead.dismiss(2.0)
    ahead.add([on_its_way], 1.5)
    ahead.add([later], 3.0)
    assert ahead.unwanted(3.0) == [waiting, on_its_way]
    assert ahead.take(3.0) is later

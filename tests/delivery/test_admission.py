"""Fresh deliveries beyond the slots: who is promised one of the next, and what becomes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bridge.config.rate import Rate
from bridge.delivery.admission import Admission
from bridge.delivery.breaker import FAILURES
from bridge.delivery.routes import Routes, Way
from bridge.delivery.waiting import AHEAD_SECONDS
from bridge.model import Claim, DeliveryState
from tests.delivery.servers import Request, says
from tests.delivery.test_dispatcher import Make, Opening, _eventually
from tests.delivery.test_rate import _limited

MakeClaim = Callable[..., Claim]

SLOTS = 2
MOST = SLOTS + 3 * SLOTS  # in the slots, and promised


def _admission(call_seconds: float | None = 0.01, rate: Rate | None = None) -> Admission:
    made = Admission(SLOTS, rate, Routes(SLOTS, None))
    if call_seconds is not None:
        made.called(call_seconds)
    return made


def _reserve(admission: Admission, count: int, *, due: bool = False) -> int:
    return sum(admission.reserve(0.0, due=due) for _ in range(count))


@pytest.mark.parametrize(
    ("call_seconds", "most"), [(0.01, MOST), (0.4, SLOTS + 5), (2.1, SLOTS), (None, SLOTS)]
)
def test_slots_are_promised_that_will_be_free_soon(call_seconds: float | None, most: int) -> None:
    """Three times the slots, and no more than begin within a second by the calls until now."""
    assert _reserve(_admission(call_seconds), 20) == most


def test_nothing_is_promised_where_others_go_first() -> None:
    """What has been due for longer is claimed first; a rate and a failing endpoint say when."""
    assert _reserve(_admission(), 20, due=True) == SLOTS // 2
    assert _reserve(_admission(rate=Rate("1000/s", 0.001, 1000)), 20) == SLOTS
    admission = _admission()
    for _ in range(FAILURES):
        admission.routes.failed(Way(), 0.0)
    assert _reserve(admission, 20) == 0


def test_fresh_ones_come_first_in_a_slow_start(claim_of: MakeClaim) -> None:
    """After an outage only one attempt may run at first: the next is a fresh one, none of the old.

    While the endpoint is failing, none is promised anything: it waits like all of the outage.
    """
    slots = 10
    admission = Admission(slots, None, Routes(slots, None, failing=True))
    admission.called(0.01)
    assert not admission.reserve(0.0, due=True)
    admission.routes.succeeded(Way())
    assert admission.room(2.0) == (1, 0)
    assert admission.claimed([claim_of(1)], 0, 2.0, 2.0) == []  # one of the old has been claimed
    begun = admission.next(2.0)
    assert begun is not None
    assert admission.room(2.0)[0] == 0
    assert admission.reserve(2.0, due=True)
    assert admission.use(claim_of(2), 2.1) is None
    admission.routes.succeeded(begun.way)
    admission.slots.give_back()
    following = admission.next(2.2)
    assert following is not None
    assert following.claim.delivery_id == 2


def test_what_was_promised_begins_in_turn_as_slots_become_free(claim_of: MakeClaim) -> None:
    """The first have slots at once, and the others follow in the order in which they came."""
    admission = _admission()
    _reserve(admission, MOST)
    begun = [admission.use(claim_of(number), 0.1) for number in range(MOST)]
    assert [each is not None for each in begun] == [True] * SLOTS + [False] * (MOST - SLOTS)
    order = []
    fresh = True
    for _ in range(MOST - SLOTS):
        assert admission.next(0.2) is None
        admission.slots.give_back(fresh=fresh)
        following = admission.next(0.2)
        assert following is not None
        order.append(following.claim.delivery_id)
        fresh = following.fresh
    assert order == list(range(SLOTS, MOST))


def test_what_is_not_written_leaves_its_promise_to_others() -> None:
    """A commit that failed, or a message that was a duplicate."""
    admission = _admission()
    for _ in range(3):
        assert _reserve(admission, MOST + 1) == MOST
        for _ in range(MOST):
            admission.release()
    assert admission.slots.busy == 0


def test_what_was_promised_before_a_dismissal_is_given_back(claim_of: MakeClaim) -> None:
    """The endpoint fails, or is gone, while the delivery is being written."""
    admission = _admission()
    _reserve(admission, MOST)
    admission.dismiss(0.1)
    claims = [claim_of(number) for number in range(MOST)]
    begun = [admission.use(claim, 0.2) for claim in claims]
    assert begun[SLOTS:] == [None] * (MOST - SLOTS)
    assert admission.unwanted(0.2) == claims[SLOTS:]


def test_a_promise_that_takes_too_long_is_given_back(claim_of: MakeClaim) -> None:
    """From the promise on: its lease must outlive the attempt."""
    admission = _admission()
    _reserve(admission, SLOTS + 1)
    claims = [claim_of(number) for number in range(SLOTS + 1)]
    for claim in claims:
        admission.use(claim, 1.0)
    assert admission.wait(1.0, due=False) == AHEAD_SECONDS - 1.0
    assert admission.unwanted(AHEAD_SECONDS) == claims[SLOTS:]


def test_what_was_written_too_late_is_given_back(claim_of: MakeClaim) -> None:
    """A commit that hangs for as long as a lease: the attempt would run on after its end."""
    admission = _admission()
    assert _reserve(admission, SLOTS) == SLOTS
    late = claim_of(1)
    assert admission.use(late, AHEAD_SECONDS) is None
    assert admission.wait(AHEAD_SECONDS, due=False) == 0
    assert admission.unwanted(AHEAD_SECONDS) == [late]
    assert admission.slots.busy == SLOTS - 1


def test_what_was_claimed_too_late_is_given_back(claim_of: MakeClaim) -> None:
    """The same for the backlog: none of it begins."""
    admission = _admission()
    admission.slots.take(SLOTS)
    claims = [claim_of(number) for number in range(SLOTS)]
    assert admission.claimed(claims, SLOTS, 1.0, 1.0 + AHEAD_SECONDS) == []
    assert admission.unwanted(1.0 + AHEAD_SECONDS) == claims
    assert admission.slots.busy == 0


@pytest.mark.unhurried
async def test_a_burst_needs_no_claim(endpoint_at: Make, opening: Opening) -> None:
    """More messages at once than slots: each is leased when it is written, and none is claimed."""
    gate = asyncio.Event()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await says(200)(request, writer)

    async with _limited(endpoint_at, opening, None, answer=answer, concurrency=SLOTS) as lane:
        await asyncio.sleep(3)  # the first look at what is due
        gate.set()
        lane.offer()
        await lane.rows.have(1)
        claims = lane.rows.claim_calls
        gate.clear()
        assert [lane.offer() for _ in range(MOST)] == [True] * MOST
        await _eventually(lambda: len(lane.began) == 1 + SLOTS)
        gate.set()
        await lane.rows.have(1 + MOST)
        assert lane.rows.claim_calls == claims
    assert [each for each, _ in lane.began] == [f"msg_{number}" for number in range(1, MOST + 2)]
    assert lane.rows.states() == [DeliveryState.DELIVERED] * (1 + MOST)


@pytest.mark.unhurried
async def test_a_stop_gives_back_what_was_promised(endpoint_at: Make, opening: Opening) -> None:
    """What has not begun is due again as if it never had been leased."""
    gate = asyncio.Event()
    gate.set()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await says(200)(request, writer)

    async with _limited(endpoint_at, opening, None, answer=answer, concurrency=SLOTS) as lane:
        await asyncio.sleep(3)
        lane.offer()
        await lane.rows.have(1)
        gate.clear()
        for _ in range(MOST):
            lane.offer()
        await _eventually(lambda: len(lane.began) == 1 + SLOTS)
        draining = asyncio.create_task(lane.dispatcher.drain(120))
        await _eventually(lambda: len(lane.rows.given_back) == MOST - SLOTS)
        gate.set()
        await draining
    left = [row for row in lane.rows.rows.values() if row.state is DeliveryState.PENDING]
    assert [(row.leased, row.claim.attempt) for row in left] == [(False, 0)] * (MOST - SLOTS)

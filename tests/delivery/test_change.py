"""The dispatcher's endpoints change while deliveries are being written and sent."""

from __future__ import annotations

import asyncio

import pytest

from bridge.model import DeliveryState
from tests.delivery.rows import Rows
from tests.delivery.servers import receiver, says
from tests.delivery.test_dispatcher import (
    MESSAGE,
    Gate,
    Make,
    Opening,
    _dispatcher,
    _eventually,
    _running,
    now,
)

pytestmark = pytest.mark.unhurried
DELIVERED = DeliveryState.DELIVERED


async def test_a_slot_reserved_before_the_change_is_used_after_it(
    endpoint_at: Make, opening: Opening
) -> None:
    """The mail was planned, the config changed, the commit came: it goes out at once, once."""
    rows = Rows(now)
    async with receiver(says(200)) as old, receiver(says(200)) as new:
        dispatcher = _dispatcher(rows, opening, endpoint_at(old.url))
        async with _running(dispatcher):
            planned = dispatcher.plan(MESSAGE)
            unused = dispatcher.plan(MESSAGE)
            assert planned[0].claimed
            dispatcher.change([endpoint_at(new.url)], ())
            dispatcher.release(unused)
            dispatcher.start([rows.add(leased=True, lane=planned[0].lane)])
            await rows.have(1)
            for count in range(2, 30):
                assert dispatcher.plan(MESSAGE)[0].claimed, "a slot was lost"
                dispatcher.start([rows.add(leased=True)])
                await rows.have(count)
    assert rows.states() == [DELIVERED] * 29
    assert (len(old.requests), len(new.requests)) == (1, 28)


async def test_each_delivery_goes_through_the_lane_that_planned_it(
    endpoint_at: Make, opening: Opening
) -> None:
    """Commits end in any order; a lease is as long as attempts of the lane that asked for it."""
    rows = Rows(now)
    async with receiver(says(200)) as old, receiver(says(200)) as new:
        dispatcher = _dispatcher(rows, opening, endpoint_at(old.url, timeout=5.0))
        async with _running(dispatcher):
            (before,) = dispatcher.plan(MESSAGE)
            (unused,) = dispatcher.plan(MESSAGE)
            dispatcher.change([endpoint_at(new.url, timeout=500.0)], ())
            (after,) = dispatcher.plan(MESSAGE)
            (released,) = dispatcher.plan(MESSAGE)
            dispatcher.release([released])
            dispatcher.start([rows.add(leased=True, lane=after.lane)])
            await rows.have(1)
            assert (len(old.requests), len(new.requests)) == (0, 1)
            dispatcher.start([rows.add(leased=True, lane=before.lane)])
            await rows.have(2)
            assert (len(old.requests), len(new.requests)) == (1, 1)
            assert len(dispatcher._alive) == 2
            dispatcher.release([unused])
            await _eventually(lambda: len(dispatcher._alive) == 1)
            assert dispatcher._retired["crm"] == []


async def test_an_endpoint_that_leaves_finishes_what_was_planned(
    endpoint_at: Make, opening: Opening
) -> None:
    """Its slots are used up or released, then its lane ends; nothing new is planned for it."""
    rows = Rows(now)
    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url))
        async with _running(dispatcher):
            (planned,) = dispatcher.plan(MESSAGE)
            dispatcher.change([], ())
            assert dispatcher.plan(MESSAGE) == ()
            dispatcher.start([rows.add(leased=True, lane=planned.lane)])
            await rows.have(1)
            await _eventually(lambda: not dispatcher._alive)
            rows.add()
            calls = rows.claim_calls
            await asyncio.sleep(3.0)
            assert rows.claim_calls == calls


async def test_an_unchanged_endpoint_keeps_its_lane(endpoint_at: Make, opening: Opening) -> None:
    """Its attempts in flight and its connections go on; a new endpoint is beside it."""
    rows, gate = Rows(now), Gate()
    async with receiver(gate) as slow, receiver(says(200)) as other:
        kept = endpoint_at(slow.url)
        dispatcher = _dispatcher(rows, opening, kept)
        async with _running(dispatcher):
            rows.add()
            dispatcher.kick()
            await _eventually(lambda: gate.waiting == 1)
            lane = dispatcher._lanes["crm"]
            dispatcher.change([kept, endpoint_at(other.url, name="erp")], ())
            assert dispatcher._lanes["crm"] is lane
            rows.add("erp")
            await rows.have(1)
            gate.open.set()
            await rows.have(2)
    assert rows.states() == rows.states("erp") == [DELIVERED]


async def test_an_attempt_in_flight_ends_as_it_began(endpoint_at: Make, opening: Opening) -> None:
    """A drain right after the change waits for both lanes."""
    rows, gate = Rows(now), Gate()
    async with receiver(gate) as old, receiver(says(200)) as new:
        dispatcher = _dispatcher(rows, opening, endpoint_at(old.url))
        async with _running(dispatcher):
            rows.add()
            dispatcher.kick()
            await _eventually(lambda: gate.waiting == 1)
            dispatcher.change([endpoint_at(new.url)], ())
            rows.add()
            await rows.have(1)
            asyncio.get_running_loop().call_later(0.5, gate.open.set)
    assert rows.states() == [DELIVERED, DELIVERED]
    assert (len(old.requests), len(new.requests)) == (1, 1)


async def test_what_a_replaced_lane_sees_says_nothing_of_the_endpoint(
    endpoint_at: Make, opening: Opening
) -> None:
    """The operator mends the URL; what fails at the old one meanwhile makes no failing endpoint."""
    rows, gate = Rows(now), Gate(500)
    for _ in range(10):
        rows.add()
    async with receiver(gate) as old, receiver(says(200)) as new:
        dispatcher = _dispatcher(rows, opening, endpoint_at(old.url), schedule=(0, 600))
        async with _running(dispatcher):
            await _eventually(lambda: gate.waiting == 10)
            dispatcher.change([endpoint_at(new.url)], ())
            gate.open.set()
            await rows.have(10)
            rows.add()
            await rows.have(11)
    assert len(new.requests) == 1
    assert [each.failing for each in rows.recorded if each.failing is not None] == []


async def test_a_new_lane_goes_on_from_where_the_old_one_was(
    endpoint_at: Make, opening: Opening
) -> None:
    """That an endpoint fails may be on its way to the store while the config changes."""
    rows = Rows(now, slow=asyncio.Event())
    for _ in range(10):
        rows.add()
    async with receiver(says(500)) as old, receiver(says(200)) as new:
        dispatcher = _dispatcher(rows, opening, endpoint_at(old.url), schedule=(0, 600))
        async with _running(dispatcher):
            await _eventually(lambda: dispatcher._lanes["crm"]._routes.failing)
            assert rows.recorded == []
            dispatcher.change([endpoint_at(new.url)], ())
            assert rows.slow is not None
            rows.slow.set()
            rows.add()
            await rows.have(11)
    assert [each.failing for each in rows.recorded if each.failing is not None] == [True, False]

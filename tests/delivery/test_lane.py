"""Lanes that claim ahead: fewer claims, and whatever happens nothing begins late or is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import httpx
import pytest

from bridge.config.settings import DeliverySettings
from bridge.delivery import Dispatcher, Endpoint
from bridge.delivery.breaker import FAILURES
from bridge.delivery.claiming import POLL_SECONDS
from bridge.delivery.waiting import AHEAD_SECONDS
from bridge.model import DeliveryState
from tests.conftest import Line
from tests.delivery.rows import START, Rows
from tests.delivery.servers import Receiver, Request, receiver, says
from tests.patience import PATIENCE

pytestmark = pytest.mark.unhurried

Make = Callable[..., Endpoint]
Opening = Callable[[Endpoint], httpx.AsyncBaseTransport]

SLOTS = 2
MANY = 200
SLOW_CLAIM = 0.1  # seconds: a call takes one or two hundredths of it


def now() -> datetime:
    """Tell the time by the loop's clock."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


async def _eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


class Lane:
    """A lane at work on a store with slow commits, before an endpoint that can be made to wait."""

    def __init__(self, rows: Rows, server: Receiver, dispatcher: Dispatcher) -> None:
        self.rows = rows
        self.server = server
        self.dispatcher = dispatcher
        self.running: asyncio.Task[None] | None = None
        self.status = 200
        self.permits: asyncio.Semaphore | None = None  # to answer; None: at once

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Answer when it is permitted."""
        if self.permits is not None:
            await self.permits.acquire()
        await says(self.status)(request, writer)

    def release(self, count: int = 1) -> None:
        """Permit so many answers."""
        assert self.permits is not None
        for _ in range(count):
            self.permits.release()

    @property
    def leased(self) -> int:
        """How many deliveries are ours."""
        return sum(row.leased for row in self.rows.rows.values())

    async def wait_with_some_ahead(self) -> None:
        """Let calls wait from now on, until all slots are taken and several more are ours."""
        self.permits = self.permits or asyncio.Semaphore(0)
        await _eventually(lambda: self.leased > SLOTS + SLOTS)

    def assert_untouched(self) -> None:
        """Check that what was not sent is as it was before."""
        sent = {request.headers["webhook-id"] for request in self.server.requests}
        rest = [row for row in self.rows.rows.values() if row.claim.event.id not in sent]
        assert rest
        assert {(row.claim.attempt, row.leased) for row in rest} == {(0, False)}


@asynccontextmanager
async def _lane(endpoint_at: Make, opening: Opening) -> AsyncIterator[Lane]:
    """Run a lane until it knows how fast the endpoint is and how slow the store."""
    rows = Rows(now, claim_seconds=SLOW_CLAIM)
    for _ in range(MANY):
        rows.add()
    lane: Lane

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await lane.answer(request, writer)

    async with receiver(answer) as server:
        dispatcher = Dispatcher(
            [endpoint_at(server.url, concurrency=SLOTS)],
            DeliverySettings(schedule=(0, 60)),
            rows,
            opening,
            clock=now,
            rng=lambda: 0.0,
        )
        lane = Lane(rows, server, dispatcher)
        lane.running = asyncio.create_task(dispatcher.run())
        await rows.have(20)
        yield lane
        lane.permits = None
        await dispatcher.drain(PATIENCE)


async def test_a_slow_disk_is_asked_for_more_than_the_slots(
    endpoint_at: Make, opening: Opening
) -> None:
    """A claim brings what begins until the next one, so the slots don't wait for the disk."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.rows.have(MANY)
        seconds = asyncio.get_running_loop().time()
    assert lane.rows.claim_calls < MANY / SLOTS / 2
    # Nothing waited for a poll either, as the last ones would: nothing is due after their claim.
    assert seconds < lane.rows.claim_calls * SLOW_CLAIM + POLL_SECONDS / 2
    assert lane.rows.states() == [DeliveryState.DELIVERED] * MANY
    assert {attempt.claim.attempt for attempt in lane.rows.recorded} == {1}
    order = [request.headers["webhook-id"] for request in lane.server.requests]
    assert len(set(order)) == MANY
    # Those that have waited longest began first, whether they were claimed ahead or not.
    places = [int(each.removeprefix("msg_")) for each in order]
    assert all(abs(place - number) < 2 * SLOTS for number, place in enumerate(places, 1))


async def test_a_stop_gives_back_what_did_not_begin(endpoint_at: Make, opening: Opening) -> None:
    """What was claimed ahead is due again as if it never had been, and the rest is recorded."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        draining = asyncio.create_task(lane.dispatcher.drain(PATIENCE))
        await _eventually(lambda: bool(lane.rows.given_back))
        lane.release(SLOTS)
        await draining
    assert lane.leased == 0
    assert len(lane.server.requests) == len(lane.rows.recorded)
    lane.assert_untouched()


async def test_a_failing_endpoint_keeps_nothing_ahead(endpoint_at: Make, opening: Opening) -> None:
    """When the breaker opens, what was claimed ahead goes back, with its attempt uncounted."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        lane.status = 500
        for _ in range(FAILURES):
            await lane.wait_with_some_ahead()
            assert not lane.rows.given_back
            lane.release()
            await lane.rows.have(len(lane.rows.recorded) + 1)
        await _eventually(lambda: bool(lane.rows.given_back))
        await _eventually(lambda: lane.leased == SLOTS - 1)
        for _ in range(20):  # nor is anything claimed ahead while it is failing
            await asyncio.sleep(0.1)
            assert lane.leased <= SLOTS
    lane.assert_untouched()


async def test_an_endpoint_that_is_gone_gets_nothing_that_was_ahead(
    endpoint_at: Make, opening: Opening
) -> None:
    """After a 410 only what was in flight is sent; all else is held, also what was ahead."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        sent = len(lane.server.requests)
        lane.status = 410
        lane.release(SLOTS)
        await _eventually(lambda: lane.leased == 0)
    assert len(lane.server.requests) == sent
    assert lane.rows.given_back
    assert set(lane.rows.states()) == {DeliveryState.DELIVERED, DeliveryState.HELD}
    lane.assert_untouched()


async def test_what_waited_too_long_for_a_slot_is_given_back(
    endpoint_at: Make, opening: Opening
) -> None:
    """Its lease could end during the attempt; it begins later, by another claim."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        sent = len(lane.server.requests)
        await asyncio.sleep(AHEAD_SECONDS)
        assert len(lane.rows.given_back) > SLOTS
        assert len(lane.server.requests) == sent
        lane.release(MANY)
        await lane.rows.have(MANY)
    assert {attempt.claim.attempt for attempt in lane.rows.recorded} == {1}
    assert len({request.headers["webhook-id"] for request in lane.server.requests}) == MANY


async def test_what_a_store_that_is_down_does_not_take_back_keeps_its_lease(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """The lane ends all the same, and says so: the leases end by themselves."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        sent = len(lane.server.requests)
        lane.rows.down = True
        lane.permits = None
        await lane.dispatcher.drain(0.5)
    assert lane.leased
    assert len(lane.server.requests) == sent
    events = [line["event"] for line in lines]
    assert events.count("delivery.not_given_back") == 1


async def test_a_stop_during_a_claim_gives_back_what_it_brings(
    endpoint_at: Make, opening: Opening
) -> None:
    """What a claim brings after the stop goes back as far as it has no slot."""
    async with _lane(endpoint_at, opening) as lane:
        before = lane.rows.claim_calls
        await _eventually(lambda: lane.rows.claim_calls > before)
        await lane.dispatcher.drain(PATIENCE)
    assert lane.rows.given_back
    lane.assert_untouched()


async def test_nothing_more_begins_while_records_wait(endpoint_at: Make, opening: Opening) -> None:
    """A store that takes no records stops the calls, whatever was claimed before."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        sent = len(lane.server.requests)
        lane.rows.down = True
        lane.release(MANY)
        await asyncio.sleep(0.5)
        assert len(lane.server.requests) <= sent + SLOTS  # one for each call that was under way
        lane.rows.down = False
        await lane.rows.have(MANY)
    assert {attempt.claim.attempt for attempt in lane.rows.recorded} == {1}


async def test_a_bug_begins_nothing_that_was_ahead(endpoint_at: Make, opening: Opening) -> None:
    """A lane that ends by a bug cancels its calls, and their slots are not filled again."""
    async with _lane(endpoint_at, opening) as lane:
        await lane.wait_with_some_ahead()
        sent = len(lane.server.requests)
        lane.rows.bug = True
        lane.dispatcher.kick()
        lane.release()
        assert lane.running is not None
        with pytest.raises(BaseExceptionGroup):
            await asyncio.wait_for(lane.running, PATIENCE)
    assert len(lane.server.requests) <= sent + 1  # the released one's slot is filled at once

"""Lanes of endpoints with a rate: what is due goes out at it, and fresh messages get half of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from bridge.config.rate import Rate
from bridge.delivery import Dispatcher
from bridge.delivery.waiting import AHEAD_SECONDS
from bridge.metrics import REGISTRY
from bridge.model import DeliveryState
from tests.delivery.rows import Rows
from tests.delivery.servers import Answer, Request, receiver, says
from tests.delivery.test_dispatcher import MESSAGE, Make, Opening, _dispatcher, _eventually, now
from tests.patience import PATIENCE

pytestmark = pytest.mark.unhurried

TEN = Rate("10/s", 0.1)
DELIVERED = DeliveryState.DELIVERED


def _time() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Limited:
    """A lane with a rate at work."""

    rows: Rows
    dispatcher: Dispatcher
    began: list[tuple[str, float]] = field(default_factory=list)  # ids, with the time
    fresh: dict[str, float] = field(default_factory=dict)  # when each came

    def offer(self) -> bool:
        """Bring a fresh message; return whether the lane took it at once."""
        (planned,) = self.dispatcher.plan(MESSAGE)
        claim = self.rows.add(leased=planned.claimed)
        self.fresh[claim.event.id] = _time()
        if planned.claimed:
            self.dispatcher.start([claim])
        else:
            self.dispatcher.release([planned])
        return planned.claimed

    def waited(self) -> list[float]:
        """Tell how long each fresh message has waited."""
        began = dict(reversed(self.began))
        return [began[each] - came for each, came in self.fresh.items()]


@asynccontextmanager
async def _limited(
    endpoint_at: Make,
    opening: Opening,
    rate: Rate,
    backlog: int = 0,
    answer: Answer | None = None,
    *,
    claim_seconds: float = 0.0,
    schedule: tuple[float, ...] = (0.0, 3600.0),
    **changes: object,
) -> AsyncIterator[Limited]:
    rows = Rows(now, claim_seconds=claim_seconds)
    for _ in range(backlog):
        rows.add()
    rows.age(hours=1)
    lane: Limited

    async def note(request: Request, writer: asyncio.StreamWriter) -> None:
        lane.began.append((request.headers["webhook-id"], _time()))
        await (answer or says(200))(request, writer)

    async with receiver(note) as server:
        endpoint = endpoint_at(server.url, rate=rate, **changes)
        lane = Limited(rows, _dispatcher(rows, opening, endpoint, schedule=schedule))
        running = asyncio.create_task(lane.dispatcher.run())
        yield lane
        await lane.dispatcher.drain(PATIENCE)
        await running


@pytest.mark.parametrize("claim_seconds", [0.0, 0.3], ids=["fast disk", "slow disk"])
async def test_a_backlog_goes_out_at_the_rate(
    endpoint_at: Make, opening: Opening, claim_seconds: float
) -> None:
    """Neither faster nor slower, also where a claim takes as long as three deliveries."""
    async with _limited(endpoint_at, opening, TEN, 100, claim_seconds=claim_seconds) as lane:
        await lane.rows.have(100)
    times = [time for _, time in lane.began]
    # Slower only until the lane knows how long its claims take.
    assert 9.85 < times[-1] - times[0] < 10 + 6 * claim_seconds
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert min(gaps) > 0.1 - 0.022
    assert [each for each, _ in lane.began] == [f"msg_{number}" for number in range(1, 101)]
    assert not lane.rows.given_back


async def test_fresh_messages_get_every_other_place(endpoint_at: Make, opening: Opening) -> None:
    """A message that comes while 300 wait has one of them before it, not 300."""
    async with _limited(endpoint_at, opening, TEN, 300) as lane:
        await lane.rows.have(1)
        for _ in range(40):
            assert lane.offer()
            await asyncio.sleep(0.25)
        await lane.rows.have(90)
        beside = len(lane.began)
    assert max(lane.waited()) < 0.21
    assert beside == pytest.approx(100, abs=3)  # ten seconds of the rate: the backlog goes on


async def test_more_fresh_messages_than_the_rate_leave_the_backlog_its_half(
    endpoint_at: Make, opening: Opening
) -> None:
    """Five times the rate comes in; of what goes out, half is what has waited longest."""
    async with _limited(endpoint_at, opening, TEN, 300) as lane:
        await lane.rows.have(1)
        for _ in range(500):
            lane.offer()
            await asyncio.sleep(0.02)
        began = [each for each, _ in lane.began]
        old = [each for each in began if each not in lane.fresh]
        assert len(began) == pytest.approx(100, abs=4)
        assert len(old) == pytest.approx(50, abs=5)
        assert old == [f"msg_{number}" for number in range(1, len(old) + 1)]


async def test_nothing_waits_where_the_rate_is_not_reached(
    endpoint_at: Make, opening: Opening
) -> None:
    """One message a second to an endpoint that takes ten of them goes out at once."""
    async with _limited(endpoint_at, opening, TEN) as lane:
        await asyncio.sleep(2)
        claims = lane.rows.claim_calls
        for number in range(20):
            assert lane.offer()
            await lane.rows.have(number + 1)
            await asyncio.sleep(1)
        assert lane.rows.claim_calls <= claims + 1
    assert max(lane.waited()) < 0.01


async def test_a_burst_goes_out_at_once(endpoint_at: Make, opening: Opening) -> None:
    """`burst` messages of a sudden fifteen, and the rest at the rate."""
    rate = TEN.with_burst(8)
    async with _limited(endpoint_at, opening, rate, concurrency=20) as lane:
        await asyncio.sleep(2)
        for _ in range(15):
            assert lane.offer()
        await lane.rows.have(15)
    waited = lane.waited()
    assert max(waited[:8]) < 0.05
    assert waited[8:] == pytest.approx([0.1 * number for number in range(1, 8)], abs=0.03)


async def test_retries_count(endpoint_at: Make, opening: Opening) -> None:
    """What fails and is due again has no rate of its own."""
    async with _limited(
        endpoint_at, opening, TEN, 5, says(500), schedule=(0.0,) + (0.01,) * 100
    ) as lane:
        await lane.rows.have(9)  # before the breaker opens
    times = [time for _, time in lane.began]
    assert min(b - a for a, b in pairwise(times)) > 0.079


async def test_a_slow_rate_keeps_no_lease_for_long(endpoint_at: Make, opening: Opening) -> None:
    """Four a minute: nothing is ours for longer than a lease can spare, and nothing is skipped."""
    leased: dict[int, float] = {}
    longest = 0.0
    async with _limited(endpoint_at, opening, Rate("4/m", 15.0), 12) as lane:
        while len(lane.rows.recorded) < 12:
            for number, row in lane.rows.rows.items():
                if row.leased:
                    longest = max(longest, _time() - leased.setdefault(number, _time()))
                else:
                    leased.pop(number, None)
            if len(lane.rows.recorded) == 4 and len(lane.rows.rows) == 12:
                assert not lane.offer()  # its turn would come too late: it is due like the others
            await asyncio.sleep(0.1)
    times = [time for _, time in lane.began]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([15.0] * (len(times) - 1), abs=0.1)
    assert longest < AHEAD_SECONDS
    assert not lane.rows.given_back
    assert lane.rows.claim_calls < 30


async def test_a_stop_gives_back_what_waits_for_the_rate(
    endpoint_at: Make, opening: Opening
) -> None:
    """Fresh ones, too: their attempt did not begin, and the next start sends them."""
    async with _limited(endpoint_at, opening, Rate("30/m", 2.0)) as lane:
        await asyncio.sleep(3)
        taken = [lane.offer() for _ in range(5)]
        assert taken == [True, True, True, False, False]  # 0, 2 and 4 seconds of waiting
        await _eventually(lambda: len(lane.began) == 1)
    assert len(lane.began) == 1
    assert [row.leased for row in lane.rows.rows.values()] == [False] * 5
    assert [row.claim.attempt for row in lane.rows.rows.values()] == [1, 0, 0, 0, 0]


async def test_an_endpoint_that_is_gone_gets_nothing_that_waited_for_the_rate(
    endpoint_at: Make, opening: Opening
) -> None:
    """After a 410 what has not begun is held."""
    async with _limited(endpoint_at, opening, Rate("1/s", 1.0), answer=says(410)) as lane:
        await asyncio.sleep(2)
        for _ in range(4):
            assert lane.offer()
        await _eventually(lambda: set(lane.rows.states()) == {DeliveryState.HELD})
        await asyncio.sleep(5)
    assert len(lane.began) == 1


async def test_slots_are_free_again_after_all_that(endpoint_at: Make, opening: Opening) -> None:
    """What was given back or waited has taken no slot with it."""
    async with _limited(endpoint_at, opening, Rate("1/s", 1.0), concurrency=3) as lane:
        for _ in range(5):
            await asyncio.sleep(8)
            taken = [lane.offer() for _ in range(4)]
            assert taken == [True, True, True, False]
        await lane.rows.have(20)
    assert lane.rows.states() == [DELIVERED] * 20


def _limited_seconds() -> float:
    return (
        REGISTRY.get_sample_value("smsbridge_rate_limited_seconds_total", {"endpoint": "slow"})
        or 0.0
    )


async def test_the_time_that_the_rate_costs_is_counted(endpoint_at: Make, opening: Opening) -> None:
    """Where the rate is too low, it grows by a second a second; else not at all."""
    before = _limited_seconds()
    rows = Rows(now)
    async with receiver(says(200)) as server:
        endpoint = endpoint_at(server.url, rate=TEN, name="slow")
        dispatcher = _dispatcher(rows, opening, endpoint)
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(5)
        assert _limited_seconds() == before
        for _ in range(50):
            rows.add("slow")
        await rows.have(50)
        await asyncio.sleep(5)
        await dispatcher.drain(PATIENCE)
        await running
    assert _limited_seconds() - before == pytest.approx(4.9, abs=0.2)


@pytest.mark.parametrize("wrong", ["10", "0/s", "10/d", "-1/s", "1.5/s", 10, "1/2s"])
def test_a_wrong_rate_is_told(wrong: object) -> None:
    """The sentence shows how it is written."""
    from bridge.config.endpoints import EndpointSettings

    with pytest.raises(ValueError, match='must be like "10/s"'):
        EndpointSettings(name="crm", url="http://crm.internal/", secret="whsec_x", rate=wrong)

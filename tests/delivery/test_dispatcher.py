"""Lanes at work: slots, fairness, the breaker, a store that fails, draining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from bridge.config.rate import Rate
from bridge.config.settings import DeliverySettings
from bridge.delivery import Dispatcher, Endpoint
from bridge.metrics import REGISTRY
from bridge.model import (
    Dead,
    Delivered,
    DeliveryState,
    PlannedDelivery,
    RetryAt,
)
from tests.conftest import Line
from tests.delivery.rows import START, Rows
from tests.delivery.servers import Request, closed_port, hangs, receiver, says
from tests.store.making import identity, planned_message

pytestmark = pytest.mark.unhurried

Make = Callable[..., Endpoint]
Opening = Callable[[Endpoint], httpx.AsyncBaseTransport]

MESSAGE = planned_message(identity()).message
PENDING = DeliveryState.PENDING
DELIVERED = DeliveryState.DELIVERED


def now() -> datetime:
    """Tell the time by the loop's clock."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


def _dispatcher(
    rows: Rows, opening: Opening, *endpoints: Endpoint, **settings: object
) -> Dispatcher:
    return Dispatcher(
        endpoints,
        DeliverySettings(**settings),
        rows,
        opening,
        clock=now,
        rng=lambda: 0.0,
    )


@asynccontextmanager
async def _running(dispatcher: Dispatcher) -> AsyncIterator[asyncio.Task[None]]:
    """Run a dispatcher, past its first look at the store, and drain it in the end."""
    task = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(0.02)
    try:
        yield task
    finally:
        await dispatcher.drain(2.0)
        await task


async def _eventually(true: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


class Gate:
    """An answer that waits until it is opened, and counts who waits."""

    def __init__(self, status: int = 200) -> None:
        self._status = status
        self.open = asyncio.Event()
        self.waiting = 0
        self.most = 0

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.open.wait()
        self.waiting -= 1
        await says(self._status)(request, writer)


async def test_planned_delivery_goes_out_without_asking_the_store(
    endpoint_at: Make, opening: Opening
) -> None:
    """What ingest has claimed runs at once in its slot; the store is only told the result."""
    rows = Rows(now)
    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url))
        async with _running(dispatcher):
            before = rows.claim_calls
            for count in range(1, 31):
                assert dispatcher.plan(MESSAGE) == (PlannedDelivery("crm", PENDING, claimed=True),)
                dispatcher.start([rows.add(leased=True)])
                await rows.have(count)
            assert rows.claim_calls == before
    assert rows.states() == [DELIVERED] * 30
    assert [request.headers["webhook-id"] for request in server.requests] == [
        f"msg_{n}" for n in range(1, 31)
    ]


async def test_slots_are_reserved_up_to_the_concurrency(
    endpoint_at: Make, opening: Opening
) -> None:
    """No more is claimed than there are slots, and released ones can be claimed again."""
    rows = Rows(now)
    endpoint = endpoint_at("http://127.0.0.1/", concurrency=2)
    dispatcher = _dispatcher(rows, opening, endpoint)
    async with _running(dispatcher):
        first, second, third = (dispatcher.plan(MESSAGE) for _ in range(3))
        assert [plan[0].claimed for plan in (first, second, third)] == [True, True, False]
        dispatcher.release(first)
        assert dispatcher.plan(MESSAGE)[0].claimed
        assert not dispatcher.plan(MESSAGE)[0].claimed
        dispatcher.release(second)
        dispatcher.release(second)


async def test_unwanted_message_is_filtered(endpoint_at: Make, opening: Opening) -> None:
    """Each endpoint gets its own delivery; one that doesn't want the message, a filtered one."""
    dispatcher = _dispatcher(
        Rows(now),
        opening,
        endpoint_at("http://127.0.0.1/", name="a"),
        endpoint_at("http://127.0.0.1/", name="b", providers=frozenset({"url_networks"})),
    )
    async with _running(dispatcher):
        planned = dispatcher.plan(MESSAGE)
        assert [(plan.endpoint, plan.state, plan.claimed) for plan in planned] == [
            ("a", PENDING, True),
            ("b", DeliveryState.FILTERED, False),
        ]
        assert planned[1].reason
        dispatcher.release(planned)


async def test_backlog_goes_out_within_the_concurrency(endpoint_at: Make, opening: Opening) -> None:
    """What waits at the start is delivered, never more at a time than the endpoint allows."""
    rows, gate = Rows(now), Gate()
    for _ in range(50):
        rows.add()
    async with receiver(gate) as server:
        endpoint = endpoint_at(server.url, concurrency=3)
        async with _running(_dispatcher(rows, opening, endpoint)):
            await server.got(3)
            gate.open.set()
            await rows.have(50)
    assert gate.most == 3
    assert rows.states() == [DELIVERED] * 50
    assert len({request.headers["webhook-id"] for request in server.requests}) == 50


async def test_slow_records_hold_no_slot_until_too_many_wait(
    endpoint_at: Make, opening: Opening
) -> None:
    """The next call begins while records wait for the disk, but a stuck store stops the calls."""
    rows = Rows(now, slow=asyncio.Event())
    for _ in range(20):
        rows.add()
    async with (
        receiver(says(200)) as server,
        _running(_dispatcher(rows, opening, endpoint_at(server.url, concurrency=2))),
    ):
        await server.got(8)  # four for each slot
        await asyncio.sleep(0.3)
        assert len(server.requests) == 8
        assert rows.slow is not None
        rows.slow.set()
        await rows.have(20)
    assert len(server.requests) == 20


async def test_fresh_ones_go_beside_a_backlog(endpoint_at: Make, opening: Opening) -> None:
    """A fresh delivery gets a slot while hundreds wait, and those all go out meanwhile."""
    rows = Rows(now)
    for _ in range(300):
        rows.add()
    fresh = []
    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url, concurrency=4))
        async with _running(dispatcher):
            before = len(rows.recorded)
            while len(rows.recorded) < before + 150:
                if dispatcher.plan(MESSAGE)[0].claimed:
                    fresh.append(rows.add(leased=True).delivery_id)
                    dispatcher.start([rows.rows[fresh[-1]].claim])
                    await rows.have(len(rows.recorded) + 1)
                await asyncio.sleep(0)
            await rows.have(300 + len(fresh))
    order = [each.claim.delivery_id for each in rows.recorded]
    assert len(fresh) > 10
    assert order.index(fresh[0]) < before + 10  # as soon as one of the first calls has ended
    beside = [each for each in order[: order.index(fresh[-1])] if each not in set(fresh)]
    assert len(beside) > len(fresh) // 2  # the backlog has its share
    assert rows.states() == [DELIVERED] * len(rows.rows)


@pytest.mark.unhurried
@pytest.mark.parametrize("rate", [None, Rate("20/s", 0.05)])
async def test_a_burst_of_fresh_ones_does_not_go_to_the_end_of_a_backlog(
    endpoint_at: Make, opening: Opening, rate: Rate | None
) -> None:
    """More at once than there are slots: they are written as due, and go first all the same."""
    rows = Rows(now, claim_seconds=0.05)
    for _ in range(1000):
        rows.add()
    rows.age(hours=1)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await says(200)(request, writer)

    async with receiver(answer) as server:
        endpoint = endpoint_at(server.url, concurrency=4, rate=rate)
        dispatcher = _dispatcher(rows, opening, endpoint)
        async with _running(dispatcher):
            await rows.have(50)
            fresh = {_offer(dispatcher, rows) for _ in range(40)}
            before = len(rows.recorded)
            await _eventually(
                lambda: fresh <= {each.claim.delivery_id for each in rows.recorded}, 300.0
            )
            since = len(rows.recorded) - before
    # Beside each of them one of the backlog, as slots, turns and claims happen to come.
    assert 60 < since < 160


def _offer(dispatcher: Dispatcher, rows: Rows) -> int:
    """Do what ingest does with a message."""
    (planned,) = dispatcher.plan(MESSAGE)
    claim = rows.add(leased=planned.claimed)
    if planned.claimed:
        dispatcher.start([claim])
    else:
        dispatcher.release([planned])
    return claim.delivery_id


@pytest.mark.unhurried
async def test_what_comes_in_an_outage_is_no_fresh_delivery_at_its_end(
    endpoint_at: Make, opening: Opening
) -> None:
    """It is the outage's backlog, and goes in the order of age with all the rest."""
    rows, status = Rows(now), 503

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(status)(request, writer)

    for _ in range(30):
        rows.add()
    async with receiver(answer) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url, concurrency=4))
        async with _running(dispatcher):
            await rows.have(10)
            for _ in range(60):
                _offer(dispatcher, rows)
                await asyncio.sleep(1)
            status = 200
            await _eventually(lambda: rows.states() == [DELIVERED] * 90, 300.0)
    went = [int(each.headers["webhook-id"][4:]) for each in server.requests][-85:]
    away = sorted(abs(place - number) for place, number in enumerate(went, 6))
    assert away[-10] < 10  # but for those of the last two seconds, and the probe


async def test_the_backlog_has_all_slots_again_when_nothing_fresh_comes(
    endpoint_at: Make, opening: Opening
) -> None:
    """Also if its own ones hang, so that no end of an attempt says when that is."""
    rows, gate = Rows(now), Gate()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        hangs = int(request.headers["webhook-id"].removeprefix("msg_")) <= 5
        await (gate if hangs else says(200))(request, writer)

    for _ in range(5):
        rows.add()
    async with receiver(answer) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url))
        async with _running(dispatcher):
            await _eventually(lambda: gate.waiting == 5)
            assert dispatcher.plan(MESSAGE)[0].claimed
            for _ in range(40):
                rows.add()
            dispatcher.kick()
            await asyncio.sleep(0.5)
            dispatcher.start([rows.add(leased=True)])
            await rows.have(1)
            await _eventually(lambda: len(rows.recorded) == 41)
            gate.open.set()
            await rows.have(46)


async def test_new_ones_do_not_overtake_a_backlog(endpoint_at: Make, opening: Opening) -> None:
    """One slot can't be shared: while rows are due, ingest never reserves it."""
    rows = Rows(now)
    for _ in range(20):
        rows.add()
    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url, concurrency=1))
        assert not _reserves(dispatcher)  # nobody knows yet what waits
        async with _running(dispatcher):
            while len(rows.recorded) < 20:
                assert not _reserves(dispatcher)
                await asyncio.sleep(0)
            await _eventually(lambda: _reserves(dispatcher))


def _reserves(dispatcher: Dispatcher) -> bool:
    planned = dispatcher.plan(MESSAGE)
    dispatcher.release([plan for plan in planned if plan.claimed])
    return planned[0].claimed


async def test_row_without_a_slot_is_found_when_one_is_free(
    endpoint_at: Make, opening: Opening
) -> None:
    """A delivery written unclaimed goes out as soon as a slot is free, not at the next poll."""
    rows, gate = Rows(now), Gate()
    async with receiver(gate) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url, concurrency=1))
        async with _running(dispatcher):
            dispatcher.plan(MESSAGE)
            dispatcher.start([rows.add(leased=True)])
            planned = dispatcher.plan(MESSAGE)
            assert not planned[0].claimed
            rows.add()
            dispatcher.release(planned)
            await server.got(1)
            gate.open.set()
            await rows.have(2, seconds=0.6)
    assert rows.states() == [DELIVERED] * 2


async def test_due_row_is_found_by_the_clock(endpoint_at: Make, opening: Opening) -> None:
    """A row that nobody told us about is found within about a second."""
    rows = Rows(now)
    async with (
        receiver(says(200)) as server,
        _running(_dispatcher(rows, opening, endpoint_at(server.url))),
    ):
        rows.add()
        await rows.have(1, seconds=2.0)


async def test_idle_lane_asks_once_a_second(endpoint_at: Make, opening: Opening) -> None:
    """With nothing to do a lane reads the next due time once a second and claims nothing."""
    rows = Rows(now)
    async with _running(_dispatcher(rows, opening, endpoint_at("http://127.0.0.1/"))):
        before = rows.claim_calls, rows.next_due_calls
        await asyncio.sleep(1.3)
        assert rows.claim_calls == before[0]
        assert rows.next_due_calls - before[1] <= 2


async def test_no_busy_loop_when_nothing_can_be_claimed(
    endpoint_at: Make, opening: Opening
) -> None:
    """If what is due cannot be claimed (another bridge has it), the store is left in peace."""
    rows = Rows(now, blind=True)
    rows.add()
    async with _running(_dispatcher(rows, opening, endpoint_at("http://127.0.0.1/"))):
        await asyncio.sleep(1.3)
        assert rows.claim_calls <= 4
        assert rows.next_due_calls <= 4


async def test_failure_is_tried_again_on_schedule(endpoint_at: Make, opening: Opening) -> None:
    """A failed delivery comes again, when its step says, with the attempt counted."""
    rows = Rows(now)
    answers = [says(500), says(503), says(200)]

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(request, writer)

    async with receiver(answer) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url), schedule=(0, 0.1, 0.2))
        async with _running(dispatcher):
            rows.add()
            dispatcher.kick("crm")
            await rows.have(3, seconds=3.0)
    first, second, third = rows.recorded
    assert isinstance(first.decision, RetryAt)
    assert isinstance(second.decision, RetryAt)
    assert third.decision == Delivered()
    assert first.decision.at <= second.started_at < first.decision.at + _seconds(0.5)
    assert second.decision.at <= third.started_at
    assert [request.headers["webhook-attempt"] for request in server.requests] == ["1", "2", "3"]
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    assert len({request.body for request in server.requests}) == 1


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


async def test_an_endpoint_gives_up_when_it_says(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """Its own `give_up` counts, not [delivery]'s; and each attempt's log line has the age."""
    rows = Rows(now)
    async with receiver(says(500)) as server:
        patient = endpoint_at(server.url, name="patient")
        hasty = endpoint_at(server.url, name="hasty", give_up=3.0)
        dispatcher = _dispatcher(rows, opening, patient, hasty, schedule=(0, 1, 4))
        async with _running(dispatcher):
            for name in ("patient", "hasty"):
                rows.add(name)
                dispatcher.kick(name)
            await rows.have(6)
    states = {attempt.claim.endpoint: attempt.decision for attempt in rows.recorded}
    assert isinstance(states["hasty"], Dead)
    assert isinstance(states["patient"], RetryAt)
    ages = [each["age"] for each in lines if each["event"] == "delivery.attempt"]
    assert ages == pytest.approx([0, 0, 1, 1, 5, 5], abs=0.3)


async def test_gone_endpoint_is_held(endpoint_at: Make, opening: Opening) -> None:
    """After a 410 nothing more is sent, and nothing is lost."""
    rows = Rows(now)
    for _ in range(20):
        rows.add()
    async with receiver(says(410)) as server:
        async with _running(_dispatcher(rows, opening, endpoint_at(server.url, concurrency=1))):
            await rows.have(1)
            await asyncio.sleep(0.1)
        assert len(server.requests) == 1
    assert rows.states() == [DeliveryState.HELD] * 20


async def test_schedule_over_is_dead(endpoint_at: Make, opening: Opening) -> None:
    """When the schedule is over, the last failure makes the delivery dead."""
    rows = Rows(now)
    async with receiver(says(500)) as server:
        dispatcher = _dispatcher(
            rows, opening, endpoint_at(server.url), schedule=(0, 0.05), repeat=0.05, give_up=0.2
        )
        rows.add()
        async with _running(dispatcher):
            await _eventually(lambda: rows.states() == [DeliveryState.DEAD])
    assert isinstance(rows.recorded[-1].decision, Dead)
    assert len(rows.recorded) > 2


async def test_breaker_spares_a_failing_endpoint(endpoint_at: Make, opening: Opening) -> None:
    """After ten failures in a row one attempt a second is made; a success opens the way."""
    rows = Rows(now)
    healthy = False

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(200 if healthy else 500)(request, writer)

    for _ in range(60):
        rows.add()
    async with receiver(answer) as server:
        dispatcher = _dispatcher(
            rows, opening, endpoint_at(server.url, concurrency=5), schedule=(0, 60)
        )
        async with _running(dispatcher):
            await rows.have(10)
            await asyncio.sleep(2.3)
            assert 10 + 2 <= len(server.requests) <= 10 + 4 + 3  # those in flight at the tenth
            assert not dispatcher.plan(MESSAGE)[0].claimed
            untouched = [row for row in rows.rows.values() if row.claim.attempt == 0]
            assert len(untouched) == 60 - len(server.requests)
            assert {row.claim.step for row in untouched} == {0}
            healthy, failed = True, len(rows.recorded)
            await rows.have(60 + failed, seconds=2.0)  # those that failed are brought forward
    assert rows.states() == [DELIVERED] * 60


async def test_open_breaker_reserves_no_slot(endpoint_at: Make, opening: Opening) -> None:
    """What comes in for a failing endpoint waits its turn, even if nothing else is due."""
    rows = Rows(now)
    for _ in range(10):
        rows.add()
    async with receiver(says(500)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url), schedule=(0, 60))
        async with _running(dispatcher):
            await rows.have(10)
            await asyncio.sleep(1.2)  # the lane knows that nothing is due
            assert not dispatcher.plan(MESSAGE)[0].claimed


async def test_the_end_of_an_outage_brings_forward_what_waits(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """The first success after three failures in a row ends everybody's wait of hours."""
    rows = Rows(now)
    healthy = False

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(200 if healthy else 503)(request, writer)

    for _ in range(5):
        rows.add()
    async with receiver(answer) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url), schedule=(0, 21600))
        async with _running(dispatcher):
            await rows.have(5)
            healthy = True
            await asyncio.sleep(1.5)
            assert len(server.requests) == 5
            rows.add()
            dispatcher.kick()
            await rows.have(11)
    assert rows.states() == [DELIVERED] * 6
    (brought,) = [line for line in lines if line["event"] == "delivery.brought_forward"]
    assert (brought["endpoint"], brought["deliveries"]) == ("crm", 5)


async def test_one_bad_message_is_not_brought_forward_by_the_others(
    endpoint_at: Make, opening: Opening
) -> None:
    """A message that the endpoint never takes keeps its schedule while the others go out."""
    rows = Rows(now)
    rows.add()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(400 if request.headers["webhook-id"] == "msg_2" else 200)(request, writer)

    async with receiver(answer) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url), schedule=(0, 21600))
        async with _running(dispatcher):
            await _eventually(lambda: rows.forward_calls > 0)  # by the first success
            calls = rows.forward_calls
            for count in range(2, 31):
                rows.add()
                dispatcher.kick()
                await rows.have(count)
    assert len(server.requests) == 30
    assert rows.states() == [DELIVERED, PENDING] + [DELIVERED] * 28
    assert rows.forward_calls == calls


async def test_messages_that_are_never_taken_do_not_hold_up_the_others(
    endpoint_at: Make, opening: Opening
) -> None:
    """Three in a row look like an outage; brought forward at its end, they would be one again."""
    rows = Rows(now)
    bad = {f"msg_{number}" for number in range(1, 4)}
    for _ in bad:
        rows.add()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(400 if request.headers["webhook-id"] in bad else 200)(request, writer)

    async with receiver(answer) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url), schedule=(0, 21600))
        async with _running(dispatcher):
            await rows.have(3)
            for count in range(1, 11):
                rows.add()
                dispatcher.kick()
                await _eventually(lambda count=count: rows.states().count(DELIVERED) == count)
    refused = [each for each in server.requests if each.headers["webhook-id"] in bad]
    assert len(refused) <= 2 * len(bad)


@pytest.mark.parametrize("failing", [False, True])
async def test_a_start_tries_one_that_waits_and_its_success_brings_forward_the_others(
    endpoint_at: Make, opening: Opening, failing: bool
) -> None:
    """The process before may have died while it brought them forward; or the URL was mended."""
    rows = Rows(now)
    for _ in range(3):
        rows.add()
    rows.wait(hours=6)
    first, gone = [], asyncio.Event()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        first.append(request.headers["webhook-id"])
        if len(first) == 1:
            await gone.wait()
        await says(200)(request, writer)

    async with receiver(answer) as server:
        dispatcher = Dispatcher(
            [endpoint_at(server.url)], DeliverySettings(), rows, opening, clock=now,
            rng=lambda: 0.0, failing={"crm"} if failing else (),
        )  # fmt: skip
        async with _running(dispatcher):
            await _eventually(lambda: bool(first))
            await asyncio.sleep(1.2)  # another look
            assert len(first) == 1  # it may still be down: the others keep their time
            gone.set()
            await rows.have(3)
    assert rows.states() == [DELIVERED] * 3


async def test_what_waits_is_brought_forward_when_the_store_is_back(
    endpoint_at: Make, opening: Opening, monkeypatch: pytest.MonkeyPatch, lines: list[Line]
) -> None:
    """In the middle of thousands the store is down for a while: the rest isn't left to its time."""
    rows = Rows(now)
    for _ in range(2_500):
        rows.add()
    rows.wait(hours=6)
    real, breaks = rows.bring_forward, [True]  # after the first thousand

    async def breaks_off(endpoint: str, after: int, *more: Any) -> tuple[int, int | None, datetime]:
        if after and breaks and breaks.pop():
            rows.down = True
            asyncio.get_running_loop().call_later(0.3, setattr, rows, "down", False)
        return await real(endpoint, after, *more)

    monkeypatch.setattr(rows, "bring_forward", breaks_off)
    async with (
        receiver(says(200)) as server,
        _running(_dispatcher(rows, opening, endpoint_at(server.url))),
    ):
        await rows.have(2_500)
    assert rows.states() == [DELIVERED] * 2_500
    assert len([line for line in lines if line["event"] == "delivery.not_brought_forward"]) == 1


async def test_state_changes_are_recorded_with_their_attempts(
    endpoint_at: Make, opening: Opening
) -> None:
    """The tenth failure says that the endpoint is failing, the first success that it isn't."""
    rows = Rows(now)
    healthy = False

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(200 if healthy else 500)(request, writer)

    for _ in range(30):
        rows.add()
    async with receiver(answer) as server:
        endpoint = endpoint_at(server.url, concurrency=2)
        async with _running(_dispatcher(rows, opening, endpoint, schedule=(0, 600))):
            await rows.have(12)
            healthy = True
            await _eventually(lambda: rows.states() == [DELIVERED] * 30)
    failing = [each.failing for each in rows.recorded if each.failing is not None]
    assert failing == [True, False]
    assert rows.recorded[9].failing or rows.recorded[10].failing  # two records may change places
    recovered = next(each for each in rows.recorded if each.failing is False)
    assert recovered.decision == Delivered()


async def test_endpoint_that_was_failing_begins_with_a_probe(
    endpoint_at: Make, opening: Opening
) -> None:
    """After a restart a failing endpoint gets one attempt, not as many as it has slots."""
    rows = Rows(now)
    for _ in range(10):
        rows.add()
    async with receiver(says(500)) as server:
        dispatcher = Dispatcher(
            [endpoint_at(server.url)],
            DeliverySettings(),
            rows,
            opening,
            clock=now,
            rng=lambda: 0.0,
            failing={"crm"},
        )
        async with _running(dispatcher):
            await rows.have(1)
            await asyncio.sleep(0.5)
            assert len(server.requests) == 1
            assert rows.recorded[0].failing is None


async def test_answer_is_recorded_when_the_store_is_back(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """An answer outlives a store that is down: it is written later, and sent only once."""
    rows = Rows(now)
    async with receiver(says(200)) as server:
        endpoint = endpoint_at(server.url, concurrency=2)
        dispatcher = _dispatcher(rows, opening, endpoint)
        async with _running(dispatcher):
            assert dispatcher.plan(MESSAGE)[0].claimed
            claim = rows.add(leased=True)
            rows.down = True
            dispatcher.start([claim])
            await server.got(1)
            await asyncio.sleep(0.5)
            assert rows.recorded == []
            assert [line["event"] for line in lines].count("delivery.unrecorded") == 1
            assert not dispatcher.plan(MESSAGE)[0].claimed  # nothing more is begun meanwhile
            rows.down = False
            await rows.have(1)
    assert len(server.requests) == 1
    assert rows.states() == [DELIVERED]


async def test_failing_endpoint_and_store_that_is_down_leave_the_loop_alone(
    endpoint_at: Make, opening: Opening
) -> None:
    """An open breaker whose next probe is due, and a record that cannot be written: no spinning."""
    rows = Rows(now)
    for _ in range(14):
        rows.add()

    async def fails_slowly(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await says(500)(request, writer)

    async with receiver(fails_slowly) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url))
        async with _running(dispatcher):
            await server.got(11)  # ten have failed, this one is a probe
            rows.down = True
            await asyncio.sleep(2.5)
            assert len(server.requests) == 11
            rows.down = False
            await rows.have(13)


async def test_store_that_fails_to_claim_is_asked_again(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """While the store is down the lane waits, says so once, and goes on when it is back."""
    rows = Rows(now, down=True)
    for _ in range(5):
        rows.add()
    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url))
        async with _running(dispatcher):
            for _ in range(20):
                dispatcher.kick()
                await asyncio.sleep(0.03)
            assert rows.claim_calls <= 5
            rows.down = False
            await rows.have(5)
    events = [line["event"] for line in lines]
    assert events.count("delivery.store_down") == 1
    assert events.count("delivery.store_up") == 1


async def test_bug_in_an_attempt_does_not_end_the_lane(endpoint_at: Make, opening: Opening) -> None:
    """A transport with a bug costs a retry, and the lane goes on."""
    rows = Rows(now)
    broken = True

    class Sometimes(httpx.AsyncBaseTransport):
        def __init__(self, real: httpx.AsyncBaseTransport) -> None:
            self._real = real

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if broken:
                raise ZeroDivisionError
            return await self._real.handle_async_request(request)

        async def aclose(self) -> None:
            await self._real.aclose()

    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(
            rows, lambda one: Sometimes(opening(one)), endpoint_at(server.url), schedule=(0, 0.05)
        )
        rows.add()
        async with _running(dispatcher):
            await rows.have(1)
            broken = False
            await rows.have(2)
    assert rows.recorded[0].outcome.error == "internal"
    assert rows.states() == [DELIVERED]


async def test_bug_in_a_lane_ends_the_daemon(endpoint_at: Make, opening: Opening) -> None:
    """A bug outside of an attempt is raised from `run`, so that the process ends and restarts."""
    rows = Rows(now, bug=True)
    dispatcher = _dispatcher(rows, opening, endpoint_at("http://127.0.0.1/"))
    with pytest.raises(BaseExceptionGroup) as caught:
        await dispatcher.run()
    assert caught.group_contains(ZeroDivisionError)


async def test_drain_lets_running_attempts_finish(endpoint_at: Make, opening: Opening) -> None:
    """A drain claims nothing more, and waits for answers and their records."""
    rows, gate = Rows(now), Gate()
    for _ in range(10):
        rows.add()
    async with receiver(gate) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url, concurrency=3))
        running = asyncio.create_task(dispatcher.run())
        await server.got(3)
        draining = asyncio.create_task(dispatcher.drain(5.0))
        await asyncio.sleep(0.05)
        assert not dispatcher.plan(MESSAGE)[0].claimed
        gate.open.set()
        await draining
        await asyncio.wait_for(running, 1.0)
    assert len(server.requests) == len(rows.recorded) == 3
    assert rows.states().count(PENDING) == 7


async def test_drain_cuts_off_after_the_grace(endpoint_at: Make, opening: Opening) -> None:
    """What doesn't end within the grace is cancelled, unrecorded, its lease left to expire."""
    rows = Rows(now)
    rows.add()
    async with receiver(hangs) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url, timeout=30.0))
        running = asyncio.create_task(dispatcher.run())
        await server.got(1)
        await asyncio.wait_for(dispatcher.drain(0.1), 2.0)
        await asyncio.wait_for(running, 1.0)
    assert rows.recorded == []
    assert rows.rows[1].leased


async def test_drain_ends_while_the_store_is_down(endpoint_at: Make, opening: Opening) -> None:
    """A lane that waits for the store is drained without waiting out its pause."""
    rows = Rows(now, down=True)
    dispatcher = _dispatcher(rows, opening, endpoint_at("http://127.0.0.1/"))
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(1.0)  # its pause is past half a second now
    await asyncio.wait_for(dispatcher.drain(5.0), 0.2)
    await asyncio.wait_for(running, 0.2)


async def test_start_before_run_and_after_the_end(endpoint_at: Make, opening: Opening) -> None:
    """A claim started early runs with the lane; one started too late is left to its lease."""
    rows = Rows(now)
    async with receiver(says(200)) as server:
        dispatcher = _dispatcher(rows, opening, endpoint_at(server.url))
        assert all(dispatcher.plan(MESSAGE)[0].claimed for _ in range(2))
        dispatcher.start([rows.add(leased=True)])
        async with _running(dispatcher):
            await rows.have(1)
        dispatcher.start([rows.add(leased=True)])
    assert len(server.requests) == 1
    assert rows.rows[2].leased


async def test_drain_before_run_returns(endpoint_at: Make, opening: Opening) -> None:
    """A dispatcher that never ran is drained at once, and then runs no more."""
    dispatcher = _dispatcher(Rows(now), opening, endpoint_at("http://127.0.0.1/"))
    await asyncio.wait_for(dispatcher.drain(5.0), 0.2)
    await asyncio.wait_for(dispatcher.run(), 0.5)


async def test_each_attempt_is_one_line_that_tells_no_secret(
    endpoint_at: Make, opening: Opening, lines: list[Line]
) -> None:
    """An attempt is one wide line with ids and numbers of ours, and counted; no URL, no body."""
    rows = Rows(now)
    answers = [says(500), says(200)]

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(request, writer)

    async with receiver(answer) as server:
        endpoint = endpoint_at(server.url + "?token=hunter2", name="told")
        dispatcher = _dispatcher(rows, opening, endpoint, schedule=(0, 0.05))
        rows.add("told")
        async with _running(dispatcher):
            await rows.have(2)
    told = [line for line in lines if line["event"] == "delivery.attempt"]
    assert [(line["level"], line["result"], line["status"]) for line in told] == [
        ("warning", "retry", 500),
        ("info", "delivered", 200),
    ]
    assert datetime.fromisoformat(told[0]["next_at"]) > now() - _seconds(60)
    assert {key: told[1][key] for key in ("delivery", "webhook_id", "endpoint", "attempt")} == {
        "delivery": 1, "webhook_id": "msg_1", "endpoint": "told", "attempt": 2,
    }  # fmt: skip
    assert "hunter2" not in str(lines)
    assert '"n"' not in str(lines)
    for result in ("retry", "delivered"):
        labels = {"endpoint": "told", "result": result}
        assert REGISTRY.get_sample_value("smsbridge_attempts_total", labels) == 1
    assert REGISTRY.get_sample_value("smsbridge_attempt_seconds_count", {"endpoint": "told"}) == 2


async def test_memory_does_not_grow_with_the_backlog(endpoint_at: Make, opening: Opening) -> None:
    """A lane asks for no more than it has slots, however much waits."""
    rows = Rows(now)
    for _ in range(2000):
        rows.add()
    url = f"http://127.0.0.1:{closed_port()}/"
    async with _running(_dispatcher(rows, opening, endpoint_at(url, concurrency=4))):
        await rows.have(10)
        assert sum(row.leased for row in rows.rows.values()) <= 4

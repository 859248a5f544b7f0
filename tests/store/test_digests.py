"""Each endpoint that wants some gets one digest a period, whatever happens, and none piles up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from bridge.config.settings import StoreSettings
from bridge.model import Claim, DeliveryState, Order, PlannedDelivery
from bridge.operations.digest import Digester
from bridge.store import Store, hold_endpoint, queries, resume_endpoint
from bridge.store.digests import KEPT
from bridge.store.erase import erase_messages
from bridge.store.stream_tables import digests
from bridge.store.tables import attempts, deliveries, events
from tests.documents import blocks, page
from tests.store.making import (
    GIVE_UP,
    LEASE,
    START,
    Clock,
    attempt,
    audited,
    identity,
    later,
    many,
    opened,
    plan,
    sms,
)
from tests.store.test_replays import endpoint

HOUR = 3600.0
CRM = endpoint("crm", digest=HOUR)


class Lanes:
    """A lane with so many free slots."""

    def __init__(self, free: int = 0) -> None:
        self.free = free
        self.started: list[Claim] = []
        self.released: list[PlannedDelivery] = []

    def reserve(self, _endpoint: str) -> int:
        self.free -= 1
        return int(self.free >= 0)

    def release(self, planned: Sequence[PlannedDelivery]) -> None:
        self.released += planned

    def start(self, claims: Sequence[Claim]) -> None:
        self.started += claims


def digester(store: Store, clock: Clock, lanes: Lanes | None = None) -> Digester:
    return Digester(store, lanes or Lanes(), [CRM, endpoint("erp")], clock)


def data(claim: Claim) -> dict[str, Any]:
    body = json.loads(claim.event.body)
    assert body["type"] == claim.event.type == "bridge.digest"
    assert body["data"]["id"] == claim.event.id
    return dict(body["data"])


async def take(store: Store, *, status: int = 200) -> list[dict[str, Any]]:
    """Claim what is due to crm, record it, and return the digests among it."""
    claims = await store.claim("crm", 100)
    for claim in claims:
        await store.record(attempt(claim, None if status == 200 else later(HOUR)))
    return [data(each) for each in claims if each.event.format == "bridge.digest"]


async def come(store: Store, first: int, last: int) -> None:
    for item in many(last - first, "crm", "erp", first=first):
        await store.ingest(item)


async def test_digest_says_what_became_of_the_numbers(settings: StoreSettings) -> None:
    """It has the numbers since the one before, what became of them, and when the next one comes."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock)
        await made.step()
        [first] = await take(store)
        assert (first["number"], first["after"], first["last"], first["count"]) == (1, 0, 0, 0)
        assert first["due_at"] == "2026-04-08T12:00:00Z"
        assert first["next_at"] == "2026-04-08T13:00:00Z"
        items = many(5)
        for item in items:
            await store.ingest(item)
        one, two, _ = await store.claim("crm", 3)
        await store.record(attempt(one))
        await store.record(attempt(two, GIVE_UP))
        ids = [items[4].messages[0].message.id]
        erase = partial(erase_messages, ids=ids, now=clock(), even_undelivered=True)
        await store.change(erase)
        clock.forward(HOUR)
        await made.step()
        [second] = await take(store)
        assert second | {"id": None} == {
            "id": None, "endpoint": "crm", "number": 2, "due_at": "2026-04-08T13:00:00Z",
            "next_at": "2026-04-08T14:00:00Z", "after": 0, "last": 5, "count": 5,
            "delivered": 1, "waiting": 2, "dead": 1, "erased": 1, "not_coming": [2, 5],
        }  # fmt: skip
        assert second["id"].startswith("dig_")
        documented, _ = (json.loads(each) for each in blocks(page("docs/receivers.md"), "json"))
        assert list(second) == list(documented["data"])
        rows = await store.read(lambda connection: queries.list_deliveries(connection))
        digests = [row for row in rows if row.message_id is None]
        assert [(row.endpoint, row.sequence) for row in digests] == [("crm", None)] * 2
        await come(store, 5, 6)
        assert [each.sequence for each in await store.claim("erp", 5)] == [1]
    assert audited(settings, clock.now).ok


async def test_a_clock_that_was_far_ahead_silences_no_digest(settings: StoreSettings) -> None:
    """One was made for a period years from now; those of the present come all the same, once."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock)
        await made.step()
        clock.forward(100_000 * HOUR)
        await made.step()
        clock.forward(-99_999 * HOUR)
        for _ in range(3):
            for _ in range(2):
                await made.step()
                await digester(store, clock).step()
            clock.forward(HOUR)
        clock.forward(99_996 * HOUR)  # the same period comes again
        await made.step()
        found = await store.read(
            lambda connection: connection.execute(select(digests.c.due_at)).scalars().all()
        )
    hours = [(each - found[0]) / timedelta(hours=1) for each in sorted(found)]
    assert hours == [0, 1, 2, 3, 100_000]
    assert audited(settings, clock.now).ok


async def test_one_digest_a_period(settings: StoreSettings) -> None:
    """However often the clock is looked at, after restarts too, and one for those that passed."""
    clock = Clock()
    for _ in range(2):
        async with opened(settings, clock=clock) as store:
            made = digester(store, clock)
            for _ in range(3):
                await made.step()
                clock.forward(60)
    clock.forward(5 * HOUR)
    async with opened(settings, clock=clock) as store:
        await digester(store, clock).step()
        clock.forward(-2 * HOUR)  # a clock that was set back makes none for the second time
        await digester(store, clock).step()
        clock.forward(2 * HOUR)
        assert [each["number"] for each in await take(store)] == [2]
        states = await store.read(lambda each: queries.list_deliveries(each))
        assert [row.state.value for row in states] == ["delivered", "filtered"]
    assert audited(settings, clock.now).ok


async def test_digest_that_did_not_get_through_is_replaced(settings: StoreSettings) -> None:
    """During an outage one waits, and it tells of all numbers since the last that got through."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock)
        await come(store, 0, 2)
        await made.step()
        assert [(each["after"], each["last"]) for each in await take(store)] == [(0, 2)]
        for number in range(2, 5):
            clock.forward(HOUR)
            await come(store, number, number + 1)
            await made.step()
            await take(store, status=500)
        clock.forward(HOUR)
        await made.step()
        assert await open_digests(store) == 1
        [told] = await take(store)
        assert (told["number"], told["after"], told["last"]) == (5, 2, 5)
        clock.forward(HOUR)
        await made.step()
        [told] = await take(store)
        assert (told["number"], told["after"], told["last"], told["count"]) == (6, 5, 5, 0)
    assert audited(settings, clock.now).ok


async def open_digests(store: Store) -> int:
    rows = await store.read(lambda each: queries.list_deliveries(each))
    return sum(
        row.message_id is None and row.state in {DeliveryState.PENDING, DeliveryState.HELD}
        for row in rows
    )


async def test_digest_in_flight_is_not_replaced(settings: StoreSettings) -> None:
    """It may just be arriving; if it fails after all, the next one tells of its numbers as well."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock)
        await come(store, 0, 1)
        await take(store)
        await made.step()
        clock.forward(HOUR - LEASE)
        [flying] = await store.claim("crm", 5)
        await come(store, 1, 2)
        clock.forward(LEASE - 1)
        await made.step()  # the next period has begun
        clock.forward(8 * 60)
        rows = await store.read(lambda each: queries.list_deliveries(each))
        assert [row.state.value for row in rows if row.message_id is None] == ["pending", "pending"]
        await store.record(attempt(flying, later(HOUR)))
        clock.forward(HOUR)
        await made.step()
        [told] = await take(store)
        assert (told["number"], told["after"], told["last"]) == (3, 0, 2)
    assert audited(settings, clock.now).ok


async def test_paused_endpoint_has_one_held_digest(settings: StoreSettings) -> None:
    """While an operator holds it the newest digest is held, and comes when it is resumed."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock, lanes := Lanes(free=9))
        await store.change(lambda each: hold_endpoint(each, "crm", "closed", clock()))
        for _ in range(3):
            await made.step()
            clock.forward(HOUR)
        assert (lanes.started, len(lanes.released)) == ([], 3)
        assert await open_digests(store) == 1
        assert await take(store) == []
        await store.change(lambda each: resume_endpoint(each, "crm", clock()))
        assert [each["number"] for each in await take(store)] == [3]
    assert audited(settings, clock.now).ok


async def test_digest_starts_in_a_free_slot(settings: StoreSettings) -> None:
    """It doesn't queue behind a backlog; without a slot it is due like any other."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        await come(store, 0, 3)
        lanes = Lanes(free=1)
        made = digester(store, clock, lanes)
        await made.step()
        [claim] = lanes.started
        assert (claim.attempt, data(claim)["waiting"], claim.sequence) == (1, 3, None)
        await store.record(attempt(claim))
        clock.forward(HOUR)
        await made.step()
        assert [each.claimed for each in lanes.released] == [False]
        assert [each["number"] for each in await take(store)] == [2]
    assert audited(settings, clock.now).ok


async def test_digest_waits_for_no_conversation(settings: StoreSettings) -> None:
    """Where messages go one by one and the first one fails, the digest goes out all the same."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for name in "ab":
            planned = replace(plan("crm")[0], order=Order.BLOCK, conversation=7)
            await store.ingest(sms(identity(name, email=name), (planned,)))
        [stuck] = await store.claim("crm", 5, Order.BLOCK)
        await store.record(attempt(stuck, later(HOUR)))
        await digester(store, clock).step()
        [claim] = await store.claim("crm", 5, Order.BLOCK)
        assert data(claim)["waiting"] == 2


@pytest.mark.processes
async def test_bridges_beside_each_other_make_one(postgres: object) -> None:
    """Of two bridges on one database one makes the digest of a period, and the other none."""
    settings = StoreSettings(url=postgres.create_database())  # type: ignore[attr-defined]
    clock = Clock()
    async with (
        opened(settings, clock=clock) as one,
        opened(settings, clock=clock, owner="they") as two,
    ):
        both = [digester(one, clock, Lanes(9)), digester(two, clock, Lanes(9))]
        for _ in range(5):
            await asyncio.gather(*(each.step() for each in both))
            clock.forward(HOUR)
        rows = await one.read(lambda each: queries.list_deliveries(each))
        assert len(rows) == 5
    assert audited(settings, START + timedelta(days=1)).ok


async def test_old_digests_are_deleted_and_counted(settings: StoreSettings) -> None:
    """The store keeps the last hundred of an endpoint, and the audit knows of the others."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock)
        for _ in range(KEPT + 5):
            await made.step()
            await take(store)
            clock.forward(HOUR)

        def count(table: Any) -> Any:
            return store.read(lambda each: each.execute(select(func.count(table.c.id))).scalar())

        assert [await count(each) for each in (deliveries, events, attempts)] == [KEPT] * 3
    report = audited(settings, clock.now)
    assert report.ok, report
    assert report.totals["deleted.deliveries"] == 5


async def test_digest_that_flies_for_a_hundred_periods_is_kept(settings: StoreSettings) -> None:
    """It may fail yet: then the next one tells of its numbers as well."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = Digester(store, Lanes(), [endpoint("crm", digest=0.5)], clock)
        await come(store, 0, 1)
        await made.step()
        claims = await store.claim("crm", 5)
        [flying] = [each for each in claims if each.event.format == "bridge.digest"]
        for _ in range(KEPT + 1):
            clock.forward(0.5)
            await made.step()
        await store.record(attempt(flying, later(HOUR)))
        clock.forward(1)
        await made.step()
        [told] = await take(store)
        assert (told["number"], told["after"], told["last"]) == (KEPT + 3, 0, 1)
    assert audited(settings, clock.now).ok


async def test_counting_takes_a_tenth_of_the_time(settings: StoreSettings) -> None:
    """However short the period is, and however long it takes to count a backlog."""
    clock, pauses = Clock(), list[float]()
    times = iter([0.0, 0.05, 10.0, 13.0])

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.forward(1)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    async with opened(settings, clock=clock) as store:
        crm = endpoint("crm", digest=2.0)
        made = Digester(store, Lanes(), [crm], clock, pause, lambda: next(times))
        with pytest.raises(asyncio.CancelledError):
            await made.run()
    assert sorted(pauses) == [1.0, 1.0, 27.0]


async def test_dropped_digest_is_missed_by_the_audit(settings: StoreSettings) -> None:
    """A digest's event that nothing belongs to is found."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        await digester(store, clock).step()
        assert audited(settings, clock.now).ok
        await store.change(lambda each: each.exec_driver_sql("DELETE FROM digests").rowcount)
    failed = [each.name for each in audited(settings, clock.now).checks if not each.ok]
    assert failed == ["every event has its message"]


async def test_reload_begins_and_ends_digests(settings: StoreSettings) -> None:
    """An endpoint that wants none any more gets none."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        made = digester(store, clock)
        made.use([replace(CRM, digest=None)])
        await made.step()
        assert await take(store) == []
        made.use([CRM])
        await made.step()
        assert [each["number"] for each in await take(store)] == [1]

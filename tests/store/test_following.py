"""A list that is followed shows each new row once, in the order in which it came."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from bridge.config.settings import StoreSettings
from bridge.delivery.endpoint import Endpoint
from bridge.model import DeliveryState, Reason
from bridge.operations import replay
from bridge.operations.replay import Replayer
from bridge.store import following
from bridge.store.following import (
    changed_deliveries,
    look_now,
    new_in_quarantine,
    new_messages,
)
from bridge.store.record import record_many
from bridge.store.replays import Selection
from bridge.store.search import ALL, MessageFilter
from tests.servers.postgres import PostgresServer
from tests.store.making import (
    START,
    Clock,
    attempt,
    identity,
    later,
    many,
    opened,
    plan,
    sms,
    unreadable,
    writing,
)


async def test_messages_come_once(settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many came at once; what a filter leaves out is not looked at again."""
    monkeypatch.setattr(following, "_AT_ONCE", 2)
    async with opened(settings) as store:
        await store.ingest(sms(identity("before")))
        seen = await store.read(look_now)
        wanted = [(await store.ingest(each)).message_id for each in many(3)]
        await store.ingest(many(3)[0])  # a repeat is no message

        async def look(which: MessageFilter) -> list[str]:
            nonlocal seen
            found, seen = await store.read(lambda c: new_messages(c, seen, which))
            return [row.message.id for row in found]

        assert await look(ALL) == wanted[:2]
        assert await look(ALL) == wanted[2:]
        assert await look(MessageFilter(provider="none")) == []
        assert seen == await store.read(look_now)


async def test_messages_of_arrivals_that_are_read_again_come_once(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep the ids of their arrivals; a message that is replayed is no new one."""
    monkeypatch.setattr(following, "_AT_ONCE", 1)
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "erp", "new"]) as store:
        kept = [(await store.ingest(unreadable(raw=b"%d" % n))).arrival_id for n in range(4)]
        seen = await store.read(look_now)

        async def look(which: MessageFilter = ALL) -> list[int]:
            nonlocal seen
            found, seen = await store.read(lambda c: new_messages(c, seen, which))
            return [row.arrival_id for row in found]

        for name, arrival_id in zip("cab", kept, strict=False):
            again = sms(identity(name), plan("crm", "erp"))
            await store.ingest(replace(again, reparse_of=arrival_id))
        new = [(await store.ingest(each)).arrival_id for each in many(2)]
        assert await look() == [*kept[:3], new[0]]
        assert await look() == [new[1]]
        endpoint = Endpoint("new", httpx.URL("http://127.0.0.1/"), (), 10, 20.0)
        everything = Selection(filter=MessageFilter(since=START))
        await replay.start(store, endpoint, everything, clock, rate=1000)
        clock.forward(1.0)
        await Replayer(store, [endpoint], clock, asyncio.sleep).step()
        assert len(await store.claim("new", 10)) == 5
        assert await look() == []
        await store.ingest(replace(sms(identity("last"), plan("crm")), reparse_of=kept[3]))
        assert await look(MessageFilter(provider="none")) == []


async def test_quarantine_comes_once(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_AT_ONCE", 2)
    async with opened(settings) as store:
        await store.ingest(unreadable(raw=b"0"))
        seen = await store.read(look_now)
        for number in range(1, 4):
            await store.ingest(unreadable(raw=b"%d" % number))
        await store.ingest(unreadable(Reason.UNTRUSTED, raw=b"4"))

        async def look() -> list[int]:
            nonlocal seen
            found, seen = await store.read(lambda c: new_in_quarantine(c, seen, "unreadable"))
            return [row.id for row in found]

        assert [await look(), await look(), await look()] == [[2, 3], [4], []]


async def test_deliveries_come_when_made_and_after_each_attempt(settings: StoreSettings) -> None:
    """As they are then, in the order of their ids; what is leased and not yet tried is no news."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        await store.ingest(sms(identity("before")))
        seen = await store.read(look_now)
        for each in many(2):
            await store.ingest(each)

        async def look() -> list[tuple[int, DeliveryState, int]]:
            nonlocal seen
            found, seen = await store.read(lambda c: changed_deliveries(c, seen, "crm", None))
            return [(row.id, row.state, row.attempts) for row in found]

        assert await look() == [(2, DeliveryState.PENDING, 0), (3, DeliveryState.PENDING, 0)]
        claims = await store.claim("crm", 10)
        assert await look() == []
        await store.record(attempt(claims[2]))
        await store.record(attempt(claims[0], later(60)))
        assert await look() == [(1, DeliveryState.PENDING, 1), (3, DeliveryState.DELIVERED, 1)]
        assert await look() == []
        await store.record(attempt(claims[1]))
        found, _ = await store.read(
            lambda c: changed_deliveries(c, seen, None, DeliveryState.PENDING)
        )
        assert found == []


@pytest.mark.processes
async def test_attempt_that_is_committed_late_is_no_less_news(postgres: PostgresServer) -> None:
    """Of two bridges one may commit first what the other one began to record before it."""
    settings = StoreSettings(url=postgres.create_database())
    async with opened(settings) as store:
        for each in many(3):
            await store.ingest(each)
        slow, quick, before = await store.claim("crm", 3)
        await store.record(attempt(before))
        seen = await store.read(look_now)

        async def look() -> list[int]:
            nonlocal seen
            found, seen = await store.read(lambda c: changed_deliveries(c, seen, "crm", None))
            return [row.id for row in found]

        with writing(settings) as other:
            record_many(other, [attempt(slow)], START)
            await store.record(attempt(quick))
            assert await look() == [quick.delivery_id]
        assert await look() == [slow.delivery_id]
        assert await look() == []

"""A replay is a new delivery of the same event, ordered once and carried out to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import httpx
import pytest

from bridge.config.settings import StoreSettings
from bridge.delivery.endpoint import Endpoint
from bridge.errors import NotFound, NotPossible
from bridge.event import event_id
from bridge.model import Arrival, Claim, DeliveryState, Hold
from bridge.operations import purge, replay
from bridge.operations.replay import Replayer
from bridge.operations.retention import Retention
from bridge.store import Ingest, Store, hold_endpoint
from bridge.store.replays import Selection, list_replays
from bridge.store.search import MessageFilter
from tests.store.making import (
    ENVELOPE,
    GIVE_UP,
    START,
    Clock,
    attempt,
    audited,
    identity,
    opened,
    plan,
    sms,
)

OTHER = "+393301112223"


def endpoint(name: str = "crm", **more: object) -> Endpoint:
    return Endpoint(name, httpx.URL("http://127.0.0.1/"), (), 10, 20.0, **more)  # type: ignore[arg-type]


CRM, NEW = endpoint(), endpoint("new")


async def pause(_: float) -> None:
    """Wait for no time."""


def message(number: int, clock: Clock, sender: str = "+393301234567", to: str = "crm") -> Ingest:
    arrived = Arrival(ENVELOPE, "x", f"Subject: SMS\r\n\r\n{number}".encode(), clock())
    return sms(identity(f"{number}", email=f"{number}"), plan(to), sender=sender, arrived=arrived)


async def deliver(store: Store, name: str = "crm") -> list[Claim]:
    sent: list[Claim] = []
    while claims := await store.claim(name, 100):
        for claim in claims:
            await store.record(attempt(claim))
        sent += claims
    return sent


async def carry_out(
    store: Store, clock: Clock, endpoints: Sequence[Endpoint] = (CRM, NEW), steps: int = 50
) -> None:
    """Let the daemon's part run, a second at a time, until nothing is left to do."""
    replayer = Replayer(store, endpoints, clock, pause)
    for _ in range(steps):
        clock.forward(1.0)
        await replayer.step()


@pytest.mark.parametrize("target", [CRM, NEW], ids=["same", "new"])
async def test_the_same_event_goes_out_once_more(settings: StoreSettings, target: Endpoint) -> None:
    """Same id, same bytes, one delivery for each message; and the ledger adds up."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm", "new"]) as store:
        for number in range(30):
            await store.ingest(message(number, clock))
        first = await deliver(store)
        since = Selection(filter=MessageFilter(since=START))
        assert await replay.preview(store, target, since) == {"messages": 30, "skipped": 0}
        assert await replay.start(store, target, since, clock, rate=10) == {"replay": 1}
        await store.ingest(message(99, clock))  # later than the order
        await deliver(store)
        await carry_out(store, clock)
        again = await deliver(store, target.name)
        key = {each.event.id: each.event.body for each in first}
        assert {each.event.id: each.event.body for each in again} == key
        assert len(again) == 30
        # To the same endpoint it may be a repeat; one that never got it gets it for the first time.
        assert {each.sent_before for each in first} == {False}
        assert {each.sent_before for each in again} == {target is CRM}
        (shown,) = await replay.list_replays(store)
        assert (shown["state"], shown["written"], shown["looked_at"]) == ("done", 30, 1.0)
        await carry_out(store, clock)
        assert await deliver(store, target.name) == []
        # And a second replay of the same messages.
        await replay.start(store, target, since, clock, rate=1000)
        await carry_out(store, clock)
        assert len(await deliver(store, target.name)) == 31
    report = audited(settings, clock())
    assert report.ok, report


async def test_it_keeps_its_rate_and_goes_on_where_it_stopped(settings: StoreSettings) -> None:
    """Two deliveries a second, over a restart, and nothing is made up for afterwards."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        for number in range(30):
            await store.ingest(message(number, clock))
        await deliver(store)
        await replay.start(store, CRM, Selection(filter=MessageFilter(since=START)), clock, rate=2)
        await carry_out(store, clock, steps=5)
        assert len(await deliver(store)) == 10
    clock.forward(3600)
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        await carry_out(store, clock, steps=1)
        assert len(await deliver(store)) == 4  # two ticks' worth
        await carry_out(store, clock)
        assert len(await deliver(store)) == 16
    assert audited(settings, clock()).ok


async def test_a_slow_rate_is_slow(settings: StoreSettings) -> None:
    """One delivery in ten seconds."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        for number in range(5):
            await store.ingest(message(number, clock))
        await deliver(store)
        everything = Selection(filter=MessageFilter(since=START))
        await replay.start(store, CRM, everything, clock, rate=0.1)
        await carry_out(store, clock, steps=29)
        assert len(await deliver(store)) == 2


async def test_several_bridges_carry_it_out_once(settings: StoreSettings) -> None:
    """Each step is written by one of them."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        for number in range(60):
            await store.ingest(message(number, clock))
        await deliver(store)
        await replay.start(store, CRM, Selection(filter=MessageFilter(since=START)), clock, rate=7)
        replayers = [Replayer(store, [CRM], clock, pause) for _ in range(3)]
        for _ in range(20):
            clock.forward(1.0)
            await asyncio.gather(*(each.step() for each in replayers))
        sent = await deliver(store)
        assert (len(sent), len({each.event.id for each in sent})) == (60, 60)
    assert audited(settings, clock()).ok


async def test_a_clock_that_is_set_back_stops_no_replay(settings: StoreSettings) -> None:
    """Its last step was in the future then; it goes on with the next."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        for number in range(4):
            await store.ingest(message(number, clock))
        await deliver(store)
        await replay.start(store, CRM, Selection(filter=MessageFilter(since=START)), clock, rate=1)
        clock.forward(-3 * 3600)
        replayer = Replayer(store, [CRM], clock, pause)
        for _ in range(4):
            await replayer.step()
            clock.forward(1.0)
        assert len(await deliver(store)) == 4


async def test_what_is_skipped(settings: StoreSettings) -> None:
    """Filtered, purged, and what the endpoint has yet to get; each is counted."""
    clock = Clock()
    picky = endpoint(recipients=frozenset({"393331234333"}), providers=frozenset({"other"}))
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        for number in range(4):
            await store.ingest(message(number, clock))
        await store.ingest(message(4, clock, sender=OTHER))
        claims = await store.claim("crm", 10)
        await store.record(attempt(claims[0], GIVE_UP))
        await store.record(attempt(claims[1], Hold("no")))
        for claim in claims[2:]:
            await store.record(attempt(claim))
        await purge.purge(store, OTHER, clock)
        everything = Selection(filter=MessageFilter(since=START))
        assert await replay.preview(store, picky, everything) == {"messages": 0, "skipped": 5}
        counted = await replay.preview(store, CRM, everything)
        assert counted == {"messages": 2, "skipped": 3}
        await replay.start(store, CRM, everything, clock)
        await carry_out(store, clock)
        assert len(await deliver(store)) == 2
        (shown,) = await replay.list_replays(store)
        assert (shown["written"], shown["skipped"]) == (2, 3)
    assert audited(settings, clock()).ok


async def test_ids_and_filters_choose(settings: StoreSettings) -> None:
    """An id may be abbreviated, an unknown one changes nothing, and no filter is no selection."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        receipts = [await store.ingest(message(number, clock)) for number in range(3)]
        await store.ingest(message(9, clock, sender=OTHER))
        await deliver(store)
        for empty in (Selection(), Selection(filter=MessageFilter())):
            with pytest.raises(NotPossible, match="filter"):
                await replay.start(store, CRM, empty, clock)
        with pytest.raises(NotFound):
            await replay.start(store, CRM, Selection(("msg_none",)), clock)
        assert await replay.list_replays(store) == []
        wanted = str(receipts[1].message_id)
        await replay.start(store, CRM, Selection((wanted[:12], wanted)), clock)
        await carry_out(store, clock)
        assert [each.event.id for each in await deliver(store)] == [wanted]
        by_number = Selection(filter=MessageFilter(number=OTHER))
        await replay.start(store, CRM, by_number, clock)
        await carry_out(store, clock)
        assert len(await deliver(store)) == 1
        # A number stays in the store no longer than it is needed.
        done = await store.read(list_replays)
        assert done[0].selection == Selection()


def test_every_filter_survives_being_stored() -> None:
    """What is read back is what was ordered."""
    full = MessageFilter(
        provider="agile", number="4567", text="News", state=DeliveryState.DELIVERED,
        endpoint="crm", since=START, until=START + timedelta(days=1), unwanted=True,
    )  # fmt: skip
    for selection in (Selection(("a", "b"), full), Selection(filter=full), Selection(("a",))):
        assert Selection.from_json(selection.to_json()) == selection


async def test_a_held_endpoint_and_one_that_is_gone(settings: StoreSettings) -> None:
    """Deliveries to the first wait with the others; the second's replay waits until it is back."""
    clock = Clock()
    async with opened(settings, clock=clock, endpoints=["crm"]) as store:
        await store.ingest(message(1, clock))
        await deliver(store)
        everything = Selection(filter=MessageFilter(since=START))
        await store.change(lambda connection: hold_endpoint(connection, "crm", "stop", START))
        await replay.start(store, CRM, everything, clock)
        await replay.start(store, NEW, everything, clock)
        await carry_out(store, clock, [CRM])
        assert await store.claim("crm", 10) == []
        states = {each["endpoint"]: each["state"] for each in await replay.list_replays(store)}
        assert states == {"crm": "done", "new": "running"}
        with pytest.raises(NotPossible):
            await replay.cancel(store, 1, clock)
        with pytest.raises(NotFound):
            await replay.cancel(store, 7, clock)
        assert await replay.cancel(store, 2, clock) == {"cancelled": 2}
        await carry_out(store, clock)
        assert await store.claim("new", 10) == []
    report = audited(settings, clock())
    assert report.ok
    assert report.totals["deliveries.held"] == 1


async def test_an_endpoint_with_another_format_gets_an_event_of_its_own(
    settings: StoreSettings,
) -> None:
    """Made from the stored message, once, with the id that it would have had at first."""
    clock = Clock()
    target = endpoint("new", format="cloudevents")
    async with opened(settings, clock=clock, endpoints=["crm", "new"]) as store:
        receipt = await store.ingest(message(1, clock))
        await deliver(store)
        for _ in range(2):
            await replay.start(store, target, Selection((str(receipt.message_id),)), clock)
            await carry_out(store, clock, [target], steps=3)
            (claim,) = await deliver(store, "new")
            wanted = event_id(str(receipt.message_id), "cloudevents")
            assert (claim.event.id, claim.event.format) == (wanted, "cloudevents")
            assert b"News ON" in claim.event.body
    report = audited(settings, clock())
    assert report.ok, report
    assert report.totals["events"] == 2


async def test_a_replay_whose_deliveries_retention_deleted_adds_up(settings: StoreSettings) -> None:
    """They are counted for the replay that wrote them."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:
        for number in range(3):
            await store.ingest(message(number, clock))
        await deliver(store)
        await replay.start(store, CRM, Selection(filter=MessageFilter(provider="agile")), clock, 99)
        await carry_out(store, clock)
        assert len(await deliver(store)) == 3
        clock.forward(86401)
        swept = await Retention(store, {"records": 86400.0}, clock, pause).sweep()
        assert swept == {"records": 2}
    report = audited(settings, clock())
    assert report.ok, report
    assert report.totals["deleted.deliveries"] == 4

"""Claims that were not tried are undone, and nothing else is."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bridge.config.settings import StoreSettings
from bridge.model import Delivered, DeliveryState, Hold
from bridge.store import hold_endpoint, outbox, take_snapshot
from bridge.store.queries import list_deliveries
from tests.store.making import (
    LEASE,
    START,
    Clock,
    attempt,
    audited,
    later,
    many,
    opened,
    writing,
)


async def test_it_is_due_as_before_by_the_same_attempt(
    settings: StoreSettings, clock: Clock
) -> None:
    """Given back, deliveries keep their places in the queue, and their numbers aren't used up."""
    async with opened(settings, clock=clock) as store:
        for item in many(4):
            await store.ingest(item)
            clock.forward(1)
        first, second, third = await store.claim("crm", 3)
        assert [each.due_at for each in (first, second)] == [START, START + timedelta(seconds=1)]
        await store.give_back([third, second])
        assert await store.next_due("crm") == START + timedelta(seconds=1)
        again = await store.claim("crm", 9)
        assert [each.delivery_id for each in again[:2]] == [second.delivery_id, third.delivery_id]
        assert len(again) == 3
        for claim in (first, *again):
            assert claim.attempt == 1
            await store.record(attempt(claim, Delivered()))
    with writing(settings) as connection:
        delivered = list_deliveries(connection, state=DeliveryState.DELIVERED)
        assert [row.attempts for row in delivered] == [1] * 4
    assert audited(settings).ok


async def test_a_retry_that_is_given_back_keeps_its_number_and_step(
    settings: StoreSettings, clock: Clock
) -> None:
    """Earlier attempts stay; the next claim is the same attempt as the one that wasn't made."""
    async with opened(settings, clock=clock) as store:
        (item,) = many(1)
        await store.ingest(item)
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim, later(5)))
        clock.forward(10)
        (claim,) = await store.claim("crm", 1)
        await store.give_back([claim])
        assert await store.claim("crm", 1) == [claim]
        assert (claim.attempt, claim.step) == (2, 1)
        await store.record(attempt(claim))
    assert audited(settings).ok


async def test_what_is_ours_no_longer_is_left_alone(settings: StoreSettings, clock: Clock) -> None:
    """A claim that was recorded, freed or leased anew is not undone."""
    async with opened(settings, clock=clock) as store:
        for item in many(3):
            await store.ingest(item)
        recorded, *others = await store.claim("crm", 3)
        await store.record(attempt(recorded))
        clock.forward(LEASE)
        expired = await store.claim("crm", 2)
        with writing(settings) as connection:
            assert outbox.free_leases(connection, None, clock.now) == 2
        (anew,) = await store.claim("crm", 1)
        await store.give_back([recorded, *others, *expired])
        (freed,) = await store.claim("crm", 9)
        assert anew.delivery_id != freed.delivery_id
        assert {anew.attempt, freed.attempt} == {3}
        await store.record(attempt(anew))
    with writing(settings) as connection:
        delivered = list_deliveries(connection, state=DeliveryState.DELIVERED)
        assert [row.attempts for row in delivered] == [3, 1]
    assert audited(settings).ok


async def test_another_bridges_claim_is_left_alone(postgres, clock: Clock) -> None:
    """A claim of the same number by another bridge, which took over, is not ours to undo."""
    settings = StoreSettings(url=postgres.create_database())
    async with (
        opened(settings, clock=clock, owner="one") as one,
        opened(settings, clock=clock, owner="two") as two,
    ):
        (item,) = many(1)
        await one.ingest(item)
        (mine,) = await one.claim("crm", 1)
        await one.give_back([mine])
        (theirs,) = await two.claim("crm", 1)
        assert theirs.attempt == mine.attempt
        await one.give_back([mine])
        assert await one.claim("crm", 1) == []
        await two.record(attempt(theirs))
    assert audited(settings).ok


async def test_given_back_to_a_held_endpoint_it_is_held(
    settings: StoreSettings, clock: Clock
) -> None:
    """Pending it would look like an operator's retry, and be sent."""
    async with opened(settings, clock=clock) as store:
        for item in many(3):
            await store.ingest(item)
        gone, ahead, before = await store.claim("crm", 3)
        await store.give_back([before])
        await asyncio.gather(
            store.record(attempt(gone, Hold("410 Gone", whole_endpoint=True), status=410)),
            store.give_back([ahead]),
        )
        assert await store.claim("crm", 9) == []
        with writing(settings) as connection:
            held = list_deliveries(connection, state=DeliveryState.HELD)
            assert sorted(row.attempts for row in held) == [0, 0, 1]
            assert {row.reason for row in held} == {"410 Gone"}
    assert audited(settings).ok


async def test_given_back_after_an_operators_hold_it_is_held(
    settings: StoreSettings, clock: Clock
) -> None:
    """The hold left it alone, since it was leased."""
    async with opened(settings, clock=clock) as store:
        (item,) = many(1)
        await store.ingest(item)
        claims = await store.claim("crm", 1)
        with writing(settings) as connection:
            assert hold_endpoint(connection, "crm", "paused", START) == 0
        await store.give_back(claims)
        assert await store.claim("crm", 1) == []
        snapshot = await store.read(take_snapshot)
        assert snapshot.deliveries == {("crm", DeliveryState.HELD): 1}

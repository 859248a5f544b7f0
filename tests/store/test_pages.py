"""A page of a list costs the same however much is in the store, and all pages together are all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from bridge.config.settings import StoreSettings
from bridge.model import ArrivalOutcome, DeliveryState, Reason, SourceKind
from bridge.store import Store, pages
from bridge.store.pages import (
    ArrivalFilter,
    DeliveryFilter,
    Page,
    page_of_arrivals,
    page_of_deliveries,
    page_of_messages,
)
from bridge.store.search import MessageFilter
from tests.store.making import GIVE_UP, attempt, many, opened, sqlite_settings, unreadable

Look = Callable[..., Page[Any]]


async def walk(store: Store, look: Look, limit: int) -> list[Any]:
    """Read all pages."""
    found: list[Any] = []
    page = await store.read(partial(look, limit=limit, before=None))
    while True:
        assert len(page.rows) <= limit
        found += page.rows
        if page.next is None:
            return found
        page = await store.read(partial(look, limit=limit, before=page.next))


async def fill(store: Store, count: int, first: int = 0) -> None:
    """Take messages and mails for quarantine in; every tenth delivery is dead, others delivered."""
    items = many(count, "crm", first=first)
    for number, item in enumerate(items):
        await store.ingest(item)
        if number % 10 == 0:
            raw = b"%d" % (first + number)
            await store.ingest(unreadable(list(Reason)[number % 3], raw))
    while claims := await store.claim("crm", 100):
        for claim in claims:
            dead = claim.delivery_id % 10 == 0
            await store.record(attempt(claim, GIVE_UP, 500) if dead else attempt(claim))


@pytest.mark.parametrize("looked_at", [1000, 7])
async def test_all_pages_are_all(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """By each filter, each row once, newest first; also where most pages find nothing."""
    monkeypatch.setattr(pages, "LOOKED_AT", looked_at)
    async with opened(settings, endpoints=["crm"]) as store:
        await fill(store, 60)
        dead = DeliveryState.DEAD
        everything = await walk(store, partial(page_of_deliveries, which=DeliveryFilter()), 9)
        assert [row.id for row in everything] == list(range(60, 0, -1))
        for which in (
            DeliveryFilter(state=dead), DeliveryFilter(state=dead, endpoint="crm"),
            DeliveryFilter(status=500), DeliveryFilter(status=500, source=SourceKind.SMTP),
        ):  # fmt: skip
            found = await walk(store, partial(page_of_deliveries, which=which), 2)
            assert [row.id for row in found] == [60, 50, 40, 30, 20, 10], which
        assert (
            await walk(store, partial(page_of_deliveries, which=DeliveryFilter(status=404)), 2)
            == []
        )
        quarantined = ArrivalFilter(outcome=ArrivalOutcome.QUARANTINE)
        mails = await walk(store, partial(page_of_arrivals, which=quarantined), 4)
        ids = [row.id for row in mails]
        assert (len(ids), ids) == (6, sorted(ids, reverse=True))
        by_reason = [
            await walk(
                store,
                partial(page_of_arrivals, which=ArrivalFilter(
                    outcome=ArrivalOutcome.QUARANTINE, reason=reason)),
                1,
            )
            for reason in Reason
        ]  # fmt: skip
        assert sorted(row.id for some in by_reason for row in some) == sorted(ids)
        every = await walk(store, partial(page_of_arrivals, which=ArrivalFilter()), 10)
        assert len(every) == 66
        number = MessageFilter(number="+393301234567")
        for message_filter in (MessageFilter(), number, MessageFilter(state=dead)):
            rows = await walk(store, partial(page_of_messages, which=message_filter), 7)
            wanted = 6 if message_filter.state else 60
            assert len({row.message.id for row in rows}) == len(rows) == wanted, message_filter
            assert [row.arrival_id for row in rows] == sorted(
                (row.arrival_id for row in rows), reverse=True
            )


def steps(connection: Connection, look: Look) -> int:
    """Count the steps of SQLite that a page takes, in hundreds."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(step, 100)
    look(connection, limit=10, before=None)
    driver.set_progress_handler(None, 0)
    return count


async def test_a_page_costs_the_same_in_a_larger_store(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, most of all what is not there."""
    monkeypatch.setattr(pages, "LOOKED_AT", 12)
    monkeypatch.setattr(pages, "_FEW", 12)
    looks: list[Look] = [
        partial(page_of_deliveries, which=which)
        for which in (
            DeliveryFilter(), DeliveryFilter(status=404), DeliveryFilter(endpoint="nobody"),
            DeliveryFilter(state=DeliveryState.DEAD), DeliveryFilter(state=DeliveryState.HELD),
            DeliveryFilter(state=DeliveryState.DELIVERED, endpoint="crm"),
            DeliveryFilter(provider="nobody"), DeliveryFilter(source=SourceKind.IMAP),
        )
    ]  # fmt: skip
    looks += [
        partial(page_of_arrivals, which=which)
        for which in (
            ArrivalFilter(), ArrivalFilter(outcome=ArrivalOutcome.QUARANTINE),
            ArrivalFilter(outcome=ArrivalOutcome.QUARANTINE, reason=Reason.INTERNAL),
            ArrivalFilter(provider="nobody"),
        )
    ]  # fmt: skip
    looks += [
        partial(page_of_messages, which=which)
        for which in (
            MessageFilter(), MessageFilter(number="+390000000000"),
            MessageFilter(number="+393301234567"), MessageFilter(provider="nobody"),
            MessageFilter(state=DeliveryState.HELD),
        )
    ]  # fmt: skip
    costs = []
    async with opened(sqlite_settings(tmp_path / "bridge.db"), endpoints=["crm"]) as store:
        for first in (0, 300, 600, 900):
            await asyncio.gather(fill(store, 300, first))
            costs.append([await store.read(partial(steps, look=look)) for look in looks])
    for look, small, large in zip(looks, costs[1], costs[-1], strict=True):
        assert large <= small * 1.3 + 20, (look, [each[looks.index(look)] for each in costs])

"""Pages leave nothing out, and none looks through the whole store for what is rarely found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bridge.operations import listing
from bridge.store import Lease, Store, ingest_many
from bridge.store import pages as store_pages
from bridge.store.moments import arrival_time, arrivals_since, arrivals_until, delivery_time
from bridge.store.search import MessageFilter
from tests.store.making import START, Clock, many, opened, sqlite_settings

COUNT = 60
DAY = timedelta(days=1)
Document = dict[str, Any]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Fill a store with a message a day, and deliveries in each state."""
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=Clock()) as filled:

        def fill(connection: Connection) -> None:
            ingest_many(connection, many(COUNT), Lease("test", START, START))
            day = DAY // timedelta(microseconds=1)
            connection.execute(
                text("UPDATE arrivals SET received_at = received_at + :day * id"), {"day": day}
            )
            for state, first in (("held", 10), ("dead", 20), ("delivered", 30), ("filtered", 40)):
                connection.execute(
                    text("UPDATE deliveries SET state = :state WHERE id BETWEEN :a AND :b"),
                    {"state": state, "a": first, "b": first + 4},
                )

        await filled.change(fill)
        yield filled


def turning(store: Store, **which: Any) -> Callable[[int, int | None], Awaitable[Document]]:
    ends = which.pop("ends", False)

    def turn(limit: int, before: int | None) -> Awaitable[Document]:
        return listing.messages(
            store, MessageFilter(**which), None, limit=limit, before=before, numbers=True,
            texts=True, ends=ends,
        )  # fmt: skip

    return turn


async def test_ids_are_found_by_their_times(store: Store) -> None:
    """Halving finds the day's arrival, and the ends of what is there."""
    for number in (1, 7, COUNT):
        moment = await store.read(partial(arrival_time, arrival_id=number))
        assert moment is not None
        assert await store.read(partial(arrivals_since, moment=moment)) == number - 1
        assert await store.read(partial(arrivals_until, moment=moment)) == number
    assert await store.read(partial(arrivals_since, moment=START - DAY)) == 0
    assert await store.read(partial(arrivals_until, moment=START + 2 * COUNT * DAY)) == COUNT
    assert await store.read(partial(arrival_time, arrival_id=0)) is None
    assert await store.read(partial(delivery_time, delivery_id=1)) is not None


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ({}, COUNT),
        ({"since": START + 50 * DAY}, COUNT - 49),
        ({"until": START + 11 * DAY}, 10),
        ({"since": START + 5 * DAY, "until": START + 8 * DAY}, 3),
        ({"number": "4567", "ends": True}, COUNT),
        ({"number": "4567"}, 0),
        ({"number": "9999", "ends": True}, 0),
    ],
)
async def test_turning_pages_leaves_nothing_out(
    store: Store, monkeypatch: pytest.MonkeyPatch, which: Document, count: int
) -> None:
    """Each row comes once, however few rows a page looks at."""
    monkeypatch.setattr(store_pages, "LOOKED_AT", 3)
    found: list[str] = []
    before: int | None = None
    while True:
        page = await listing.patiently(turning(store, **which), 4, before)
        found += [each["id"] for each in page["data"]]
        if page["next"] is None:
            break
        before = page["next"]
    assert len(found) == len(set(found)) == count


async def test_a_time_is_looked_up_and_not_looked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest ones are on the first page, without going through those after them."""
    monkeypatch.setattr(store_pages, "LOOKED_AT", 3)
    page = await turning(store, until=START + 3 * DAY)(10, None)
    assert len(page["data"]) == 2


async def test_patience_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pages of nothing are enough for one answer, which says where to go on."""
    monkeypatch.setattr(store_pages, "LOOKED_AT", 3)
    page = await listing.patiently(turning(store, text="absent"), 4, None)
    assert (page["data"], page["next"]) == ([], COUNT - 30 + 1)


async def test_an_endpoints_newest_are_of_all_states_but_filtered(store: Store) -> None:
    """They are found by the indexes of the states, and come in the order of their ids."""
    found = await listing.newest_of_endpoint(store, lambda: START, "crm", 45)
    ids = [each["id"] for each in found]
    assert ids == sorted(ids, reverse=True)
    assert not {40, 44} & set(ids)
    assert {30, 39, 45, COUNT} <= set(ids)
    assert await listing.newest_of_endpoint(store, lambda: START, "none", 5) == []

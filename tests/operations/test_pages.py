"""Pages leave nothing out, and none looks through the whole store for what is rarely found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bridge.model import DeliveryState
from bridge.operations import pages
from bridge.operations.pages import Page, delivery_page, message_page, quarantine_page
from bridge.store import Lease, Store, ingest_many
from bridge.store.search import MessageFilter
from tests.store.making import START, Clock, many, opened, sqlite_settings, unreadable

COUNT = 300
Turn = Callable[[Store, int | None], Awaitable[Page]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Fill a store: messages, some deliveries in each state, and mails in quarantine."""
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=Clock()) as filled:

        def fill(connection: Connection) -> None:
            quarantined = [unreadable(raw=b"%d" % number) for number in range(5)]
            ingest_many(connection, [*quarantined, *many(COUNT)], Lease("test", START, START))
            for state, first in (("held", 20), ("dead", 40), ("delivered", 60), ("filtered", 7)):
                connection.execute(
                    text("UPDATE deliveries SET state = :state WHERE id BETWEEN :a AND :b"),
                    {"state": state, "a": first, "b": first + 9},
                )

        await filled.change(fill)
        yield filled


async def read_all(store: Store, turn: Turn) -> list[list[dict[str, Any]]]:
    """Turn page after page, to the last."""
    found = []
    before: int | None = None
    while True:
        page = await turn(store, before)
        found.append(page.rows)
        if page.next is None:
            return found
        assert before is None or page.next < before, "it goes round in circles"
        before = page.next


def of_messages(which: MessageFilter) -> Turn:
    return lambda store, before: message_page(store, which, limit=7, before=before)


def of_deliveries(**which: Any) -> Turn:
    return lambda store, before: delivery_page(
        store, lambda: START, ["crm", "none"], limit=7, before=before, **which
    )


@pytest.mark.parametrize(
    ("turn", "count"),
    [
        (of_messages(MessageFilter()), COUNT),
        (of_messages(MessageFilter(state=DeliveryState.DEAD)), 10),
        (of_messages(MessageFilter(number="no such number")), 0),
        (of_messages(MessageFilter(since=START - timedelta(days=1))), COUNT),
        (of_messages(MessageFilter(since=START + timedelta(days=1))), 0),
        (of_messages(MessageFilter(until=START - timedelta(days=1))), 0),
        (of_deliveries(), COUNT),
        (of_deliveries(endpoint="crm"), COUNT - 10),
        (of_deliveries(endpoint="none"), 0),
        (of_deliveries(state=DeliveryState.DEAD), 10),
        (of_deliveries(state=DeliveryState.DEAD, endpoint="crm"), 10),
        (of_deliveries(state=DeliveryState.DELIVERED), 10),
        (of_deliveries(state=DeliveryState.FILTERED), 10),
        (of_deliveries(state=DeliveryState.FILTERED, endpoint="none"), 0),
        (lambda store, before: quarantine_page(store, limit=2, before=before), 5),
    ],
)
@pytest.mark.parametrize("looked_at", [17, 20_000])
async def test_pages_leave_nothing_out(
    store: Store, monkeypatch: pytest.MonkeyPatch, turn: Turn, count: int, looked_at: int
) -> None:
    """Each row comes once, newest first, however far one page looks back."""
    monkeypatch.setattr(pages, "LOOKED_AT", looked_at)
    ids = [each["id"] for rows in await read_all(store, turn) for each in rows]
    assert len(ids) == len(set(ids)) == count


@pytest.mark.parametrize(
    "turn",
    [
        of_messages(MessageFilter(number="no such number")),
        of_deliveries(state=DeliveryState.FILTERED, endpoint="none"),
    ],
)
async def test_what_is_rarely_found_is_not_looked_for_in_all(
    store: Store, monkeypatch: pytest.MonkeyPatch, turn: Turn
) -> None:
    """A page that has looked far enough says how far, and where it goes on."""
    monkeypatch.setattr(pages, "LOOKED_AT", 100)
    page = await turn(store, None)
    assert (page.rows, page.next is not None) == ([], True)
    assert page.looked_back_to is not None
    assert len(await read_all(store, turn)) in {3, 4}

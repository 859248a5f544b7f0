"""An endpoint's stream can be read: each number's event, or why there is none any more."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert, update

from bridge.config.settings import StoreSettings
from bridge.operations.retention import Retention
from bridge.store import Store
from bridge.store.erase import erase_messages
from bridge.store.stream import Gone, Page, read_page
from bridge.store.stream_tables import deleted_numbers
from bridge.store.tables import deliveries
from tests.store.making import GIVE_UP, Clock, attempt, many, opened, sqlite_settings
from tests.store.test_sequences import DAY, deliver, rest

ALL = 2**20


async def page(store: Store, after: int = 0, most: int = 100, most_bytes: int = ALL) -> Page:
    read = partial(read_page, endpoint="crm", after=after, most=most, most_bytes=most_bytes)
    return await store.read(read)


async def test_each_number_has_its_event_whatever_became_of_it(settings: StoreSettings) -> None:
    """Waiting, delivered and dead ones are there with their bytes, and reading changes none."""
    async with opened(settings) as store:
        items = many(4, "crm", "erp")
        for item in items:
            await store.ingest(item)
        first, second, _ = await store.claim("crm", 3)
        await store.record(attempt(first))
        await store.record(attempt(second, GIVE_UP))
        found = await page(store)
        assert [(each.sequence, each.state.value, each.attempts) for each in found.deliveries] == [
            (1, "delivered", 1), (2, "dead", 1), (3, "pending", 1), (4, "pending", 0),
        ]  # fmt: skip
        sent = [item.messages[0].events[0] for item in items]
        assert [each.event for each in found.deliveries] == sent
        assert (found.gone, found.through, found.last) == ((), 4, 4)
        assert await page(store) == found
        assert [each.sequence for each in await store.claim("crm", 5)] == [4]
        nobody = partial(read_page, endpoint="none", after=0, most=10, most_bytes=ALL)
        assert await store.read(nobody) == Page(0, 0, 0, (), ())


async def test_pages_join_without_a_gap(settings: StoreSettings) -> None:
    """A page ends at its last event, by count or by size; the next one goes on there."""
    async with opened(settings) as store:
        for item in many(5):
            await store.ingest(item)
        size = len(many(1)[0].messages[0].events[0].body)
        for bounds in ((2, ALL), (100, 2 * size)):
            after, seen = 0, []
            while (found := await page(store, after, *bounds)).deliveries:
                assert len(found.deliveries) <= 2
                seen += [each.sequence for each in found.deliveries]
                after = found.through
            assert seen == [1, 2, 3, 4, 5]
        one = await page(store, 3, 100, 1)  # never none, or the reader would not get on
        assert [each.sequence for each in one.deliveries] == [4]
        ahead = await page(store, 9)
        assert (ahead.deliveries, ahead.through, ahead.last) == ((), 9, 5)


async def test_what_is_gone_says_why(settings: StoreSettings) -> None:
    """Numbers that were erased, purged or deleted are told as such, in ranges."""
    clock = Clock()
    async with opened(settings, clock=clock) as store:

        async def come(first: int, count: int) -> list[str]:
            items = many(count, first=first)
            for item in items:
                await store.ingest(item)
            return [item.messages[0].message.id for item in items]

        async def sweep(**ages: float) -> None:
            await Retention(store, ages, clock, rest).sweep()

        await come(0, 3)
        await deliver(store)
        clock.forward(2 * DAY)
        await come(3, 1)  # waits, and so it stays
        await sweep(records=DAY)
        ids = await come(4, 2)
        erase = partial(erase_messages, ids=ids, now=clock(), even_undelivered=True)
        assert await store.change(erase) == 2
        await come(6, 1)
        await deliver(store)
        clock.forward(2 * DAY)
        await sweep(bodies=DAY)
        await come(7, 1)
        found = await page(store)
        assert found.gone == (
            Gone(1, 3, "deleted"), Gone(4, 4, "purged"), Gone(5, 6, "erased"),
            Gone(7, 7, "purged"),
        )  # fmt: skip
        assert [each.sequence for each in found.deliveries] == [8]
        assert (await page(store, 1, 1)).gone == (Gone(2, 3, "deleted"), Gone(4, 4, "purged"))
        assert (await page(store, 3, 2)).gone == (Gone(4, 4, "purged"), Gone(5, 5, "erased"))


async def test_page_reads_no_more_of_a_long_stream(tmp_path: Path) -> None:
    """Neither what is around the page nor deleted numbers far from it cost SQLite a step."""
    costs = []
    async with opened(sqlite_settings(tmp_path / "bridge.db")) as store:
        for first, last in ((0, 60), (60, 1500)):
            items = many(last - first, "crm", "erp", first=first)
            await asyncio.gather(*(store.ingest(each) for each in items))
            await store.change(partial(scatter, first=first, last=last))
            costs.append(await store.read(steps))
    assert costs[0] > 100
    assert costs[1] <= costs[0] * 1.1, costs


def scatter(connection: Connection, first: int, last: int) -> None:
    """Let every second number be deleted, each by itself: of this endpoint's, none in the page."""
    which = deliveries.c.sequence
    numbers = [each for each in range(first + 1, last + 1) if each % 2 and not 20 < each < 50]
    connection.execute(
        insert(deleted_numbers), [{"endpoint": "crm", "first": n, "last": n} for n in numbers]
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.endpoint == "crm", which.in_(numbers))
        .values(sequence=None)
    )


def steps(connection: Connection) -> int:
    """Count the steps of SQLite that a page takes."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(step, 1)
    found = read_page(connection, "crm", 30, 10, ALL)
    driver.set_progress_handler(None, 1)
    assert [each.sequence for each in found.deliveries] == list(range(31, 41))
    return count

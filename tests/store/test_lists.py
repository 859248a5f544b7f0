"""A list, and what a scrape reads, cost the same in a small store and in a big one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text, update

from bridge.model import DeliveryState
from bridge.store import Database, Lease, ingest_many, queries
from bridge.store.endpoints import BEHIND, PENDING
from bridge.store.snapshot import take_snapshot
from bridge.store.tables import deliveries
from tests.store.making import START, many, sqlite_settings, unreadable

FEW, MANY = 100, 2000
READS: dict[str, Callable[[Connection], object]] = {
    "a scrape": take_snapshot,
    "messages": partial(queries.list_messages, limit=5),
    "deliveries": partial(queries.list_deliveries, limit=5),
    "quarantine": partial(queries.list_quarantine, limit=5),
    "quarantine behind": partial(queries.list_quarantine, limit=5, before=4),
    "of one reason": partial(queries.list_quarantine, limit=5, reason="unreadable"),
    **{
        state: partial(queries.list_deliveries, limit=5, endpoint="crm", state=state)
        for state in DeliveryState
        if state is not DeliveryState.FILTERED
    },
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fill two stores with messages, behind three arrivals in quarantine.

    Ten of the oldest are held, ten dead and ten delivered; most of the others wait behind another.
    """
    folder = tmp_path_factory.mktemp("lists")
    for count in (FEW, MANY):
        database = Database.open(sqlite_settings(folder / f"{count}.db"), migrate=True)
        with closing(database), database.begin() as connection:
            quarantined = [unreadable(raw=b"%d" % number) for number in range(3)]
            ingest_many(connection, [*quarantined, *many(count)], Lease("test", START, START))
            for state, first in (
                (DeliveryState.HELD, 20), (DeliveryState.DEAD, 40), (DeliveryState.DELIVERED, 60)
            ):  # fmt: skip
                connection.execute(
                    text("UPDATE deliveries SET state = :state WHERE id BETWEEN :first AND :last"),
                    {"state": state.value, "first": first, "last": first + 10},
                )
            parked = update(deliveries).where(deliveries.c.id > 80, PENDING).values(due_at=BEHIND)
            connection.execute(parked)
    return [folder / f"{count}.db" for count in (FEW, MANY)]


@pytest.mark.parametrize("name", READS)
def test_a_read_takes_as_many_steps_in_a_big_store(stores: list[Path], name: str) -> None:
    """SQLite counts its own steps; twenty times the rows may not make them half as many again."""
    steps = []
    for path in stores:
        with closing(Database.open(sqlite_settings(path))) as database:
            steps.append(_steps(database, READS[name]))
    few, big = steps
    assert big <= 1.5 * few


def _steps(database: Database, read: Callable[[Connection], object]) -> int:
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(step, 1)
        found = read(connection)
        driver.set_progress_handler(None, 1)
    assert found
    return count

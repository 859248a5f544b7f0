"""Draws the keys of new rows before they are written, so that rows can name each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

from sqlalchemy import Connection, func, literal_column, select

from bridge.store import postgres, tables
from bridge.store.statements import Statement
from bridge.store.stream_tables import damage


def newest_arrival(connection: Connection) -> int:
    """Return the highest number of an arrival; 0 if there is none."""
    [(newest, _, _)] = _LAST_KEYS.select(connection)
    return int(newest)


def new_keys(
    connection: Connection, arrivals: int, deliveries: int
) -> tuple[Iterator[int], Iterator[int]]:
    """Draw new keys of both tables, so that every row is known before any is written.

    On SQLite nobody else writes while we hold the write lock, and the newest rows are never
    deleted. The numbers of arrivals that were lost are not given again.
    """
    if postgres.is_postgres(connection):
        return (
            iter(postgres.next_keys(connection, "arrivals", arrivals)),
            iter(postgres.next_keys(connection, "deliveries", deliveries)),
        )
    [(last_arrival, last_delivery, missing)] = _LAST_KEYS.select(connection)
    return count(max(last_arrival, missing) + 1), count(last_delivery + 1)


_LAST_KEYS: Final = Statement(
    select(
        *(
            select(func.coalesce(func.max(column), literal_column("0"))).scalar_subquery()
            for column in (tables.arrivals.c.id, tables.deliveries.c.id, damage.c.last)
        )
    )
)

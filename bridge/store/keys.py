"""Draws the keys of new rows before they are written, so that rows can name each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

from sqlalchemy import Connection, func, literal_column, select

from bridge.store import postgres, tables
from bridge.store.statements import Statement


def new_keys(
    connection: Connection, arrivals: int, deliveries: int
) -> tuple[Iterator[int], Iterator[int]]:
    """Draw new keys of both tables, so that every row is known before any is written.

    On SQLite nobody else writes while we hold the write lock, and the newest rows are never
    deleted.
    """
    if postgres.is_postgres(connection):
        return (
            iter(postgres.next_keys(connection, "arrivals", arrivals)),
            iter(postgres.next_keys(connection, "deliveries", deliveries)),
        )
    [(last_arrival, last_delivery)] = _LAST_KEYS.select(connection)
    return count(last_arrival + 1), count(last_delivery + 1)


_LAST_KEYS: Final = Statement(
    select(
        *(
            select(func.coalesce(func.max(table.c.id), literal_column("0"))).scalar_subquery()
            for table in (tables.arrivals, tables.deliveries)
        )
    )
)

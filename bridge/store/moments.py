"""When rows came, found by their ids: ids rise with the times, so a few seeks are enough."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from bridge.store.tables import arrivals, deliveries

# A mail may be committed so much later than it came, and have a higher id than those after it.
_UNORDERED: Final = timedelta(minutes=1)


def arrivals_until(connection: Connection, moment: datetime) -> int:
    """Return an id above which nothing came before this time."""
    return _halved(connection, moment, _UNORDERED)


def arrivals_since(connection: Connection, moment: datetime) -> int:
    """Return an id up to which nothing came at this time or later."""
    return _halved(connection, moment, -_UNORDERED)


def arrival_time(connection: Connection, arrival_id: int) -> datetime | None:
    """Return when the last arrival up to this id came in; None if there is none."""
    found = _last_up_to(connection, arrival_id)
    return None if found is None else found[1]


def delivery_time(connection: Connection, delivery_id: int) -> datetime | None:
    """Return when the last delivery up to this id was made; None if there is none."""
    query = (
        select(deliveries.c.created_at)
        .where(deliveries.c.id <= delivery_id)
        .order_by(deliveries.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def _halved(connection: Connection, moment: datetime, later: timedelta) -> int:
    """Return the last id that came before a time and so much later, as if times rose with the ids.

    What is added to times of ours is never added to one that is asked for: that may be the last.
    """
    low = 0
    high = int(connection.execute(select(func.coalesce(func.max(arrivals.c.id), 0))).scalar_one())
    while low < high:
        middle = (low + high + 1) // 2
        found = _last_up_to(connection, middle)
        if found is None or found[1] - later < moment:
            low = middle
        else:
            high = found[0] - 1
    return low


def _last_up_to(connection: Connection, arrival_id: int) -> tuple[int, datetime] | None:
    query = (
        select(arrivals.c.id, arrivals.c.received_at)
        .where(arrivals.c.id <= arrival_id)
        .order_by(arrivals.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).first()
    return None if found is None else (found.id, found.received_at)

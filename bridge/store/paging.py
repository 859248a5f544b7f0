"""Which rows a page of a list shows, found by seeks: none of them goes through a whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, select

from bridge.model import DeliveryState
from bridge.store.endpoints import DEAD, DELIVERED, HELD, PENDING, WAITING_OR_HELD
from bridge.store.tables import arrivals, deliveries

# Arrivals whose ids may be in another order than their times, where several bridges store at once.
_UNORDERED: Final = timedelta(minutes=5)
_FILTERED: Final = deliveries.c.state == literal_column("'filtered'")
# Each has an index in the order of the ids, for one endpoint.
_INDEXED: Final[Mapping[DeliveryState, ColumnElement[bool]]] = {
    DeliveryState.PENDING: PENDING & WAITING_OR_HELD,
    DeliveryState.HELD: HELD,
    DeliveryState.DEAD: DEAD,
    DeliveryState.DELIVERED: DELIVERED,
}


def delivery_ids(
    connection: Connection,
    endpoints: Sequence[str],
    state: DeliveryState | None,
    before: int,
    most: int,
) -> list[int]:
    """Return the newest ids below `before` of these endpoints' deliveries, newest first.

    Without a state, of all but the filtered ones, which have no index.
    """
    conditions = _INDEXED.values() if state is None else (_INDEXED[state],)
    found: list[int] = []
    for endpoint in endpoints:
        for condition in conditions:
            query = (
                select(deliveries.c.id)
                .where(condition, deliveries.c.endpoint == endpoint, deliveries.c.id < before)
                .order_by(deliveries.c.id.desc())
                .limit(most)
            )
            found += connection.execute(query).scalars()
    return nlargest(most, found)


def filtered_ids(
    connection: Connection, endpoint: str | None, above: int, before: int, most: int
) -> list[int]:
    """Return the newest ids of filtered deliveries between two ids, newest first."""
    query = (
        select(deliveries.c.id)
        .where(_FILTERED, deliveries.c.id > above, deliveries.c.id < before)
        .order_by(deliveries.c.id.desc())
        .limit(most)
    )
    if endpoint is not None:
        query = query.where(deliveries.c.endpoint == endpoint)
    return list(connection.execute(query).scalars())


def these(ids: Sequence[int]) -> Select[tuple[int]]:
    """Select deliveries by their ids."""
    return select(deliveries.c.id).where(deliveries.c.id.in_(ids))


def delivery_time(connection: Connection, delivery_id: int) -> datetime | None:
    """Return when the last delivery up to this id was made; None if there is none."""
    query = (
        select(deliveries.c.created_at)
        .where(deliveries.c.id <= delivery_id)
        .order_by(deliveries.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def newest_delivery(connection: Connection) -> int:
    """Return the highest id of a delivery, 0 if there is none."""
    query = select(func.coalesce(func.max(deliveries.c.id), 0))
    return int(connection.execute(query).scalar_one())


def newest_arrival(connection: Connection) -> int:
    """Return the highest id of an arrival, 0 if there is none."""
    return int(connection.execute(select(func.coalesce(func.max(arrivals.c.id), 0))).scalar_one())


def arrival_time(connection: Connection, arrival_id: int) -> datetime | None:
    """Return when the last arrival up to this id came in; None if there is none."""
    found = _last_up_to(connection, arrival_id)
    return None if found is None else found[1]


def arrivals_until(connection: Connection, moment: datetime) -> int:
    """Return an id above which nothing came before this time, by halving: a few seeks."""
    return _halved(connection, moment + _UNORDERED)


def arrivals_since(connection: Connection, moment: datetime) -> int:
    """Return an id up to which nothing came at this time or later, by halving: a few seeks."""
    return _halved(connection, moment - _UNORDERED)


def _halved(connection: Connection, moment: datetime) -> int:
    """Return the last id that came before a time, as if times rose with the ids."""
    low, high = 0, newest_arrival(connection)
    while low < high:
        middle = (low + high + 1) // 2
        found = _last_up_to(connection, middle)
        if found is None or found[1] < moment:
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

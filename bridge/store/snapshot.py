"""What is open in the store right now, counted: for the gauges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, func, literal_column, select

from bridge.model import ArrivalOutcome, DeliveryState, Reason
from bridge.store.endpoints import PENDING, STOPPED, held_endpoints
from bridge.store.statements import Statement
from bridge.store.tables import arrivals, deliveries


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Open deliveries and quarantine, counted in one read transaction.

    Delivered and filtered ones are not counted: there may be tens of millions, and they are at
    rest. `oldest_due` is when the endpoint's next delivery may be claimed, in the past if it waits.
    """

    deliveries: Mapping[tuple[str, DeliveryState], int]
    oldest_due: Mapping[str, datetime]
    quarantine: Mapping[Reason, int]
    held_endpoints: Mapping[str, str]


_PENDING: Final = (
    select(
        deliveries.c.endpoint,
        func.count().label("count"),
        func.min(deliveries.c.due_at).label("due_at"),
    )
    .where(PENDING)
    .group_by(deliveries.c.endpoint)
)
_STOPPED: Final = (
    select(deliveries.c.state, deliveries.c.endpoint, func.count().label("count"))
    .where(STOPPED)
    .group_by(deliveries.c.state, deliveries.c.endpoint)
)
_QUARANTINE: Final = (
    select(arrivals.c.reason, func.count().label("count"))
    .where(arrivals.c.outcome == literal_column(f"'{ArrivalOutcome.QUARANTINE}'"))
    .group_by(arrivals.c.reason)
)


_OLDEST: Final = Statement(
    select(deliveries.c.created_at).where(
        deliveries.c.id
        == select(func.min(deliveries.c.id))
        .where(
            deliveries.c.endpoint == bindparam("wanted"),
            deliveries.c.state.in_([literal_column("'pending'"), literal_column("'held'")]),
        )
        .scalar_subquery()
    )
)


def oldest_undelivered(connection: Connection, endpoints: Sequence[str]) -> Mapping[str, datetime]:
    """Return since when each endpoint's oldest undelivered delivery waits, for those with one.

    Waiting for a retry and held ones included; one seek in an index for each endpoint.
    """
    found = {each: _OLDEST.select(connection, wanted=each) for each in endpoints}
    return {endpoint: rows[0][0] for endpoint, rows in found.items() if rows}


def take_snapshot(connection: Connection) -> Snapshot:
    """Count, in the database and from indexes alone."""
    pending = connection.execute(_PENDING).all()
    stopped = connection.execute(_STOPPED).all()
    counts = {(row.endpoint, DeliveryState.PENDING): row[1] for row in pending}
    counts |= {(row.endpoint, DeliveryState(row.state)): row[2] for row in stopped}
    return Snapshot(
        deliveries=counts,
        oldest_due={row.endpoint: row.due_at for row in pending},
        quarantine={Reason(row.reason): row[1] for row in connection.execute(_QUARANTINE)},
        held_endpoints=held_endpoints(connection),
    )

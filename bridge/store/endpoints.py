"""Holding an endpoint: its deliveries wait, all of them, until an operator says go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, literal_column, null, select, update

from bridge.model import DeliveryState
from bridge.store import postgres
from bridge.store.statements import Statement
from bridge.store.tables import deliveries, endpoints

NOT_CONFIGURED: Final = "endpoint is not in the config"

# Literals, not parameters: SQLite uses a partial index only if the query itself says its WHERE.
PENDING: Final[ColumnElement[bool]] = deliveries.c.state == literal_column("'pending'")
STOPPED: Final[ColumnElement[bool]] = deliveries.c.state.in_(
    [literal_column("'held'"), literal_column("'dead'")]
)
HELD: Final[ColumnElement[bool]] = STOPPED & (deliveries.c.state == literal_column("'held'"))
DEAD: Final[ColumnElement[bool]] = STOPPED & (deliveries.c.state == literal_column("'dead'"))
UNLEASED: Final[ColumnElement[bool]] = deliveries.c.leased_by.is_(None)

_HELD_ENDPOINTS: Final = Statement(
    select(endpoints.c.name, endpoints.c.held_reason).where(endpoints.c.held_reason.is_not(None))
)


def held_endpoints(connection: Connection) -> Mapping[str, str]:
    """Return the endpoints that are held, each with why."""
    return dict(_HELD_ENDPOINTS.select(connection))


def hold_endpoint(connection: Connection, endpoint: str, reason: str, now: datetime) -> int:
    """Hold an endpoint and its pending deliveries; return how many those are.

    An attempt in flight goes on: its record finds the endpoint held. Deliveries that are
    written later are written held. Needs a write transaction.
    """
    postgres.lock_holds(connection, change=True)
    _set_hold(connection, endpoint, reason, now)
    held = connection.execute(
        update(deliveries)
        .where(deliveries.c.endpoint == endpoint, PENDING, UNLEASED)
        .values(state=DeliveryState.HELD, reason=reason, changed_at=now)
    )
    return held.rowcount


def resume_endpoint(connection: Connection, endpoint: str, now: datetime) -> int:
    """Let an endpoint's deliveries go again, each by a new schedule; return how many were held.

    Also those that were held one by one. Needs a write transaction.
    """
    postgres.lock_holds(connection, change=True)
    _set_hold(connection, endpoint, None, None)
    return _release(connection, [deliveries.c.endpoint == endpoint, HELD], now)


def match_config(connection: Connection, configured: Sequence[str], now: datetime) -> None:
    """Hold what is pending for endpoints that left the config; release it when they are back.

    A delivery that is leased is left alone: somebody may be at it. Needs a write transaction.
    """
    postgres.take_time(connection)
    postgres.lock_holds(connection, change=True)
    held = held_endpoints(connection)
    connection.execute(
        update(deliveries)
        .where(deliveries.c.endpoint.not_in(configured), PENDING, UNLEASED)
        .values(state=DeliveryState.HELD, reason=NOT_CONFIGURED, changed_at=now)
    )
    for endpoint in configured:
        mine = [deliveries.c.endpoint == endpoint, HELD, deliveries.c.reason == NOT_CONFIGURED]
        if endpoint in held:
            connection.execute(update(deliveries).where(*mine).values(reason=held[endpoint]))
        else:
            _release(connection, mine, now)


def _set_hold(
    connection: Connection, endpoint: str, reason: str | None, at: datetime | None
) -> None:
    values = {"held_reason": reason, "held_at": at}
    found = connection.execute(update(endpoints).where(endpoints.c.name == endpoint).values(values))
    if not found.rowcount:
        connection.execute(insert(endpoints).values(name=endpoint, **values))


def _release(connection: Connection, which: Sequence[ColumnElement[bool]], now: datetime) -> int:
    released = connection.execute(update(deliveries).where(*which).values(again(now)))
    return released.rowcount


def again(now: datetime) -> Mapping[str, object]:
    """Return what makes a delivery pending by a new schedule; its attempts go on counting."""
    return {
        "state": DeliveryState.PENDING,
        "reason": null(),
        "step": 0,
        "schedule_from": now,
        "due_at": now,
        "leased_by": null(),
        "changed_at": now,
    }

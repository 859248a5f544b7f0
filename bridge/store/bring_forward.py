"""Ends the wait of deliveries that failed, when an outage is over.

Each is then due since its schedule began. So the oldest goes first, whatever it waited for, also
among those whose next try was overdue already, and those that were never tried. What failed again
since the last time is due now, and so behind all of them: there may be nothing wrong but itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    update,
)

from bridge.store.endpoints import BEHIND, PENDING, UNLEASED, WAITING_OR_HELD
from bridge.store.tables import deliveries


class Brought(NamedTuple):
    """How many were made due, the id of the last one looked at (None: the end), and when."""

    made: int
    last: int | None
    at: datetime


def bring_forward(
    connection: Connection,
    endpoint: str,
    after: int,
    limit: int,
    now: datetime,
    over_since: datetime | None = None,
    again_since: datetime | None = None,
) -> Brought:
    """Make due what failed, of the next `limit` open deliveries behind the one with the id `after`.

    Those that the endpoint asked to wait for (`not_before`) go on waiting, unless it asked before
    `over_since`, when its failover URL came into use, which asked for nothing. In-flight ones are
    skipped. Their steps are kept: one that fails again waits as long as it would have.
    `again_since`: when this was done before. Needs a write transaction.
    """
    due = _due(now, again_since)
    some = (
        select(deliveries.c.id, _may_be_earlier(now, over_since, due).label("failed"))
        .where(deliveries.c.endpoint == endpoint, WAITING_OR_HELD, deliveries.c.id > after)
        .order_by(deliveries.c.id)
        .limit(limit)
        .subquery()
    )
    last, failed = connection.execute(
        select(func.max(some.c.id), func.count().filter(some.c.failed)).select_from(some)
    ).one()
    if not failed:
        return Brought(0, last, now)
    mine = (
        select(deliveries.c.id)
        .where(
            deliveries.c.endpoint == endpoint,
            WAITING_OR_HELD,
            deliveries.c.id > after,
            deliveries.c.id <= last,
            _may_be_earlier(now, over_since, due),
        )
        .with_for_update(skip_locked=True)
    )
    return Brought(_make_due(connection, mine, due, now), last, now)


def try_one(
    connection: Connection, endpoint: str, now: datetime, over_since: datetime | None = None
) -> int:
    """Make one due that waits for a retry, the one that is due next; return how many that was."""
    due = _due(now, None)
    waiting = (
        select(deliveries.c.id)
        .where(
            deliveries.c.endpoint == endpoint,
            PENDING,
            deliveries.c.due_at > now,
            deliveries.c.due_at < BEHIND,
            _may_be_earlier(now, over_since, due),
        )
        .order_by(deliveries.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return _make_due(connection, waiting, due, now)


def _may_be_earlier(
    now: datetime, over_since: datetime | None, due: ColumnElement[datetime]
) -> ColumnElement[bool]:
    free = or_(deliveries.c.not_before.is_(None), deliveries.c.not_before <= now)
    if over_since is not None:
        free = or_(free, deliveries.c.changed_at < over_since)
    return and_(
        PENDING,
        UNLEASED,
        deliveries.c.due_at > due,
        deliveries.c.due_at < BEHIND,
        free,
    )


def _due(now: datetime, again_since: datetime | None) -> ColumnElement[datetime]:
    """Return when one is due: since its schedule began, or now if it failed again.

    Never in the future, where the clock may have been when its schedule began.
    """
    began = deliveries.c.schedule_from
    right = began < now
    if again_since is not None:
        right &= or_(began >= again_since, deliveries.c.changed_at < again_since)
    return case((right, began), else_=literal(now, began.type))


def _make_due(
    connection: Connection, which: Select[int], due: ColumnElement[datetime], now: datetime
) -> int:
    made = connection.execute(
        update(deliveries).where(deliveries.c.id.in_(which)).values(due_at=due, changed_at=now)
    )
    return made.rowcount

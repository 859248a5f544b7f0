"""What has come into a list since it was last looked at, oldest first.

Each query says how far it has looked, in ids; a row that is committed later has a higher one. Only
attempts don't keep to that where several bridges record them: there, those that a look could see
among the newest are noted, and what it could not see is news later on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, Table, func, or_, select, union

from bridge.model import DeliveryState
from bridge.store import postgres, queries
from bridge.store.queries import ArrivalRow, DeliveryRow, MessageRow
from bridge.store.search import MessageFilter
from bridge.store.tables import arrivals, attempts, deliveries, events

_AT_ONCE: Final = 1000
# Attempts among which one may still be on its way: as many as several bridges record in the seconds
# that a transaction takes.
_UNSETTLED: Final = 5000


@dataclass(frozen=True, slots=True)
class Seen:
    """The last ids that were looked at; and of the newest attempts, those that were there."""

    arrival: int
    delivery: int
    attempt: int
    attempts: frozenset[int] = frozenset()


def look_now(connection: Connection) -> Seen:
    """Return the ids from which on everything is new."""
    arrival, delivery, attempt = (
        _last(connection, table) for table in (arrivals, deliveries, attempts)
    )
    if not postgres.is_postgres(connection):
        return Seen(arrival, delivery, attempt)
    newest = select(attempts.c.id).where(attempts.c.id > attempt - _UNSETTLED)
    return Seen(arrival, delivery, attempt, frozenset(connection.execute(newest).scalars()))


def new_messages(
    connection: Connection, seen: Seen, which: MessageFilter
) -> tuple[list[MessageRow], Seen]:
    """Return the messages that match and have come since, and how far that goes.

    A message of an arrival that was read again keeps that one's id: its deliveries are what is new.
    """
    now = look_now(connection)
    read_again = (
        select(arrivals.c.id)
        .join(events, events.c.message_id == arrivals.c.message_id)
        .join(deliveries, deliveries.c.event_id == events.c.id)
        .where(deliveries.c.id > seen.delivery, deliveries.c.id <= now.delivery)
        .where(deliveries.c.replay == 0, arrivals.c.reparsed_at.is_not(None))
    )
    born = [*which.conditions(), arrivals.c.id.in_(read_again)]
    again = queries.walk_messages(connection, born, after=0, last=seen.arrival, limit=None)
    found = queries.walk_messages(
        connection, which.conditions(), after=seen.arrival, last=now.arrival, limit=_AT_ONCE
    )
    return again + found, _up_to(now, [row.arrival_id for row in found])


def new_in_quarantine(
    connection: Connection, seen: Seen, reason: str | None
) -> tuple[list[ArrivalRow], Seen]:
    """Return what has come into quarantine since, and how far that goes."""
    now = look_now(connection)
    found = queries.list_quarantine(
        connection, limit=_AT_ONCE, after=seen.arrival, before=now.arrival + 1, reason=reason
    )
    return found, _up_to(now, [row.id for row in found])


def changed_deliveries(
    connection: Connection, seen: Seen, endpoint: str | None, state: DeliveryState | None
) -> tuple[list[DeliveryRow], Seen]:
    """Return the deliveries that were made or tried since, as they are now, and how far that is."""
    now = look_now(connection)
    late = {each for each in now.attempts - seen.attempts if each <= seen.attempt}
    changed = union(
        select(deliveries.c.id).where(deliveries.c.id > seen.delivery),
        select(attempts.c.delivery_id).where(
            or_(attempts.c.id > seen.attempt, attempts.c.id.in_(late))
        ),
    )
    found = queries.list_deliveries(
        connection, limit=None, among=changed, endpoint=endpoint, state=state
    )
    return found[::-1], now


def _up_to(now: Seen, ids: list[int]) -> Seen:
    return replace(now, arrival=ids[-1]) if len(ids) == _AT_ONCE else now


def _last(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())

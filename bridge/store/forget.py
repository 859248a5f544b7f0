"""Deletes the last that retention leaves of a message, and counts what it deleted.

Elsewhere the store deletes no row that counts, so that the audit takes a missing one for a loss.
What goes from here goes with all that belongs to it, and the table `deleted` says how much it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from bridge.model import DeliveryState
from bridge.store.among import IDS, among
from bridge.store.sequences import forget_numbers
from bridge.store.statements import Statement
from bridge.store.stream_tables import digests
from bridge.store.tables import arrivals, attempts, deleted, deliveries, events, messages

_COUNT: Final = deleted.c["count"]
_OF_REPLAY: Final = "replay "


def forget_messages(connection: Connection, ids: Sequence[str]) -> int:
    """Delete messages with their arrivals, events, deliveries and attempts.

    Returns how many arrivals. Needs a write transaction.
    """
    given = {IDS: ids}
    replayed = _REPLAYED.select(connection, **given)
    counts: dict[str, int] = {f"{_OF_REPLAY}{number}": count for number, count in replayed}
    forget_numbers(connection, _NUMBERED.select(connection, **given))
    for table, statement in _OF_MESSAGES.items():
        counts[table] = statement.change(connection, [given])
    _count(connection, counts)
    return counts[arrivals.name]


def forget_arrivals(connection: Connection, ids: Sequence[int]) -> int:
    """Delete arrivals that brought no message; return how many. Needs a write transaction."""
    count = _ARRIVALS.change(connection, [{IDS: ids}])
    _count(connection, {arrivals.name: count})
    return count


_EVENTS: Final = among(events.c.message_id)
_OWN: Final = deliveries.c.event_id.in_(select(events.c.id).where(_EVENTS))
_REPLAYED: Final = Statement(
    select(deliveries.c.replay, func.count())
    .where(_OWN, deliveries.c.replay != 0)
    .group_by(deliveries.c.replay)
)
_NUMBERED: Final = Statement(
    select(deliveries.c.endpoint, deliveries.c.sequence)
    .where(_OWN, deliveries.c.sequence.is_not(None))
    .order_by(deliveries.c.endpoint, deliveries.c.sequence)
)
_OF_MESSAGES: Final = {
    table.name: Statement(delete(table).where(which))
    for table, which in (
        (attempts, attempts.c.delivery_id.in_(select(deliveries.c.id).where(_OWN))),
        (deliveries, _OWN),
        (events, _EVENTS),
        (arrivals, among(arrivals.c.message_id)),
        (messages, among(messages.c.id)),
    )
}
_ARRIVALS: Final = Statement(delete(arrivals).where(among(arrivals.c.id)))


def forget_digests(connection: Connection, endpoint: str, up_to: int) -> None:
    """Delete an endpoint's digests with numbers up to this one. Needs a write transaction.

    Only those at rest: if one in flight fails, the next one goes back to where that one began.
    """
    old = (
        select(digests.c.delivery_id)
        .join(deliveries, deliveries.c.id == digests.c.delivery_id)
        .where(
            digests.c.endpoint == endpoint,
            digests.c.number <= up_to,
            deliveries.c.state.in_([DeliveryState.DELIVERED, DeliveryState.FILTERED]),
        )
    )
    ids = list(connection.execute(old).scalars())
    if not ids:
        return
    own = deliveries.c.id.in_(ids)
    event_ids = list(connection.execute(select(deliveries.c.event_id).where(own)).scalars())
    counts: dict[str, int] = {}
    connection.execute(delete(digests).where(digests.c.delivery_id.in_(ids)))
    for table, which in (
        (attempts, attempts.c.delivery_id.in_(ids)),
        (deliveries, own),
        (events, events.c.id.in_(event_ids)),
    ):
        counts[table.name] = _delete(connection, table, which)
    _count(connection, counts)


def deleted_of(replay: ColumnElement[int]) -> ColumnElement[int]:
    """Return how many of a replay's deliveries were deleted, for a query about replays."""
    kind = literal(_OF_REPLAY).concat(cast(replay, Text))
    return func.coalesce(select(_COUNT).where(deleted.c.kind == kind).scalar_subquery(), 0)


def deleted_totals(connection: Connection) -> dict[str, int]:
    """Return how many rows of each table were deleted, as `deleted.TABLE`."""
    found = select(deleted.c.kind, _COUNT).where(~deleted.c.kind.startswith(_OF_REPLAY))
    return {f"deleted.{kind}": count for kind, count in connection.execute(found)}


def _delete(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    return int(connection.execute(delete(table).where(which)).rowcount)


def _count(connection: Connection, counts: Mapping[str, int]) -> None:
    for kind, count in counts.items():
        more = [{"which": kind, "more": count}]
        if not _COUNT_ON.change(connection, more):
            _COUNT_FIRST.change(connection, more)


_COUNT_ON: Final = Statement(
    update(deleted)
    .where(deleted.c.kind == bindparam("which"))
    .values({_COUNT: _COUNT + bindparam("more")})
)
_COUNT_FIRST: Final = Statement(
    insert(deleted).values({deleted.c.kind: bindparam("which"), _COUNT: bindparam("more")})
)

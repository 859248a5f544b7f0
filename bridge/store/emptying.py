"""Empties rows of what retention or an erasure removes, and leaves what the ledger needs.

A message's keys are what a repeated mail is recognised by, and the audit counts rows. Nothing that
is still to be delivered is touched. Each statement is compiled once: a sweep runs them thousands of
times, and the line waits for each piece of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from bridge.model import ArrivalOutcome, DeliveryState, SourceKind
from bridge.store.among import IDS, among
from bridge.store.statements import Statement
from bridge.store.tables import arrivals, attempts, deliveries, events, messages
from bridge.store.types import Instant

UNDELIVERED: Final = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
# Written out, so that a statement that has them is compiled once.
_OPEN: Final[list[ColumnElement[str]]] = [literal_column(f"'{state}'") for state in UNDELIVERED]


def undelivered(message_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a message has a delivery that is pending, held or dead."""
    return exists().where(
        events.c.message_id == message_id,
        deliveries.c.event_id == events.c.id,
        deliveries.c.state.in_(_OPEN),
    )


DELIVERED: Final = ~undelivered(messages.c.id)
RAW_DUE: Final = or_(arrivals.c.message_id.is_(None), ~undelivered(arrivals.c.message_id))


def empty_messages(
    connection: Connection, ids: Sequence[str], now: datetime, *, whole: bool
) -> int:
    """Remove the texts of messages that are delivered; `whole`: numbers and all else too.

    Returns how many messages those were.
    """
    chosen = [each for (each,) in _FREE.select(connection, ids=ids)]
    if not chosen:
        return 0
    row = {IDS: chosen, "now": now}
    for statement in _EMPTY_WHOLE if whole else _EMPTY_TEXT:
        statement.change(connection, [row])
    return len(chosen)


def empty_arrivals(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    """Remove raw bytes and envelopes of arrivals, and return of how many.

    Those in quarantine stay, and those of a message that is still to be delivered.
    """
    return _EMPTY_RAW.change(connection, [{IDS: ids, "now": now}])


def write_anew(connection: Connection, ids: Sequence[int]) -> None:
    """Delete and insert the rows: SQLite joins a page with its neighbours only at a deletion.

    A row that was made small stays alone in its page otherwise: 5 KB a message instead of 1.2.
    """
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in _SMALL.select(connection, ids=ids)]
    if rows:
        _DELETE_SMALL.change(connection, [{IDS: ids}])
        _INSERT.change(connection, rows)


_NO_RAW: Final[dict[str, object]] = {
    "raw": b"",
    "peer": None,
    "envelope_from": None,
    "recipients": (),
}
_NO_TEXT: Final[dict[str, object]] = {"body": None, "email_subject": None}
_NO_MESSAGE: Final[dict[str, object]] = {
    "sender": "",
    "recipient": "",
    "provider_message_id": None,
    "raw_sender": None,
    "raw_recipient": None,
    "raw_date": None,
    "email_message_id": None,
    "sha256": None,
    "warnings": None,
}
ANSWERED: Final = or_(
    func.length(attempts.c.answer) > 0, attempts.c.detail != "", attempts.c.error.is_not(None)
)
_NOW: Final = bindparam("now", type_=Instant())
_FREE: Final = Statement(select(messages.c.id).where(among(messages.c.id), DELIVERED))


def _empty(table: Table, which: ColumnElement[bool], values: Mapping[str, object]) -> Statement:
    """Make the statement that empties columns; the time of the first removal stays."""
    purged_at = func.coalesce(table.c.purged_at, _NOW)
    changed = {**values, "checksum": None, "purged_at": purged_at}
    return Statement(update(table).where(which).values(changed))


def _empty_arrivals(which: ColumnElement[bool]) -> Statement:
    # A file's path may be a number.
    name = case((arrivals.c.source == SourceKind.FILE, ""), else_=arrivals.c.source_name)
    values = _NO_RAW | {"source_name": name}
    return _empty(arrivals, and_(which, arrivals.c.outcome != ArrivalOutcome.QUARANTINE), values)


def emptying_attempts(which: ColumnElement[bool]) -> tuple[Statement, Statement]:
    """Make what removes answers of attempts that delivered, and those that failed.

    The attempt that delivered stays as the proof, and the delivery says how many were made.
    """
    return (
        Statement(delete(attempts).where(which, attempts.c.result != "delivered")),
        Statement(
            update(attempts).where(which, ANSWERED).values(error=None, detail="", answer=b"")
        ),
    )


_OWN_EVENTS: Final = among(events.c.message_id)
_NO_BODY: Final = Statement(update(events).where(_OWN_EVENTS).values(body=b"", checksum=None))
_EMPTY_TEXT: Final = (_empty(messages, among(messages.c.id), _NO_TEXT), _NO_BODY)
_EMPTY_WHOLE: Final = (
    _empty(messages, among(messages.c.id), _NO_TEXT | _NO_MESSAGE),
    _NO_BODY,
    _empty_arrivals(among(arrivals.c.message_id)),
    *emptying_attempts(
        attempts.c.delivery_id.in_(
            select(deliveries.c.id)
            .join(events, events.c.id == deliveries.c.event_id)
            .where(_OWN_EVENTS)
        )
    ),
)
_EMPTY_RAW: Final = _empty_arrivals(and_(among(arrivals.c.id), RAW_DUE))
_IS_SMALL: Final = and_(among(arrivals.c.id), arrivals.c.purged_at.is_not(None))
_COLUMNS: Final = arrivals.c.keys()
_SMALL: Final = Statement(select(arrivals).where(_IS_SMALL))
_DELETE_SMALL: Final = Statement(delete(arrivals).where(_IS_SMALL))
_INSERT: Final = Statement(insert(arrivals).values({name: bindparam(name) for name in _COLUMNS}))

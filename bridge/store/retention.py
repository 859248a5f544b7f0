"""Retention: removes what was kept for long enough, a few rows at a time.

Rows are emptied, not deleted: a message's keys are what a repeated mail is recognised by, and the
audit counts rows. Only the last stage deletes them, and counts what it deletes. Nothing that is
still to be delivered is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)

from bridge.model import ArrivalOutcome, DeliveryState, SourceKind
from bridge.store import discard, forget
from bridge.store.discard import QuarantineFilter
from bridge.store.tables import arrivals, attempts, deliveries, events, messages
from bridge.store.types import Instant

IDS_AT_ONCE: Final = 5000  # rows that are looked at as a whole, once a sweep
_BECAUSE: Final = "its age, by [retention] quarantine"
UNDELIVERED: Final = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
_AT_REST: Final = (DeliveryState.DELIVERED, DeliveryState.FILTERED)


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of data that retention removes.

    `left` selects the id and the time of the rows that still have it; of those, `due` may lose it.
    `purge` takes it from the rows with the given ids and returns how many lost it, within a write
    transaction; what is no longer due it leaves alone.
    """

    name: str
    left: Select[int, datetime]
    due: ColumnElement[bool]
    purge: Callable[[Connection, Sequence[int], datetime], int]


@dataclass(frozen=True, slots=True)
class Part:
    """What the ids `after` to `after + IDS_AT_ONCE` hold.

    `waiting` is the first id that will be due some day, and `old` is whether any row is old enough
    at all.
    """

    waiting: int | None
    old: bool


def look(connection: Connection, stage: Stage, after: int, before: datetime) -> Part:
    """Look at the ids above `after`: what is not due at the age of `before`."""
    row_id, moment = stage.left.selected_columns
    part = stage.left.where(row_id > after, row_id <= after + IDS_AT_ONCE)
    waiting = part.where(or_(moment >= before, ~stage.due)).order_by(row_id).limit(1)
    old = part.where(moment < before).limit(1)
    return Part(connection.execute(waiting).scalar(), connection.execute(old).first() is not None)


def find_due(
    connection: Connection, stage: Stage, after: int, last: int, before: datetime, most: int
) -> list[int]:
    """Return the first ids above `after`, up to `last`, that are due at the age of `before`."""
    row_id, moment = stage.left.selected_columns
    due = stage.left.where(row_id > after, row_id <= last, moment < before, stage.due)
    return [row[0] for row in connection.execute(due.order_by(row_id).limit(most))]


def last_id(connection: Connection, stage: Stage) -> int:
    """Return the highest id of a stage's table; 0 if it is empty."""
    table = attempts if stage.name == "attempts" else arrivals
    return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())


def undelivered(message_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a message has a delivery that is pending, held or dead."""
    return exists().where(
        events.c.message_id == message_id,
        deliveries.c.event_id == events.c.id,
        deliveries.c.state.in_(UNDELIVERED),
    )


def empty_messages(
    connection: Connection, ids: Sequence[str], now: datetime, *, whole: bool
) -> int:
    """Remove the texts of messages that are delivered; `whole`: numbers and all else too.

    Returns how many messages those were.
    """
    free = select(messages.c.id).where(messages.c.id.in_(ids), ~undelivered(messages.c.id))
    chosen = list(connection.execute(free).scalars())
    if not chosen:
        return 0
    # The time of the first removal stays.
    values = _NO_TEXT | (_NO_MESSAGE if whole else {})
    connection.execute(
        update(messages)
        .where(messages.c.id.in_(chosen))
        .values(
            values | {"purged_at": func.coalesce(messages.c.purged_at, literal(now, Instant()))}
        )
    )
    connection.execute(update(events).where(events.c.message_id.in_(chosen)).values(body=b""))
    if whole:
        empty_arrivals(connection, arrivals.c.message_id.in_(chosen), now)
        own = select(deliveries.c.id).join(events, events.c.id == deliveries.c.event_id)
        empty_attempts(
            connection, attempts.c.delivery_id.in_(own.where(events.c.message_id.in_(chosen)))
        )
    return len(chosen)


def empty_arrivals(connection: Connection, which: ColumnElement[bool], now: datetime) -> int:
    """Remove raw bytes and envelopes of arrivals that are not in quarantine; return how many."""
    name = case((arrivals.c.source == SourceKind.FILE, ""), else_=arrivals.c.source_name)
    emptied = connection.execute(
        update(arrivals)
        .where(which, arrivals.c.outcome != ArrivalOutcome.QUARANTINE)
        .values(
            raw=b"",
            peer=None,
            envelope_from=None,
            recipients=(),
            source_name=name,  # a file's path may be a number
            purged_at=func.coalesce(arrivals.c.purged_at, literal(now, Instant())),
        )
    )
    return emptied.rowcount


def empty_attempts(connection: Connection, which: ColumnElement[bool]) -> int:
    """Remove the answers of attempts that delivered, and those that failed; return how many.

    The attempt that delivered stays as the proof, and the delivery says how many were made.
    """
    failed = connection.execute(delete(attempts).where(which, attempts.c.result != "delivered"))
    emptied = connection.execute(
        update(attempts).where(which, _ANSWERED).values(error=None, detail="", answer=b"")
    )
    return failed.rowcount + emptied.rowcount


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
_ANSWERED: Final = or_(
    func.length(attempts.c.answer) > 0, attempts.c.detail != "", attempts.c.error.is_not(None)
)
_BROUGHT: Final = arrivals.c.outcome == literal_column("'message'")
_OF_MESSAGE: Final = (
    select(arrivals.c.id, arrivals.c.received_at)
    .join(messages, messages.c.id == arrivals.c.message_id)
    .where(_BROUGHT)
)
_DELIVERED: Final = ~undelivered(messages.c.id)
RAW_DUE: Final = or_(arrivals.c.message_id.is_(None), ~undelivered(arrivals.c.message_id))
_LAST_DELIVERY: Final = select(func.max(deliveries.alias("last").c.id)).scalar_subquery()
_LAST_DELIVERED: Final = (
    select(events.c.message_id)
    .join(deliveries, deliveries.c.event_id == events.c.id)
    .where(deliveries.c.id == _LAST_DELIVERY)
    .scalar_subquery()
)
# The newest arrival and delivery stay, since SQLite would give their ids once more.
_RECORD: Final = and_(
    arrivals.c.outcome != ArrivalOutcome.QUARANTINE,
    arrivals.c.id < select(func.max(arrivals.alias("newest").c.id)).scalar_subquery(),
    func.coalesce(arrivals.c.message_id, "") != func.coalesce(_LAST_DELIVERED, literal("-")),
)
_REPEATS: Final = arrivals.alias("repeats")
_RECORD_DUE: Final = or_(
    arrivals.c.outcome != ArrivalOutcome.MESSAGE,
    and_(
        ~undelivered(arrivals.c.message_id),
        # A repeat is deleted at its own age; until then it says that more may come.
        ~exists().where(
            _REPEATS.c.message_id == arrivals.c.message_id, _REPEATS.c.id != arrivals.c.id
        ),
    ),
)
_ATTEMPT_DUE: Final = deliveries.c.state.in_(_AT_REST)


def _purge_raw(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    emptied = empty_arrivals(connection, and_(arrivals.c.id.in_(ids), RAW_DUE), now)
    if connection.dialect.name == "sqlite":
        _write_anew(connection, ids)
    return emptied


def _write_anew(connection: Connection, ids: Sequence[int]) -> None:
    """Delete and insert the rows: SQLite joins a page with its neighbours only at a deletion.

    A row that was made small stays alone in its page otherwise: 5 KB a message instead of 1.2.
    """
    small = and_(arrivals.c.id.in_(ids), arrivals.c.purged_at.is_not(None))
    rows = [dict(row) for row in connection.execute(select(arrivals).where(small)).mappings()]
    if rows:
        connection.execute(delete(arrivals).where(small))
        connection.execute(insert(arrivals), rows)


def _purge_bodies(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    return empty_messages(connection, _brought_by(connection, ids), now, whole=False)


def _purge_messages(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    return empty_messages(connection, _brought_by(connection, ids), now, whole=True)


def _purge_attempts(connection: Connection, ids: Sequence[int], _: datetime) -> int:
    at_rest = exists().where(deliveries.c.id == attempts.c.delivery_id, _ATTEMPT_DUE)
    return empty_attempts(connection, and_(attempts.c.id.in_(ids), at_rest))


def _purge_quarantine(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    return discard.discard(connection, QuarantineFilter(ids), _BECAUSE, now, len(ids))


def _purge_records(connection: Connection, ids: Sequence[int], _: datetime) -> int:
    due = select(arrivals.c.id, arrivals.c.outcome, arrivals.c.message_id).where(
        arrivals.c.id.in_(ids), _RECORD, _RECORD_DUE
    )
    found = connection.execute(due).all()
    brought = [row.message_id for row in found if row.outcome == ArrivalOutcome.MESSAGE]
    others = [row.id for row in found if row.outcome != ArrivalOutcome.MESSAGE]
    return forget.forget_messages(connection, brought) + forget.forget_arrivals(connection, others)


def _brought_by(connection: Connection, ids: Sequence[int]) -> list[str]:
    query = select(arrivals.c.message_id).where(arrivals.c.id.in_(ids), _BROUGHT)
    return [each for each in connection.execute(query).scalars() if each is not None]


STAGES: Final = {
    stage.name: stage
    for stage in (
        Stage(
            "quarantine",
            select(arrivals.c.id, arrivals.c.received_at).where(
                arrivals.c.outcome == literal_column("'quarantine'")
            ),
            true(),
            _purge_quarantine,
        ),
        Stage(
            "raw",
            select(arrivals.c.id, arrivals.c.received_at).where(
                arrivals.c.outcome != ArrivalOutcome.QUARANTINE,
                or_(
                    arrivals.c.purged_at.is_(None),
                    arrivals.c.peer.is_not(None),
                    arrivals.c.envelope_from.is_not(None),
                ),
            ),
            RAW_DUE,
            _purge_raw,
        ),
        Stage(
            "bodies",
            _OF_MESSAGE.where(messages.c.purged_at.is_(None)),
            _DELIVERED,
            _purge_bodies,
        ),
        Stage(
            "attempts",
            select(attempts.c.id, attempts.c.started_at)
            .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
            .where(or_(attempts.c.result != "delivered", _ANSWERED)),
            _ATTEMPT_DUE,
            _purge_attempts,
        ),
        Stage("messages", _OF_MESSAGE.where(messages.c.sender != ""), _DELIVERED, _purge_messages),
        Stage(
            "records",
            select(arrivals.c.id, arrivals.c.received_at).where(_RECORD),
            _RECORD_DUE,
            _purge_records,
        ),
    )
}

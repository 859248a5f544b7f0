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
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)

from bridge.model import ArrivalOutcome, DeliveryState
from bridge.store import discard, forget
from bridge.store.among import IDS, among
from bridge.store.discard import QuarantineFilter
from bridge.store.emptying import (
    ANSWERED,
    DELIVERED,
    RAW_DUE,
    empty_arrivals,
    empty_messages,
    emptying_attempts,
    undelivered,
    write_anew,
)
from bridge.store.statements import Statement
from bridge.store.tables import arrivals, attempts, deliveries, events, messages
from bridge.store.types import Instant

IDS_AT_ONCE: Final = 5000  # rows that are looked at as a whole, once a sweep
_BECAUSE: Final = "its age, by [retention] quarantine"


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
    found = _DUE[stage.name].select(connection, after=after, last=last, before=before, most=most)
    return [row[0] for row in found]


def last_id(connection: Connection, stage: Stage) -> int:
    """Return the highest id of a stage's table; 0 if it is empty."""
    table = attempts if stage.name == "attempts" else arrivals
    return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())


_BROUGHT: Final = arrivals.c.outcome == literal_column("'message'")
_OF_MESSAGE: Final = (
    select(arrivals.c.id, arrivals.c.received_at)
    .join(messages, messages.c.id == arrivals.c.message_id)
    .where(_BROUGHT)
)
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
_ATTEMPT_DUE: Final = or_(
    deliveries.c.state == DeliveryState.DELIVERED, deliveries.c.state == DeliveryState.FILTERED
)


def _purge_raw(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    emptied = empty_arrivals(connection, ids, now)
    if connection.dialect.name == "sqlite":
        write_anew(connection, ids)
    return emptied


def _purge_bodies(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    return empty_messages(connection, _brought_by(connection, ids), now, whole=False)


def _purge_messages(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    return empty_messages(connection, _brought_by(connection, ids), now, whole=True)


def _brought_by(connection: Connection, ids: Sequence[int]) -> list[str]:
    return [each for (each,) in _MESSAGE_IDS.select(connection, ids=ids)]


def _purge_attempts(connection: Connection, ids: Sequence[int], _: datetime) -> int:
    return sum(each.change(connection, [{IDS: ids}]) for each in _EMPTY_ANSWERS)


def _purge_quarantine(connection: Connection, ids: Sequence[int], now: datetime) -> int:
    return discard.discard(connection, QuarantineFilter(ids), _BECAUSE, now, len(ids))


def _purge_records(connection: Connection, ids: Sequence[int], _: datetime) -> int:
    found = _FORGETTABLE.select(connection, ids=ids)
    brought = [message for _, outcome, message in found if outcome == ArrivalOutcome.MESSAGE]
    others = [each for each, outcome, _ in found if outcome != ArrivalOutcome.MESSAGE]
    return forget.forget_messages(connection, brought) + forget.forget_arrivals(connection, others)


_MESSAGE_IDS: Final = Statement(
    select(arrivals.c.message_id).where(
        among(arrivals.c.id), _BROUGHT, arrivals.c.message_id.is_not(None)
    )
)
_EMPTY_ANSWERS: Final = emptying_attempts(
    and_(
        among(attempts.c.id),
        exists().where(deliveries.c.id == attempts.c.delivery_id, _ATTEMPT_DUE),
    )
)
_FORGETTABLE: Final = Statement(
    select(arrivals.c.id, arrivals.c.outcome, arrivals.c.message_id).where(
        among(arrivals.c.id), _RECORD, _RECORD_DUE
    )
)


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
            DELIVERED,
            _purge_bodies,
        ),
        Stage(
            "attempts",
            select(attempts.c.id, attempts.c.started_at)
            .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
            .where(or_(attempts.c.result != "delivered", ANSWERED)),
            _ATTEMPT_DUE,
            _purge_attempts,
        ),
        Stage("messages", _OF_MESSAGE.where(messages.c.sender != ""), DELIVERED, _purge_messages),
        Stage(
            "records",
            select(arrivals.c.id, arrivals.c.received_at).where(_RECORD),
            _RECORD_DUE,
            _purge_records,
        ),
    )
}


def _find_due(stage: Stage) -> Statement:
    row_id, moment = stage.left.selected_columns
    due = stage.left.where(
        row_id > bindparam("after"),
        row_id <= bindparam("last"),
        moment < bindparam("before", type_=Instant()),
        stage.due,
    )
    return Statement(due.order_by(row_id).limit(bindparam("most", type_=Integer())))


_DUE: Final = {name: _find_due(stage) for name, stage in STAGES.items()}

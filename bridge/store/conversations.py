"""One at a time within a conversation: which deliveries may go, and which wait behind another.

A delivery that waits behind another one of its conversation is parked: it is due at `BEHIND`, so
that a claim never reads past thousands of them. The first one of a conversation is woken when an
attempt in it is recorded, or when one in front of it is erased; all of an endpoint's are when its
order changes. Whether one may go is decided in `choose` alone, in the transaction that leases it;
one that is woken in vain is parked again.

Every transaction that claims, records, writes or changes deliveries with an order holds
`postgres.lock_order`: what one bridge parks, another one could else have been about to wake.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from bridge.model import Order, PlannedDelivery
from bridge.store.endpoints import BEHIND, EVER, PENDING, WOKEN, begun_by
from bridge.store.statements import Statement
from bridge.store.tables import deliveries
from bridge.store.types import Instant

_AT_ONCE: Final = 200  # deliveries that are looked at together
_ROUNDS: Final = 10  # so that one claim doesn't keep others from the store

_other = deliveries.alias("other")
_now = bindparam("now", type_=Instant())
_behind = bindparam("behind", BEHIND, type_=Instant())
# Literals, as in bridge.store.endpoints: by them a partial index is found.
_OPEN: Final = _other.c.state.in_([literal_column("'pending'"), literal_column("'held'")])
_OTHER_PENDING: Final = _other.c.state == literal_column("'pending'")
# Computed, so that the databases look in the conversation and not among all that are parked.
_PARKED: Final = _other.c.due_at.op("+", is_comparison=False)(literal_column("0")) == _behind
_MINE: Final = (
    _other.c.endpoint == deliveries.c.endpoint,
    _other.c.conversation == deliveries.c.conversation,
)


def _flies(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a delivery of the conversation is leased to anybody right now."""
    return exists().where(*which, _other.c.leased_by.is_not(None), _other.c.due_at > _now)


def _first(order: Order, *which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether there is one that goes first: any open one, or one that isn't waiting."""
    if order is Order.BLOCK:
        return exists().where(*which, _OPEN)
    waits = and_(_other.c.leased_by.is_(None), _other.c.due_at > _now, _other.c.due_at < _behind)
    return exists().where(*which, _OPEN, _OTHER_PENDING, ~waits)


def _blocked(order: Order) -> ColumnElement[bool]:
    """Return whether a delivery waits behind another one."""
    return or_(
        _first(order, *_MINE, _other.c.id < deliveries.c.id),
        _flies(*_MINE, _other.c.id != deliveries.c.id),
    )


def _look(order: Order) -> Select[int, int | None, bool]:
    return (
        select(deliveries.c.id, deliveries.c.conversation, _blocked(order).label("blocked"))
        .where(
            deliveries.c.endpoint == bindparam("wanted"),
            PENDING,
            deliveries.c.due_at <= _now,
            deliveries.c.due_at >= bindparam("since", type_=Instant()),
        )
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(_AT_ONCE)
        .with_for_update(of=deliveries, skip_locked=True)
    )


def _busy(order: Order) -> Statement:
    mine = (
        _other.c.endpoint == bindparam("wanted"),
        _other.c.conversation == bindparam("conversation"),
    )
    return Statement(select(literal_column("1")).where(or_(_first(order, *mine), _flies(*mine))))


_LOOKS: Final = {order: _look(order) for order in (Order.BLOCK, Order.OVERTAKE)}
_BUSY: Final = {order: _busy(order) for order in (Order.BLOCK, Order.OVERTAKE)}
_PARK: Final = Statement(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"))
    .values(due_at=_behind, leased_by=null())
)


def _wake(*which: ColumnElement[bool]) -> Statement:
    """Make the first parked delivery of a conversation due."""
    first = (
        select(func.min(_other.c.id))
        .where(
            _other.c.endpoint == bindparam("wanted"),
            _other.c.conversation == bindparam("in_conversation"),
            _OPEN,
            _OTHER_PENDING,
            _PARKED,
        )
        .scalar_subquery()
    )
    return Statement(
        update(deliveries)
        .where(deliveries.c.id == first, *which)
        .values(
            due_at=_now,
            # Its time begins when it may be tried for the first time, not when it came in.
            schedule_from=begun_by(_now),
            lived_from=WOKEN,
        )
    )


_WAKE: Final = _wake()
_WAKE_FREE: Final = {order: _wake(~_blocked(order)) for order in _LOOKS}


def choose(
    connection: Connection,
    endpoint: str,
    limit: int,
    now: datetime,
    order: Order,
    since: datetime = EVER,
) -> list[int]:
    """Choose up to `limit` due deliveries that may go now; park those that wait behind another.

    Only among those that became due since then. Of each conversation at most one is chosen, and
    none while one of it is in flight.
    """
    chosen: list[int] = []
    for _ in range(_ROUNDS):
        found = connection.execute(
            _LOOKS[order], {"wanted": endpoint, "now": now, "since": since}
        ).all()
        free = [row.id for row in found if not row.blocked and row.id not in chosen]
        if blocked := [row for row in found if row.blocked]:
            _PARK.change(connection, [{"delivery": row.id} for row in blocked])
            # One whose lease ended unrecorded may have been in front of what has its turn now.
            behind = [(endpoint, row.conversation) for row in blocked]
            _wake_each(connection, _WAKE_FREE[order], behind, now)
        chosen += free[: limit - len(chosen)]
        if len(chosen) == limit or len(found) < _AT_ONCE or not blocked:
            break
    return chosen


class Turns:
    """Decides which of a batch's new deliveries may go at once."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._taken: set[tuple[str, int]] = set()

    def is_behind(self, plan: PlannedDelivery) -> bool:
        """Return whether a new delivery waits behind another one, or one earlier in the batch."""
        if plan.order is Order.NONE or plan.conversation is None:
            return False
        where = plan.endpoint, plan.conversation
        if where in self._taken:
            return True
        self._taken.add(where)
        row = {"wanted": plan.endpoint, "conversation": plan.conversation, "now": self._now}
        return bool(_BUSY[plan.order].select(self._connection, **row))


def wake_next(
    connection: Connection, changed: Iterable[tuple[str, int | None]], now: datetime
) -> None:
    """Make the first parked delivery of each conversation due; each comes with its endpoint."""
    _wake_each(connection, _WAKE, changed, now)


def _wake_each(
    connection: Connection,
    wake: Statement,
    conversations: Iterable[tuple[str, int | None]],
    now: datetime,
) -> None:
    rows = [
        {"wanted": endpoint, "in_conversation": conversation, "now": now}
        for endpoint, conversation in dict.fromkeys(conversations)
        if conversation is not None
    ]
    if rows:
        wake.change(connection, rows)


def in_front() -> ColumnElement[int | None]:
    """Return, for a select of deliveries, which one each parked delivery waits for, else NULL.

    That is the one in flight; if none is, the first one that is open.
    """
    first = func.min(_other.c.id)
    flying = select(first).where(*_MINE, _other.c.leased_by.is_not(None)).scalar_subquery()
    opened = select(first).where(*_MINE, _OPEN).scalar_subquery()
    parked = PENDING & (deliveries.c.due_at == _behind)
    return case((parked, func.coalesce(flying, opened)), else_=null())


def behind_nothing() -> Select[int]:
    """Select deliveries that wait behind another one where there is none: for the audit."""
    return select(deliveries.c.id).where(
        PENDING,
        deliveries.c.due_at == BEHIND,
        ~exists().where(*_MINE, _OPEN, or_(~_OTHER_PENDING, _other.c.due_at != BEHIND)),
    )

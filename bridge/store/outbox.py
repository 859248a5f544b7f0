"""The outbox: which deliveries are due, whose they are, and what an operator may do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from bridge.errors import NotPossible
from bridge.model import Claim, DeliveryState, Event, Order
from bridge.store import conversations, postgres
from bridge.store.endpoints import (
    BEHIND,
    DEAD,
    HELD,
    NOT_CONFIGURED,
    PENDING,
    UNLEASED,
    again,
    held_endpoints,
    wake_all,
)
from bridge.store.lease import Lease
from bridge.store.statements import Statement
from bridge.store.tables import attempts, deliveries, events

_IDS_AT_ONCE: Final = 500
_BEHIND: Final = bindparam("behind", BEHIND, type_=deliveries.c.due_at.type)
_Id = TypeVar("_Id", int, str)

# Whether an earlier request may have arrived. Attempts are counted before they are made, so one
# without a row, because we died, may have; so may another delivery of the same event (a replay).
_other = deliveries.alias("other")
_UNSENT: Final = (
    select(func.count())
    .where(attempts.c.delivery_id == deliveries.c.id, ~attempts.c.sent)
    .scalar_subquery()
)
_ANOTHER: Final = exists().where(
    _other.c.event_id == deliveries.c.event_id,
    _other.c.endpoint == deliveries.c.endpoint,
    _other.c.replay != deliveries.c.replay,
    _other.c.attempts > 0,
)
_SENT_BEFORE: Final = case(
    (and_(deliveries.c.attempts > 0, deliveries.c.attempts > _UNSENT), literal_column("1")),
    (and_(deliveries.c.replay > 0, _ANOTHER), literal_column("1")),
    else_=literal_column("0"),
)

_ROWS: Final = (
    select(
        deliveries.c.id,
        deliveries.c.attempts,
        deliveries.c.step,
        deliveries.c.lived_from,
        deliveries.c.conversation,
        deliveries.c.due_at,
        deliveries.c.leased_by,
        deliveries.c.sequence,
        events.c.id.label("event_id"),
        events.c.format,
        events.c.type,
        events.c.body,
        events.c.created_at,
        _SENT_BEFORE.label("sent_before"),
    )
    .join(events, events.c.id == deliveries.c.event_id)
    .order_by(deliveries.c.due_at, deliveries.c.id)
)
_DUE: Final = (
    _ROWS.where(
        deliveries.c.endpoint == bindparam("wanted"),
        PENDING,
        deliveries.c.due_at <= bindparam("now", type_=deliveries.c.due_at.type),
    )
    .limit(bindparam("most"))
    # Another bridge's rows are passed by, not waited for; SQLite has one writer and leaves it out.
    .with_for_update(of=deliveries, skip_locked=True)
)
_LEASE: Final = Statement(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"))
    .values(
        attempts=bindparam("attempt"),
        leased_by=bindparam("owner"),
        due_at=bindparam("until"),
        lived_from=bindparam("begun"),
        changed_at=bindparam("now"),
    )
)
_NEXT_DUE: Final = select(func.min(deliveries.c.due_at)).where(
    deliveries.c.endpoint == bindparam("wanted"), PENDING, deliveries.c.due_at < _BEHIND
)
_READ_DUE: Final = Statement(_DUE)
_READ_NEXT_DUE: Final = Statement(_NEXT_DUE)


class _Due(NamedTuple):
    """A delivery that is due, with its event; the columns that `_ROWS` selects."""

    id: int
    attempts: int
    step: int
    lived_from: datetime
    conversation: int | None
    due_at: datetime
    leased_by: str | None  # whose lease has ended
    sequence: int | None
    event_id: str
    format: str
    type: str
    body: bytes
    created_at: datetime
    sent_before: bool


def claim(
    connection: Connection, endpoint: str, limit: int, lease: Lease, order: Order = Order.NONE
) -> list[Claim]:
    """Lease the endpoint's deliveries that have been due longest, each attempt counted already.

    With an `order`, only the one that goes first in its conversation. Expired leases are due like
    any other, unless their endpoint is held: then they are held. Never gives a delivery that
    somebody else holds. Needs a write transaction, for an order with `postgres.lock_order`; the
    claims are ours when it has committed.
    """
    if order is Order.NONE:
        found = _READ_DUE.select(connection, wanted=endpoint, now=lease.now, most=limit)
    else:
        chosen = conversations.choose(connection, endpoint, limit, lease.now, order)
        found = connection.execute(_ROWS.where(deliveries.c.id.in_(chosen))).all()
    due = _hold_expired(connection, endpoint, [_Due(*row) for row in found], lease.now)
    if due:
        _LEASE.change(
            connection,
            [
                {
                    "delivery": row.id,
                    "attempt": row.attempts + 1,
                    "owner": lease.owner,
                    "until": lease.until,
                    "begun": lease.begun(row.lived_from),
                    "now": lease.now,
                }
                for row in due
            ],
        )
    return [
        Claim(
            delivery_id=row.id,
            endpoint=endpoint,
            event=Event(row.event_id, row.format, row.type, row.body),
            attempt=row.attempts + 1,
            step=row.step,
            elapsed=lease.elapsed(row.lived_from),
            lease=lease.token(row.attempts + 1),
            conversation=row.conversation,
            due_at=row.due_at,
            sequence=row.sequence,
            sent_before=bool(row.sent_before),
            created_at=row.created_at,
        )
        for row in due
    ]


def next_due(connection: Connection, endpoint: str) -> datetime | None:
    """Return when the endpoint's next delivery can be claimed: one seek in an index.

    Those that wait behind another one of their conversation can't be.
    """
    ((due_at,),) = _READ_NEXT_DUE.select(connection, wanted=endpoint)
    return cast("datetime | None", due_at)


def bring_forward(
    connection: Connection,
    endpoint: str,
    limit: int,
    now: datetime,
    over_since: datetime | None = None,
) -> int:
    """Make up to `limit` deliveries that wait for a retry due; return how many.

    Each is due since its schedule began, so that the oldest goes first, whatever it waited for,
    and also among those that were never tried. Those that the endpoint asked to wait for
    (`not_before`) go on waiting, unless it asked before `over_since`, when its failover URL came
    into use, which asked for nothing. In-flight ones are skipped. Their steps are kept: one that
    fails again waits as long as it would have. Needs a write transaction.
    """
    waiting = (
        select(deliveries.c.id)
        .where(
            deliveries.c.endpoint == endpoint,
            PENDING,
            deliveries.c.due_at > now,
            deliveries.c.due_at < BEHIND,
            UNLEASED,
            _may_be_tried(now, over_since),
        )
        .order_by(deliveries.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    brought = connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(waiting))
        .values(due_at=_began(now), changed_at=now)
    )
    return brought.rowcount


def _began(now: datetime) -> ColumnElement[datetime]:
    """Return when a schedule began: not in the future, where the clock may have been."""
    began = deliveries.c.schedule_from
    return case((began < now, began), else_=literal(now, began.type))


def _may_be_tried(now: datetime, over_since: datetime | None) -> ColumnElement[bool]:
    free = or_(deliveries.c.not_before.is_(None), deliveries.c.not_before <= now)
    return free if over_since is None else or_(free, deliveries.c.changed_at < over_since)


def free_leases(connection: Connection, owner: str | None, now: datetime) -> int:
    """Make leased deliveries due now: those of `owner`, or everybody's; return how many.

    Those of held endpoints become held: the hold left them to a process that won't record them.
    Only for leases whose owner is known to be dead.
    """
    # Both before any row's lock, as match_config, which follows, needs them.
    postgres.lock_order(connection)
    postgres.lock_holds(connection, change=True)
    whose = ~UNLEASED if owner is None else deliveries.c.leased_by == owner
    held = 0
    for endpoint, reason in held_endpoints(connection).items():
        of_endpoint = (PENDING, whose, deliveries.c.endpoint == endpoint)
        held += connection.execute(
            update(deliveries).where(*of_endpoint).values(_held(reason, now))
        ).rowcount
        wake_all(connection, endpoint, now)
    freed = connection.execute(
        update(deliveries).where(PENDING, whose).values(leased_by=None, due_at=now, changed_at=now)
    )
    return held + freed.rowcount


def _held(reason: str, now: datetime) -> Mapping[str, object]:
    """Return what makes a leased delivery of a held endpoint held."""
    return {
        "state": DeliveryState.HELD,
        "reason": reason,
        "leased_by": None,
        "changed_at": now,
    }


def _hold_expired(
    connection: Connection, endpoint: str, due: Sequence[_Due], now: datetime
) -> Sequence[_Due]:
    """Hold those whose lease ended while their endpoint is held; return the others.

    What is pending without a lease there is an operator's retry, which may go, and which may have
    waited behind one of those that are held now.
    """
    expired = [row.id for row in due if row.leased_by is not None]
    reason = held_endpoints(connection).get(endpoint) if expired else None
    if reason is None:
        return due
    for some in in_parts(expired):
        which = deliveries.c.id.in_(some)
        connection.execute(update(deliveries).where(which).values(_held(reason, now)))
    wake_all(connection, endpoint, now)
    return [row for row in due if row.leased_by is None]


_RETRYABLE: Final = {
    DeliveryState.PENDING: PENDING,
    DeliveryState.HELD: HELD,
    DeliveryState.DEAD: DEAD,
}


def retry_deliveries(
    connection: Connection,
    *,
    now: datetime,
    ids: Sequence[int] = (),
    endpoint: str | None = None,
    state: DeliveryState | None = None,
) -> int:
    """Try deliveries again, now, by a new schedule; return how many.

    Either `ids`, or all of an `endpoint` and/or in a `state`: pending, held and dead ones.
    In-flight deliveries are skipped, and those held because their endpoint is not in the config;
    delivered and filtered ones stay as they are (NotPossible if such a state is named, or nothing
    at all). Retrying a held endpoint's delivery is the operator's exception: the endpoint stays
    held. Needs a write transaction.
    """
    if ids:
        return sum(_retry(connection, [deliveries.c.id.in_(some)], now) for some in in_parts(ids))
    if endpoint is None and state is None:
        raise NotPossible("name deliveries, an endpoint or a state to try again")
    which: list[ColumnElement[bool]] = []
    if endpoint is not None:
        which.append(deliveries.c.endpoint == endpoint)
    if state is not None:
        if state not in _RETRYABLE:
            raise NotPossible(f"a {state.value} delivery cannot be tried again")
        which.append(_RETRYABLE[state])
    return _retry(connection, which, now)


def _retry(connection: Connection, which: Sequence[ColumnElement[bool]], now: datetime) -> int:
    free = UNLEASED | (deliveries.c.due_at <= now)
    open_ones = or_(PENDING, HELD, DEAD)
    # Nobody would send it: there is no lane for an endpoint that the config does not name.
    wanted = or_(deliveries.c.reason.is_(None), deliveries.c.reason != NOT_CONFIGURED)
    tried = connection.execute(
        update(deliveries).where(*which, open_ones, free, wanted).values(again(now))
    )
    return tried.rowcount


def in_parts(ids: Sequence[_Id]) -> list[Sequence[_Id]]:
    """Cut a list of ids so that no statement has too many parameters."""
    return [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]

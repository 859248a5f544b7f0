"""The outbox: which deliveries are due, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar, cast

from sqlalchemy import (
    Connection,
    bindparam,
    func,
    select,
    update,
)

from bridge.model import Claim, DeliveryState, Event, Order
from bridge.store import conversations, postgres
from bridge.store.due import Due, read_due
from bridge.store.endpoints import (
    BEHIND,
    EVER,
    PENDING,
    UNLEASED,
    held_endpoints,
    wake_all,
)
from bridge.store.lease import Lease
from bridge.store.statements import Statement
from bridge.store.tables import deliveries

_IDS_AT_ONCE: Final = 500
_BEHIND: Final = bindparam("behind", BEHIND, type_=deliveries.c.due_at.type)
_Id = TypeVar("_Id", int, str)

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
_READ_NEXT_DUE: Final = Statement(_NEXT_DUE)


def claim(
    connection: Connection,
    endpoint: str,
    limit: int,
    lease: Lease,
    order: Order = Order.NONE,
    since: datetime | None = None,
) -> list[Claim]:
    """Lease the endpoint's deliveries that have been due longest, each attempt counted already.

    `since`: not those that were due before. With an `order`, only the one that goes first in its
    conversation. Expired leases are due like any other, unless their endpoint is held: then they
    are held. Never gives a delivery that somebody else holds. Needs a write transaction, for an
    order with `postgres.lock_order`; the claims are ours when it has committed.
    """
    since = since or EVER
    chosen: Sequence[int] | None = None
    if order is not Order.NONE:
        chosen = conversations.choose(connection, endpoint, limit, lease.now, order, since)
    found = read_due(connection, endpoint, limit, lease.now, since, chosen)
    due = _hold_expired(connection, endpoint, found, lease.now)
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
    connection: Connection, endpoint: str, due: Sequence[Due], now: datetime
) -> Sequence[Due]:
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


def in_parts(ids: Sequence[_Id]) -> list[Sequence[_Id]]:
    """Cut a list of ids so that no statement has too many parameters."""
    return [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]

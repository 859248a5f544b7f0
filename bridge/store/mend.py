"""Moves the times in the ledger when the clock by which they were written is set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Connection, or_, select, type_coerce, update

from bridge import logs
from bridge.clock import ZERO
from bridge.model import DeliveryState
from bridge.store import postgres
from bridge.store.endpoints import BEHIND, PENDING, UNLEASED, WAITING_OR_HELD
from bridge.store.mailboxes import LEAD_SECONDS
from bridge.store.tables import deliveries, mailboxes
from bridge.store.tallies import read_counts

log = logs.logger("store")

MICROSECOND: Final = timedelta(microseconds=1)
_LEAD: Final = timedelta(seconds=2 * LEAD_SECONDS)


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest that a delivery waits: by the schedule, and because its endpoint asked for it."""

    wait: timedelta = timedelta(days=365)
    asked: timedelta = timedelta(days=365)


def move(connection: Connection, before: datetime, by: timedelta) -> None:
    """Move what waits and what is leased: the clock had come to `before` and was set by so much.

    Needs a write transaction.
    """
    _lock(connection)
    which = [WAITING_OR_HELD, deliveries.c.due_at < BEHIND]
    if by > ZERO:
        which.append(deliveries.c.due_at > before)  # the others are due in any case
    steps = by // MICROSECOND
    connection.execute(
        update(deliveries)
        .where(*which)
        .values(
            due_at=type_coerce(deliveries.c.due_at, BigInteger) + steps,
            not_before=type_coerce(deliveries.c.not_before, BigInteger) + steps,
        )
    )
    connection.execute(
        update(mailboxes)
        .where(mailboxes.c.led_until.is_not(None))
        .values(led_until=type_coerce(mailboxes.c.led_until, BigInteger) + steps)
    )


def mend(connection: Connection, now: datetime, lease: timedelta, longest: Longest) -> None:
    """Cut short what is leased or waits for longer than an attempt or a schedule can have asked.

    It was written by a clock that was wrong, and was not there to be moved when that was set: by an
    attempt in flight, or another program. Needs a write transaction.
    """
    until = now + longest.wait
    asked = now + max(longest.wait, longest.asked)
    waits = (
        UNLEASED,
        deliveries.c.due_at > until,
        or_(deliveries.c.not_before.is_(None), deliveries.c.due_at > asked),
    )
    # Another bridge's lease may be longer than ours.
    flies = (~UNLEASED, deliveries.c.due_at > asked + 2 * lease)
    pending = {name for state, name in read_counts(connection) if state == DeliveryState.PENDING}
    for endpoint in sorted(pending):
        mended = _cut(connection, endpoint, waits, until)
        mended += _cut(connection, endpoint, flies, now + lease)
        if mended:
            log.warning("store.times_mended", endpoint=endpoint, deliveries=mended)
    connection.execute(
        update(mailboxes)
        .where(mailboxes.c.led_until > now + _LEAD)
        .values(leader=None, led_until=None)
    )


def _cut(
    connection: Connection, endpoint: str, far: tuple[ColumnElement[bool], ...], until: datetime
) -> int:
    which = (deliveries.c.endpoint == endpoint, PENDING, deliveries.c.due_at < BEHIND, *far)
    # One seek in an index, in nearly every case; the locks are for the others.
    if connection.execute(select(deliveries.c.id).where(*which).limit(1)).first() is None:
        return 0
    _lock(connection)
    cut = update(deliveries).where(*which).values(due_at=until, not_before=None)
    return connection.execute(cut).rowcount


def _lock(connection: Connection) -> None:
    """Keep others from waiting for rows that we change while we wait for theirs."""
    postgres.take_time(connection)
    postgres.lock_ingest(connection)
    postgres.lock_order(connection)
    postgres.lock_holds(connection, change=True)

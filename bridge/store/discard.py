"""Discarding: ending quarantined arrivals that nobody wants, and saying why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, update

from bridge.errors import NotFound, NotPossible
from bridge.model import ArrivalOutcome, Reason
from bridge.store.tables import arrivals

_QUARANTINED: Final = arrivals.c.outcome == literal_column("'quarantine'")


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which quarantined arrivals: each that fits all that is given. Empty, it is all of them."""

    ids: Sequence[int] = ()
    reason: Reason | None = None
    provider: str | None = None
    peer: str | None = None
    before: datetime | None = None  # received before


@dataclass(frozen=True, slots=True)
class Matched:
    """How many quarantined arrivals a filter matches, and the bytes of their raw mails."""

    mails: int
    size: int


def match(connection: Connection, which: QuarantineFilter) -> Matched:
    """Count what a filter matches; raises NotFound, or NotPossible for an id not in quarantine."""
    _require(connection, which.ids)
    size = func.coalesce(func.sum(func.length(arrivals.c.raw)), 0)
    found = connection.execute(select(func.count(), size).where(*_where(which))).one()
    return Matched(int(found[0]), int(found[1]))


def discard(
    connection: Connection, which: QuarantineFilter, because: str, now: datetime, most: int
) -> int:
    """Discard up to `most` of what a filter matches, oldest first; return how many those were.

    The raw mail is removed, the arrival's row stays with the reason: the ledger still adds up, and
    the same mail read again from a mailbox or a file does not come back. Needs a write transaction.
    """
    chosen = select(arrivals.c.id).where(*_where(which)).order_by(arrivals.c.id).limit(most)
    done = connection.execute(
        update(arrivals)
        .where(arrivals.c.id.in_(chosen), _QUARANTINED)
        .values(
            outcome=ArrivalOutcome.DISCARDED,
            discarded_because=because,
            raw=b"",
            checksum=None,
            purged_at=now,
        )
    )
    return done.rowcount


def _where(which: QuarantineFilter) -> list[ColumnElement[bool]]:
    wanted = [_QUARANTINED]
    if which.ids:
        wanted.append(arrivals.c.id.in_(which.ids))
    if which.reason is not None:
        wanted.append(arrivals.c.reason == which.reason)
    if which.provider is not None:
        wanted.append(arrivals.c.provider == which.provider)
    if which.peer is not None:
        wanted.append(arrivals.c.peer == which.peer)
    if which.before is not None:
        wanted.append(arrivals.c.received_at < which.before)
    return wanted


def _require(connection: Connection, ids: Sequence[int]) -> None:
    if not ids:
        return
    query = select(arrivals.c.id, arrivals.c.outcome).where(arrivals.c.id.in_(ids))
    found = {row.id: row.outcome for row in connection.execute(query)}
    for each in ids:
        if each not in found:
            raise NotFound(f"there is no arrival {each}")
        if found[each] != ArrivalOutcome.QUARANTINE:
            raise NotPossible(
                f"arrival {each} is a {found[each]}; only quarantined arrivals can be discarded"
            )

"""Lists for whoever has no shell to wait at: a page at a time, each bounded in what it looks at.

A filter that hardly anything matches would make a page read the whole store. So a page looks at
`LOOKED_AT` rows, the newest ones that are left, and says where to go on even if none of them
matched. What an index holds in order (a state, a reason, a number that few messages have) is
looked for in that, and found at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)

from bridge.model import ArrivalOutcome, DeliveryState, Reason, SourceKind
from bridge.store import queries
from bridge.store.moments import arrivals_since, arrivals_until
from bridge.store.queries import ArrivalRow, DeliveryRow, MessageRow
from bridge.store.search import MessageFilter
from bridge.store.tables import arrivals, attempts, deliveries, events, messages, tallies
from bridge.store.tallies import PARKED

LOOKED_AT: Final = 1000
_FEW: Final = 1000  # messages of a number; those of others are among the newest
_LAST: Final = 2**63 - 1
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[_Row]):
    """Some rows, newest first; `next` is what to go on before, None at the end."""

    rows: Sequence[_Row]
    next: int | None


@dataclass(frozen=True, slots=True)
class ArrivalFilter:
    """Which arrivals: those that fit all that is given."""

    source: SourceKind | None = None
    source_name: str | None = None
    outcome: ArrivalOutcome | None = None
    reason: Reason | None = None
    provider: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on arrivals."""
        for name in ("source", "source_name", "outcome", "reason", "provider"):
            if (wanted := getattr(self, name)) is not None:
                yield arrivals.c[name] == wanted
        if self.since is not None:
            yield arrivals.c.received_at >= self.since
        if self.until is not None:
            yield arrivals.c.received_at < self.until


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries: those that fit all that is given; times are those of their making.

    `status` is what the endpoint answered to the last attempt.
    """

    endpoint: str | None = None
    state: DeliveryState | None = None
    status: int | None = None
    provider: str | None = None
    source: SourceKind | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on deliveries."""
        if self.endpoint is not None:
            yield deliveries.c.endpoint == self.endpoint
        if self.state is not None:
            yield queries.STATES.get(self.state, deliveries.c.state == self.state)
        if self.status is not None:
            yield _last_status() == self.status
        if self.since is not None:
            yield deliveries.c.created_at >= self.since
        if self.until is not None:
            yield deliveries.c.created_at < self.until
        if self.provider is not None or self.source is not None:
            yield self._message()

    def _message(self) -> ColumnElement[bool]:
        wanted = [events.c.id == deliveries.c.event_id, messages.c.id == events.c.message_id]
        if self.provider is not None:
            wanted.append(messages.c.provider == self.provider)
        if self.source is not None:
            wanted += [
                arrivals.c.message_id == messages.c.id,
                arrivals.c.outcome == ArrivalOutcome.MESSAGE,
                arrivals.c.source == self.source,
            ]
        return exists().where(*wanted)


def page_of_messages(
    connection: Connection,
    which: MessageFilter,
    source: SourceKind | None = None,
    *,
    limit: int,
    before: int | None = None,
    ends: bool = False,
) -> Page[MessageRow]:
    """Read a page of messages, the last to arrive first; `before` is an arrival's id.

    `which.number` is a whole number here, and not the end of one, unless it `ends`.
    """
    conditions = [arrivals.c.outcome == ArrivalOutcome.MESSAGE]
    conditions += replace(which, number=None).conditions()
    if source is not None:
        conditions.append(arrivals.c.source == source)
    everything = select(arrivals.c.id)
    if which.until is not None:
        before = min(before or _LAST, arrivals_until(connection, which.until) + 1)
    if which.since is not None:
        everything = everything.where(arrivals.c.id > arrivals_since(connection, which.since))
    looked_at = _newest(everything, arrivals.c.id, before)
    if which.number is not None and ends:
        conditions += MessageFilter(number=which.number).conditions()
    elif which.number is not None:
        has_it = or_(messages.c.sender == which.number, messages.c.recipient == which.number)
        conditions.append(has_it)
        ids = connection.execute(select(messages.c.id).where(has_it).limit(_FEW + 1)).scalars()
        if len(few := ids.all()) <= _FEW:
            brought = select(arrivals.c.id).where(arrivals.c.message_id.in_(few))
            looked_at = _newest(brought, arrivals.c.id, before)
    found = _matching(
        connection,
        select(arrivals.c.id).join(messages, messages.c.id == arrivals.c.message_id),
        arrivals.c.id, looked_at, conditions, limit,
    )  # fmt: skip
    rows = queries.walk_messages(
        connection, [arrivals.c.id.in_(found.rows)], after=0, last=_LAST, limit=None
    )
    return Page(rows[::-1], found.next)


def page_of_arrivals(
    connection: Connection, which: ArrivalFilter, *, limit: int, before: int | None = None
) -> Page[ArrivalRow]:
    """Read a page of arrivals, the last first."""
    looked_at = _newest(select(arrivals.c.id), arrivals.c.id, before)
    if which.outcome is ArrivalOutcome.QUARANTINE:
        # In the order of the index, reason by reason.
        looked_at = _merged(
            [
                select(arrivals.c.id).where(queries.QUARANTINED, arrivals.c.reason == each)
                for each in ([which.reason] if which.reason else Reason)
            ],
            arrivals.c.id,
            before,
        )
    found = _matching(
        connection, select(arrivals.c.id), arrivals.c.id, looked_at, [*which.conditions()], limit
    )
    query = queries.ARRIVAL.where(arrivals.c.id.in_(found.rows)).order_by(arrivals.c.id.desc())
    rows = [queries.arrival_row(row) for row in connection.execute(query).mappings()]
    return Page(rows, found.next)


def page_of_deliveries(
    connection: Connection, which: DeliveryFilter, *, limit: int, before: int | None = None
) -> Page[DeliveryRow]:
    """Read a page of deliveries, the newest first."""
    looked_at = _newest(select(deliveries.c.id), deliveries.c.id, before)
    names = [which.endpoint] if which.endpoint else _endpoints_with(connection, which.state)
    if which.state in queries.STATES and names is not None:
        looked_at = _merged(
            [
                select(deliveries.c.id).where(
                    deliveries.c.endpoint == each, queries.STATES[which.state]
                )
                for each in names
            ],
            deliveries.c.id,
            before,
        )
    found = _matching(
        connection, select(deliveries.c.id), deliveries.c.id, looked_at, [*which.conditions()],
        limit,
    )  # fmt: skip
    among = select(deliveries.c.id).where(deliveries.c.id.in_(found.rows))
    return Page(queries.list_deliveries(connection, limit=None, among=among), found.next)


def _newest(query: Select[Any], key: ColumnElement[int], before: int | None) -> Select[Any]:
    if before is not None:
        query = query.where(key < before)
    return query.order_by(key.desc()).limit(LOOKED_AT)


def _merged(
    parts: Sequence[Select[Any]], key: ColumnElement[int], before: int | None
) -> Select[Any]:
    """Merge lists that are in order, each from its own place in an index."""
    each = [select(_newest(part, key, before).subquery().c.id) for part in parts]
    found = union_all(*each, select(literal(0).label("id")).where(false())).subquery()
    return select(found.c.id).order_by(found.c.id.desc()).limit(LOOKED_AT)


def _matching(
    connection: Connection,
    query: Select[Any],
    key: ColumnElement[int],
    looked_at: Select[Any],
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
) -> Page[int]:
    """Find the ids that match among those that are looked at."""
    some = looked_at.subquery()
    count, last = connection.execute(select(func.count(), func.min(some.c.id))).one()
    wanted = query.where(key.in_(select(looked_at.subquery().c.id)), *conditions)
    ids = connection.execute(wanted.order_by(key.desc()).limit(limit + 1)).scalars().all()
    if len(ids) > limit:
        return Page(ids[:limit], ids[limit - 1])
    return Page(ids, last if count == LOOKED_AT else None)


def _endpoints_with(connection: Connection, state: DeliveryState | None) -> list[str] | None:
    """Return the endpoints that have deliveries in a state; None where they aren't counted."""
    if state not in {DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD}:
        return None
    counted = select(tallies.c.name).where(tallies.c.state.in_([state, PARKED])).distinct()
    return list(connection.execute(counted).scalars())


def _last_status() -> ScalarSelect[Any]:
    """Select what the endpoint answered to a delivery's last attempt."""
    last = (
        select(attempts.c.status)
        .where(attempts.c.delivery_id == deliveries.c.id)
        .order_by(attempts.c.number.desc())
        .limit(1)
    )
    return last.scalar_subquery()

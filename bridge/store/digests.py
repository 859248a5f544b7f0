"""Digests: an event for each endpoint every so often, made once for each period.

It is written with its delivery in one transaction, which takes for granted what was read before it
was put together, and writes nothing if that has changed. So a kill makes none twice, and of several
bridges one makes it. A digest that has not got through is replaced by the next one, which goes back
to where that one began: during an outage one waits, and none of what it says is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, insert, literal_column, or_, select, update

from bridge.model import Claim, DeliveryState, Digest, Event, PlannedDelivery
from bridge.store import forget, postgres, rows
from bridge.store.endpoints import DEAD, UNLEASED, held_endpoints
from bridge.store.lease import Lease
from bridge.store.sequences import last_numbers
from bridge.store.stream_tables import digests
from bridge.store.tables import deliveries, events

KEPT: Final = 100  # digests of an endpoint, beside those that are not at rest
_NOT_COMING: Final = 100  # numbers that one digest names
_FAR: Final = 2  # periods
_REPLACED: Final = "replaced by a later digest"
_OPEN: Final = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
# As the index of those few has it.
ERASED: Final = (deliveries.c.state == literal_column("'filtered'")) & (
    deliveries.c.sequence.is_not(None)
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an endpoint's digests are: what the next one must go on from.

    `made` are the periods that have one, `replaces` the deliveries of those that have not got
    through.
    """

    number: int = 0
    due_at: datetime | None = None
    after: int = 0
    replaces: tuple[int, ...] = ()
    made: frozenset[datetime] = frozenset()

    def wants(self, due_at: datetime, every: float, now: datetime) -> bool:
        """Return whether a period gets a digest: once, and those that went by get none.

        Unless the last one is far ahead: the clock was wrong, and there would be none until then.
        """
        last = self.due_at
        goes_on = last is None or due_at > last or last - now > _FAR * timedelta(seconds=every)
        return goes_on and due_at not in self.made


def read_standing(connection: Connection, endpoint: str, now: datetime) -> Standing:
    """Read where an endpoint's digests are."""
    query = (
        select(digests, deliveries.c.state, deliveries.c.leased_by, deliveries.c.due_at.label("at"))
        .join(deliveries, deliveries.c.id == digests.c.delivery_id)
        .where(digests.c.endpoint == endpoint)
        .order_by(digests.c.number.desc())
    )
    found = connection.execute(query).all()
    if not found:
        return Standing()
    open_ones = [
        row for row in found if row.state in _OPEN and (row.leased_by is None or row.at <= now)
    ]
    return Standing(
        number=found[0].number,
        due_at=found[0].due_at,
        after=min([found[0].last, *(row.after for row in open_ones)]),
        replaces=tuple(sorted(row.delivery_id for row in open_ones)),
        made=frozenset(row.due_at for row in found),
    )


def draft(
    connection: Connection, endpoint: str, standing: Standing, due_at: datetime, every: float
) -> Digest:
    """Put the next digest together: it reads each delivery since the one before."""
    last = last_numbers(connection).get(endpoint, 0)
    mine = deliveries.c.endpoint == endpoint
    since = (mine, deliveries.c.sequence > standing.after, deliveries.c.sequence <= last)
    counted = select(deliveries.c.state, func.count()).where(*since).group_by(deliveries.c.state)
    states: dict[str, int] = dict(map(tuple, connection.execute(counted)))
    return Digest(
        endpoint=endpoint,
        number=standing.number + 1,
        due_at=due_at,
        every=every,
        after=standing.after,
        last=last,
        waiting=states.get(DeliveryState.PENDING, 0) + states.get(DeliveryState.HELD, 0),
        dead=states.get(DeliveryState.DEAD, 0),
        erased=states.get(DeliveryState.FILTERED, 0),
        not_coming=_not_coming(connection, mine),
    )


def write(
    connection: Connection,
    digest: Digest,
    event: Event,
    standing: Standing,
    new_lease: Callable[[], Lease],
    planned: PlannedDelivery,
) -> Claim | bool:
    """Write a digest with its delivery, if the endpoint's digests are still where they were.

    Returns whether it was written, or its claim if it is leased to us. Needs a write transaction.
    """
    postgres.lock_ingest(connection)
    postgres.lock_holds(connection, change=False)
    lease = new_lease()  # not before: a commit may wait for another one for longer than a lease
    now = lease.now
    if read_standing(connection, digest.endpoint, now) != standing:
        return False
    _replace(connection, standing.replaces, now)
    reason = held_endpoints(connection).get(digest.endpoint)
    state = DeliveryState.PENDING if reason is None else DeliveryState.HELD
    claimed = planned.claimed and reason is None
    connection.execute(insert(events).values(rows.event(event, None, 1, now)))
    made = connection.execute(
        insert(deliveries).values(
            event_id=event.id, endpoint=digest.endpoint, state=state, reason=reason,
            attempts=int(claimed), step=0, schedule_from=now,
            lived_from=lease.lived,
            due_at=lease.until if claimed else now, leased_by=lease.owner if claimed else None,
            created_at=now, changed_at=now,
        )
    )  # fmt: skip
    key = made.inserted_primary_key
    assert key is not None
    delivery = int(key[0])
    connection.execute(
        insert(digests).values(
            delivery_id=delivery, endpoint=digest.endpoint, number=digest.number,
            due_at=digest.due_at, after=digest.after, last=digest.last,
        )
    )  # fmt: skip
    forget.forget_digests(connection, digest.endpoint, digest.number - KEPT)
    if not claimed:
        return True
    token = lease.token(1)
    return Claim(
        delivery, digest.endpoint, event, 1, 0, 0.0, token, created_at=now, lane=planned.lane
    )


def _replace(connection: Connection, which: Sequence[int], now: datetime) -> None:
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(which), or_(UNLEASED, deliveries.c.due_at <= now))
        .values(state=DeliveryState.FILTERED, reason=_REPLACED, leased_by=None, changed_at=now)
    )


def _not_coming(connection: Connection, mine: ColumnElement[bool]) -> tuple[int, ...]:
    found: set[int] = set()
    for state in (DEAD, ERASED):
        newest = select(deliveries.c.sequence).where(mine, state)
        numbers = newest.order_by(deliveries.c.id.desc()).limit(_NOT_COMING)
        found.update(each for each in connection.execute(numbers).scalars() if each is not None)
    return tuple(sorted(found)[-_NOT_COMING:])

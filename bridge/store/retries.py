"""Orders to retry deliveries by filter: each is a row with how far it has come, like a replay.

So it goes on after a restart, and of several bridges on one database each step is made by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, or_, select, update

from bridge.errors import NotFound, NotPossible
from bridge.model import DeliveryState, SourceKind
from bridge.store import postgres
from bridge.store.endpoints import DEAD, HELD, PENDING
from bridge.store.pages import DeliveryFilter
from bridge.store.replays import CANCELLED, DONE, RUNNING
from bridge.store.retry import retry_deliveries
from bridge.store.tables import deliveries, replays

RETRY: Final = "retry"  # the kind of these rows
SHOWN: Final = 200
LOOKED_AT: Final = 20_000  # deliveries of one step, whether they match or not
_TIMES: Final = ("since", "until")
_OURS: Final = replays.c.kind == RETRY
_RETRYABLE: Final = {None, DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD}


@dataclass(frozen=True, slots=True)
class Retry:
    """An order and how far it has come: all deliveries up to `position` of `last` are done."""

    id: int
    which: DeliveryFilter
    rate: float  # deliveries a second
    position: int
    last: int
    retried: int
    skipped: int  # those that match and were left as they are: under way, or done meanwhile
    state: str
    created_at: datetime
    changed_at: datetime
    who: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """The next deliveries that match, and up to which one was looked at."""

    ids: Sequence[int]
    position: int


def require_filter(which: DeliveryFilter) -> None:
    """Raise NotPossible for a filter of everything, or of what can't be retried."""
    if which == DeliveryFilter():
        raise NotPossible("name an endpoint, a state or another filter: this would be all of them")
    if which.state not in _RETRYABLE:
        raise NotPossible(f"a {which.state} delivery cannot be tried again")


def order(
    connection: Connection, which: DeliveryFilter, rate: float, who: str, why: str | None,
    now: datetime,
) -> int:  # fmt: skip
    """Order a retry of what matches so far; return its id. Needs a write transaction."""
    ordered = connection.execute(
        insert(replays).values(
            kind=RETRY, endpoint=which.endpoint or "", selection=_to_json(which), rate=rate,
            position=0, last=newest_delivery(connection), written=0, skipped=0, state=RUNNING,
            created_at=now, changed_at=now, who=who, why=why,
        )
    )  # fmt: skip
    key = ordered.inserted_primary_key
    assert key is not None
    return int(key[0])


def newest_delivery(connection: Connection) -> int:
    """Return the id of the newest delivery; 0 if there is none."""
    newest = select(func.coalesce(func.max(deliveries.c.id), 0))
    return int(connection.execute(newest).scalar_one())


def list_retries(connection: Connection, *, running: bool = False) -> list[Retry]:
    """List the newest retries; `running`: all those that have not ended."""
    query = select(replays).where(_OURS).order_by(replays.c.id.desc())
    query = query.where(replays.c.state == RUNNING) if running else query.limit(SHOWN)
    return [_retry(row) for row in connection.execute(query).mappings()]


def find_retry(connection: Connection, retry_id: int) -> Retry:
    """Return a retry, however old; raises NotFound."""
    query = select(replays).where(_OURS, replays.c.id == retry_id)
    if (row := connection.execute(query).mappings().first()) is None:
        raise NotFound(f"there is no retry {retry_id}")
    return _retry(row)


def cancel(connection: Connection, retry_id: int, now: datetime) -> None:
    """Cancel a running retry; what it has retried stays so.

    Raises NotFound, or NotPossible if it has ended. Needs a write transaction.
    """
    state = connection.execute(
        select(replays.c.state).where(_OURS, replays.c.id == retry_id)
    ).scalar()
    if state is None:
        raise NotFound(f"there is no retry {retry_id}")
    if state != RUNNING:
        raise NotPossible(f"retry {retry_id} is {state}")
    connection.execute(
        update(replays).where(replays.c.id == retry_id).values(state=CANCELLED, changed_at=now)
    )


def look(
    connection: Connection, which: DeliveryFilter, *, after: int, last: int, most: int
) -> Found:
    """Find the next deliveries to retry, `most` of them; purely read."""
    end = min(last, after + LOOKED_AT)
    query = (
        select(deliveries.c.id)
        .where(*_conditions(which), deliveries.c.id > after, deliveries.c.id <= end)
        .order_by(deliveries.c.id)
        .limit(most)
    )
    ids = connection.execute(query).scalars().all()
    return Found(ids, ids[-1] if len(ids) == most else end)


def advance(connection: Connection, retry: Retry, found: Found, now: datetime) -> int:
    """Retry what was found, and write that this has come so far; return how many were retried.

    Does nothing if the order isn't any more as it was read: another bridge was faster, or it was
    cancelled. Needs a write transaction.
    """
    postgres.lock_ingest(connection)  # before any other lock
    current = select(replays.c.position, replays.c.state).where(replays.c.id == retry.id)
    if connection.execute(current.with_for_update()).one() != (retry.position, RUNNING):
        return 0
    # Once more, since some may have been delivered meanwhile.
    still = select(deliveries.c.id).where(*_conditions(retry.which), deliveries.c.id.in_(found.ids))
    ids = connection.execute(still).scalars().all()
    retried = retry_deliveries(connection, now=now, ids=ids) if ids else 0
    connection.execute(
        update(replays)
        .where(replays.c.id == retry.id)
        .values(
            position=found.position,
            state=DONE if found.position >= retry.last else RUNNING,
            written=retry.retried + retried,
            skipped=retry.skipped + len(found.ids) - retried,
            changed_at=now,
        )
    )
    return retried


def _conditions(which: DeliveryFilter) -> Iterator[ColumnElement[bool]]:
    yield or_(PENDING, HELD, DEAD)
    yield from which.conditions()


def _retry(row: RowMapping) -> Retry:
    known: dict[str, Any] = {name: row[name] for name in Retry.__slots__ if name in row}
    return Retry(**known, which=_from_json(row["selection"]), retried=row["written"])


def _to_json(which: DeliveryFilter) -> str:
    named = {name: value for name, value in asdict(which).items() if value is not None}
    for name in _TIMES:
        if name in named:
            named[name] = named[name].isoformat()
    return json.dumps(named)


def _from_json(stored: str) -> DeliveryFilter:
    named = json.loads(stored)
    for name in _TIMES:
        if name in named:
            named[name] = datetime.fromisoformat(named[name])
    if "state" in named:
        named["state"] = DeliveryState(named["state"])
    if "source" in named:
        named["source"] = SourceKind(named["source"])
    return DeliveryFilter(**named)

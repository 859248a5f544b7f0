"""What `smsbridge status` shows of the store, read in one transaction and from indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, literal_column, select

from bridge.model import ArrivalOutcome, EndpointStatus
from bridge.store.endpoints import endpoint_statuses
from bridge.store.snapshot import Snapshot, oldest_undelivered, take_snapshot
from bridge.store.tables import arrivals, attempts, deliveries, heartbeat

# A failure that is older than so many attempts is not searched for: there may be millions of them.
_RECENT_ATTEMPTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that did not deliver; its result is retry, held or dead."""

    delivery_id: int
    endpoint: str
    started_at: datetime
    result: str
    status: int | None
    error: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the store at one moment.

    `beat_at` is when a daemon last wrote its heartbeat, which it does every few seconds.
    `last_failure` is None if none of the last 10,000 attempts failed.
    """

    snapshot: Snapshot
    statuses: Mapping[str, EndpointStatus]  # of those that are not active
    undelivered_since: Mapping[str, datetime]
    last_failure: FailedAttempt | None
    last_message_at: datetime | None
    beat_at: datetime | None


def take_overview(connection: Connection, configured: Sequence[str]) -> Overview:
    """Read the overview; `configured` are the endpoints of the config."""
    snapshot = take_snapshot(connection)
    names = {*configured, *(endpoint for endpoint, _ in snapshot.deliveries)}
    return Overview(
        snapshot=snapshot,
        statuses=endpoint_statuses(connection),
        undelivered_since=oldest_undelivered(connection, sorted(names)),
        last_failure=_last_failure(connection),
        last_message_at=_last_message_at(connection),
        beat_at=connection.execute(select(heartbeat.c.beat_at)).scalar(),
    )


def _last_failure(connection: Connection) -> FailedAttempt | None:
    oldest = select(func.max(attempts.c.id) - _RECENT_ATTEMPTS).scalar_subquery()
    query = (
        select(
            attempts.c.delivery_id,
            deliveries.c.endpoint,
            attempts.c.started_at,
            attempts.c.result,
            attempts.c.status,
            attempts.c.error,
            attempts.c.detail,
        )
        .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
        .where(attempts.c.id > oldest, attempts.c.result != literal_column("'delivered'"))
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else FailedAttempt(**row)


def _last_message_at(connection: Connection) -> datetime | None:
    query = (
        select(arrivals.c.received_at)
        .where(arrivals.c.outcome == ArrivalOutcome.MESSAGE)
        .order_by(arrivals.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()

"""Retries: the same delivery, now and by a new schedule, because an operator says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from bridge.errors import NotPossible
from bridge.model import DeliveryState
from bridge.store.endpoints import DEAD, HELD, NOT_CONFIGURED, PENDING, UNLEASED, again
from bridge.store.outbox import in_parts
from bridge.store.tables import deliveries

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
    found = (
        connection.execute(update(deliveries).where(*which).values(again(now)))
        for which in _to_retry(now, ids, endpoint, state)
    )
    return sum(each.rowcount for each in found)


def count_retryable(
    connection: Connection,
    *,
    now: datetime,
    ids: Sequence[int] = (),
    endpoint: str | None = None,
    state: DeliveryState | None = None,
) -> int:
    """Return how many deliveries `retry_deliveries` would try again; raises as it does."""
    found = (
        connection.execute(select(func.count()).where(*which)).scalar_one()
        for which in _to_retry(now, ids, endpoint, state)
    )
    return sum(found)


def _to_retry(
    now: datetime, ids: Sequence[int], endpoint: str | None, state: DeliveryState | None
) -> Iterator[Sequence[ColumnElement[bool]]]:
    """Yield conditions that together name what is retried, each delivery by one of them."""
    # Nobody would send it: there is no lane for an endpoint that the config does not name.
    wanted = or_(deliveries.c.reason.is_(None), deliveries.c.reason != NOT_CONFIGURED)
    free = UNLEASED | (deliveries.c.due_at <= now)
    retryable = (or_(PENDING, HELD, DEAD), free, wanted)
    if ids:
        for some in in_parts(sorted(set(ids))):
            yield (deliveries.c.id.in_(some), *retryable)
        return
    if endpoint is None and state is None:
        raise NotPossible("name deliveries, an endpoint or a state to try again")
    which: list[ColumnElement[bool]] = []
    if endpoint is not None:
        which.append(deliveries.c.endpoint == endpoint)
    if state is not None:
        if state not in _RETRYABLE:
            raise NotPossible(f"a {state.value} delivery cannot be tried again")
        which.append(_RETRYABLE[state])
    yield (*which, *retryable)

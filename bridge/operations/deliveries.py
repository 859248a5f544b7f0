"""Lists, shows and retries deliveries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from bridge.formats import sms_received
from bridge.model import DeliveryState
from bridge.operations.documents import Document, attempt_document, delivery_document
from bridge.store import Store, count_retryable, queries, retry_deliveries

NO_RATES: Final[Mapping[str, str]] = MappingProxyType({})


async def list_deliveries(
    store: Store,
    clock: Callable[[], datetime],
    *,
    limit: int,
    before: int | None = None,
    endpoint: str | None = None,
    state: DeliveryState | None = None,
    rates: Mapping[str, str] = NO_RATES,
) -> list[Document]:
    """List deliveries, newest first; `rates` are those of the endpoints that have one."""
    found = await store.read(
        partial(queries.list_deliveries, limit=limit, before=before, endpoint=endpoint, state=state)
    )
    now = clock()
    return [delivery_document(row, rates, now) for row in found]


async def show_delivery(
    store: Store,
    clock: Callable[[], datetime],
    delivery_id: int,
    rates: Mapping[str, str] = NO_RATES,
) -> Document:
    """Return one delivery: {"delivery", "data": the webhook's data, "attempts": […]}."""
    found = await store.read(partial(queries.show_delivery, delivery_id=delivery_id))
    message_id = found.delivery.message_id
    if message_id is None:
        data = json.loads(found.event.body)["data"]
    else:
        detail = await store.read(partial(queries.show_message, message_id=message_id))
        data = sms_received.data(detail.row.message)
    return {
        "delivery": delivery_document(found.delivery, rates, clock()),
        "data": data,
        "attempts": [attempt_document(row) for row in found.attempts],
    }


async def retry(
    store: Store,
    clock: Callable[[], datetime],
    *,
    ids: Sequence[int] = (),
    endpoint: str | None = None,
    state: DeliveryState | None = None,
) -> Document:
    """Retry pending, held and dead deliveries now, with a new schedule; {"retried": count}.

    Either `ids`, or all of an `endpoint` and/or in a `state`. In-flight deliveries are skipped.
    Raises NotFound, and changes nothing, if an id does not exist; NotPossible for a state that
    cannot be retried.
    """
    now = clock()

    def change(connection: Connection) -> int:
        for each in ids:
            queries.require_delivery(connection, each)
        return retry_deliveries(connection, now=now, ids=ids, endpoint=endpoint, state=state)

    return {"retried": await store.change(change)}


async def match_retry(
    store: Store,
    clock: Callable[[], datetime],
    *,
    ids: Sequence[int] = (),
    endpoint: str | None = None,
    state: DeliveryState | None = None,
) -> Document:
    """Return how many deliveries `retry` would retry: {"deliveries": count}; raises as it does."""

    def look(connection: Connection) -> int:
        for each in ids:
            queries.require_delivery(connection, each)
        return count_retryable(connection, now=clock(), ids=ids, endpoint=endpoint, state=state)

    return {"deliveries": await store.read(look)}

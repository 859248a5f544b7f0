"""Pages of lists for those who go from screen to screen, in a small store and a big one.

What a filter rarely finds is not looked for through the whole store: a page looks back so far, says
how far that was, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection

from bridge.model import DeliveryState
from bridge.operations.deliveries import NO_RATES
from bridge.operations.documents import (
    Document,
    arrival_document,
    delivery_document,
    message_document,
    when,
)
from bridge.store import Store, paging, queries, take_snapshot
from bridge.store.queries import DeliveryRow, MessageRow
from bridge.store.search import ALL, MessageFilter

LOOKED_AT: Final = 20_000  # rows that one page goes through for what has no index


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, newest first. `next` is the cursor of the next page, None if this is the last.

    `looked_back_to`: there may be more that match, further back than that.
    """

    rows: list[Document]
    next: int | None = None
    looked_back_to: str | None = None


async def message_page(
    store: Store,
    which: MessageFilter = ALL,
    *,
    limit: int,
    before: int | None = None,
    reveal: bool = False,
) -> Page:
    """Return a page of the messages that match; `before` is the cursor."""

    def look(connection: Connection) -> tuple[list[MessageRow], int, datetime | None]:
        top = paging.newest_arrival(connection) + 1 if before is None else before
        if which == ALL:
            return queries.list_messages(connection, limit=limit + 1, before=top), 0, None
        least = 0
        if which.until is not None:
            top = min(top, paging.arrivals_until(connection, which.until) + 1)
        if which.since is not None:
            least = paging.arrivals_since(connection, which.since)
        above = max(least, top - 1 - LOOKED_AT)
        found = queries.list_messages(
            connection, limit=limit + 1, before=top, which=replace(which, above=above)
        )
        if above <= least:
            return found, 0, None
        return found, above + 1, paging.arrival_time(connection, above + 1)

    found, further, moment = await store.read(look)
    rows = [message_document(row, reveal=reveal) for row in found[:limit]]
    if len(found) > limit:
        return Page(rows, found[limit - 1].arrival_id)
    return Page(rows, further, when(moment)) if further else Page(rows)


async def delivery_page(
    store: Store,
    clock: Callable[[], datetime],
    configured: Sequence[str],
    *,
    limit: int,
    before: int | None = None,
    endpoint: str | None = None,
    state: DeliveryState | None = None,
    rates: Mapping[str, str] = NO_RATES,
) -> Page:
    """Return a page of deliveries; `before` is the cursor.

    Those of one endpoint in any state are without the filtered ones.
    """

    def look(connection: Connection) -> tuple[list[DeliveryRow], int, datetime | None]:
        top = paging.newest_delivery(connection) + 1 if before is None else before
        if state is None and endpoint is None:
            return queries.list_deliveries(connection, limit=limit + 1, before=top), 0, None
        above = 0
        if state is DeliveryState.FILTERED:
            above = max(0, top - 1 - LOOKED_AT)
            ids = paging.filtered_ids(connection, endpoint, above, top, limit + 1)
        else:
            known = {name for name, _ in take_snapshot(connection).deliveries}
            names = [endpoint] if endpoint else sorted(known | set(configured))
            ids = paging.delivery_ids(connection, names, state, top, limit + 1)
        found = queries.list_deliveries(connection, limit=None, among=paging.these(ids))
        if not above:
            return found, 0, None
        return found, above + 1, paging.delivery_time(connection, above + 1)

    found, further, moment = await store.read(look)
    now = clock()
    rows = [delivery_document(row, rates, now) for row in found[:limit]]
    if len(found) > limit:
        return Page(rows, found[limit - 1].id)
    return Page(rows, further, when(moment)) if further else Page(rows)


async def quarantine_page(
    store: Store, *, limit: int, before: int | None = None, reason: str | None = None
) -> Page:
    """Return a page of the arrivals in quarantine; `before` is the cursor."""
    found = await store.read(
        partial(queries.list_quarantine, limit=limit + 1, before=before, reason=reason)
    )
    rows = [arrival_document(row, reveal=False) for row in found[:limit]]
    return Page(rows, rows[-1]["id"]) if len(found) > limit else Page(rows)

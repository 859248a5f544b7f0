"""Follows lists as a terminal does with `tail -f`: the newest first of all, then what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from sqlalchemy import Connection

from bridge.model import DeliveryState
from bridge.operations.documents import (
    Document,
    arrival_document,
    delivery_document,
    message_document,
)
from bridge.store import Store, queries
from bridge.store.following import (
    Seen,
    changed_deliveries,
    look_now,
    new_in_quarantine,
    new_messages,
)
from bridge.store.search import ALL, MessageFilter

_POLL_SECONDS: Final = 1.0
Row = TypeVar("Row")
Documents = AsyncIterator[list[Document]]


def follow_messages(
    store: Store, *, limit: int, which: MessageFilter = ALL, reveal: bool = False
) -> Documents:
    """Yield the newest messages that match, oldest first, and then each that arrives."""
    return _follow(
        store,
        lambda connection: queries.list_messages(connection, limit=limit, which=which),
        lambda connection, seen: new_messages(connection, seen, which),
        lambda row: message_document(row, reveal=reveal),
    )


def follow_deliveries(
    store: Store, *, limit: int, endpoint: str | None = None, state: DeliveryState | None = None
) -> Documents:
    """Yield the newest deliveries, oldest first, and then each when it is made or was tried."""
    return _follow(
        store,
        lambda connection: queries.list_deliveries(
            connection, limit=limit, endpoint=endpoint, state=state
        ),
        lambda connection, seen: changed_deliveries(connection, seen, endpoint, state),
        delivery_document,
    )


def follow_quarantine(store: Store, *, limit: int, reason: str | None = None) -> Documents:
    """Yield the newest arrivals in quarantine, oldest first, and then each that comes in."""
    return _follow(
        store,
        lambda connection: queries.list_quarantine(connection, limit=limit, reason=reason),
        lambda connection, seen: new_in_quarantine(connection, seen, reason),
        lambda row: arrival_document(row, reveal=False),
    )


async def _follow(
    store: Store,
    newest: Callable[[Connection], list[Row]],
    since: Callable[[Connection, Seen], tuple[list[Row], Seen]],
    document: Callable[[Row], Document],
) -> Documents:
    def begin(connection: Connection) -> tuple[list[Row], Seen]:
        return newest(connection)[::-1], look_now(connection)

    def go_on(connection: Connection) -> tuple[list[Row], Seen]:
        return since(connection, seen)

    found, seen = await store.read(begin)
    while True:
        if found:
            yield [document(row) for row in found]
        await asyncio.sleep(_POLL_SECONDS)
        found, seen = await store.read(go_on)

"""Lists and shows messages."""

from __future__ import annotations

from functools import partial

from bridge.formats import sms_received
from bridge.operations.documents import (
    Document,
    arrival_document,
    delivery_document,
    message_document,
)
from bridge.store import Store, queries


async def list_messages(
    store: Store,
    *,
    limit: int,
    before: int | None = None,
    provider: str | None = None,
    unwanted: bool = False,
    reveal: bool = False,
) -> list[Document]:
    """List messages, newest arrival first; numbers are masked unless `reveal`.

    `unwanted`: only those that no endpoint wanted.
    """
    found = await store.read(
        partial(
            queries.list_messages,
            limit=limit,
            before=before,
            provider=provider,
            unwanted=unwanted,
        )
    )
    return [message_document(row, reveal=reveal) for row in found]


async def show_message(store: Store, message_id: str) -> Document:
    """Return one message: {"data": the webhook's data, "arrivals": […], "deliveries": […]}."""
    found = await store.read(partial(queries.show_message, message_id=message_id))
    return {
        "data": sms_received.data(found.row.message),
        "arrivals": [arrival_document(row, reveal=True) for row in found.arrivals],
        "deliveries": [delivery_document(row) for row in found.deliveries],
    }

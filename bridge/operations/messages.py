"""Lists and shows messages."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection

from bridge.formats import sms_received
from bridge.operations.documents import (
    Document,
    arrival_document,
    delivery_document,
    message_document,
    when,
)
from bridge.store import Store, queries
from bridge.store.queries import MessageDetail
from bridge.store.search import ALL, MessageFilter, find_message


async def list_messages(
    store: Store,
    *,
    limit: int,
    before: int | None = None,
    which: MessageFilter = ALL,
    reveal: bool = False,
) -> list[Document]:
    """List the messages that match, newest arrival first; numbers are masked unless `reveal`."""
    found = await store.read(
        partial(queries.list_messages, limit=limit, before=before, which=which)
    )
    return [message_document(row, reveal=reveal) for row in found]


async def show_message(store: Store, wanted: str) -> Document:
    """Return one message: {"data", "state", "purged_at", "arrivals": […], "deliveries": […]}.

    "data" is the webhook's, "state" sums up the deliveries, "purged_at" is when the text went.
    `wanted` is its id, the beginning of it, the number of an arrival or the id of a 250. Raises
    NotFound; NotPossible if several ids begin like that.
    """

    def find(connection: Connection) -> MessageDetail:
        return queries.show_message(connection, find_message(connection, wanted))

    found = await store.read(find)
    return {
        "data": sms_received.data(found.row.message),
        "state": found.row.state,
        "purged_at": when(found.row.purged_at),
        "arrivals": [arrival_document(row, reveal=True) for row in found.arrivals],
        "deliveries": [delivery_document(row) for row in found.deliveries],
    }

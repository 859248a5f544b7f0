"""Lists and stories for API and page: a page at a time, with as much of them as one may see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from bridge.logs import mask
from bridge.model import SourceKind
from bridge.operations.documents import (
    Document,
    arrival_document,
    delivery_document,
    message_document,
)
from bridge.store import Store
from bridge.store.pages import (
    ArrivalFilter,
    DeliveryFilter,
    page_of_arrivals,
    page_of_deliveries,
    page_of_messages,
)
from bridge.store.search import MessageFilter

_ENVELOPE: Final = ("envelope_from", "recipients")


async def messages(
    store: Store,
    which: MessageFilter,
    source: SourceKind | None,
    *,
    limit: int,
    before: int | None,
    numbers: bool,
    texts: bool,
) -> Document:
    """List messages, the last to arrive first: {"data": […], "next"}.

    A page may have fewer than `limit`, and even none, while "next" says that there may be more.
    """
    look = partial(page_of_messages, which=which, source=source, limit=limit, before=before)
    page = await store.read(look)
    shown = [message_document(row, reveal=numbers) for row in page.rows]
    if numbers and not texts:
        for each in shown:
            del each["body"]
    return {"data": shown, "next": page.next}


async def arrivals(
    store: Store, which: ArrivalFilter, *, limit: int, before: int | None
) -> Document:
    """List arrivals, the last first, without envelope addresses: {"data": […], "next"}."""
    look = partial(page_of_arrivals, which=which, limit=limit, before=before)
    page = await store.read(look)
    return {"data": [arrival_document(row, reveal=False) for row in page.rows], "next": page.next}


async def deliveries(
    store: Store,
    clock: Callable[[], datetime],
    which: DeliveryFilter,
    *,
    limit: int,
    before: int | None,
) -> Document:
    """List deliveries, the newest first: {"data": […], "next"}."""
    look = partial(page_of_deliveries, which=which, limit=limit, before=before)
    page = await store.read(look)
    now = clock()
    return {"data": [delivery_document(row, now=now) for row in page.rows], "next": page.next}


def masked(story: Document, *, numbers: bool, texts: bool) -> Document:
    """Mask in a message's story what isn't to be seen: numbers, and texts with what quotes them."""
    data = dict(story["data"])
    if not numbers:
        for key in ("from", "to"):
            data[key] = mask(data[key])
        data["raw"] = {**data["raw"], **{key: mask(data["raw"][key]) for key in ("from", "to")}}
    if not texts:
        data["body"] = None
        if data["email"] is not None:
            data["email"] = {**data["email"], "subject": None}
    return {
        "data": data,
        "arrivals": [masked_arrival(each, numbers=numbers) for each in story["arrivals"]],
        "deliveries": story["deliveries"],
    }


def masked_arrival(arrival: Document, *, numbers: bool) -> Document:
    """Leave an arrival's envelope out, whose addresses may be secret, if numbers are masked."""
    return {key: value for key, value in arrival.items() if numbers or key not in _ENVELOPE}

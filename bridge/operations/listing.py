"""Lists and stories for API and page: a page at a time, with as much of them as one may see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from bridge.logs import mask
from bridge.model import SourceKind
from bridge.operations.deliveries import NO_RATES
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
from bridge.store.queries import STATES
from bridge.store.search import MessageFilter

_TURNS: Final = 10
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
    ends: bool = False,
) -> Document:
    """List messages, the last to arrive first: {"data": […], "next"}.

    A page may have fewer than `limit`, and even none, while "next" says that there may be more.
    `which.number` is a whole one, unless it `ends` one, by which a masked number can be found out.
    """
    look = partial(
        page_of_messages, which=which, source=source, limit=limit, before=before, ends=ends
    )
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
    rates: Mapping[str, str] = NO_RATES,
) -> Document:
    """List deliveries, the newest first: {"data": […], "next"}.

    `rates` are those of the endpoints that have one.
    """
    look = partial(page_of_deliveries, which=which, limit=limit, before=before)
    page = await store.read(look)
    now = clock()
    return {"data": [delivery_document(row, rates, now) for row in page.rows], "next": page.next}


async def patiently(
    turn: Callable[[int, int | None], Awaitable[Document]], limit: int, before: int | None
) -> Document:
    """Turn so many pages that `limit` rows are found, but no more than ten: {"data": […], "next"}.

    `turn` is given the number of rows that are missing, and where to go on.
    """
    found: list[Document] = []
    for _ in range(_TURNS):
        page = await turn(limit - len(found), before)
        found += page["data"]
        before = page["next"]
        if before is None or len(found) >= limit:
            break
    return {"data": found, "next": before}


async def newest_of_endpoint(
    store: Store, clock: Callable[[], datetime], name: str, limit: int
) -> list[Document]:
    """Return an endpoint's newest deliveries, but for those that it doesn't want: by indexes."""
    found: list[Document] = []
    for state in STATES:
        which = DeliveryFilter(endpoint=name, state=state)
        found += (await deliveries(store, clock, which, limit=limit, before=None))["data"]
    return sorted(found, key=lambda each: -each["id"])[:limit]


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

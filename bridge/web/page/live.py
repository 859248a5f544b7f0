"""What comes in and goes out, as it does: a list, and a stream of what is added to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from aiohttp import web
from sqlalchemy import Connection

from bridge.errors import StoreError
from bridge.operations.documents import (
    Document,
    arrival_document,
    delivery_document,
    message_document,
)
from bridge.operations.sentences import why
from bridge.store import queries
from bridge.store.following import (
    Seen,
    changed_deliveries,
    look_now,
    new_in_quarantine,
    new_messages,
)
from bridge.store.search import ALL
from bridge.web.page.visit import Visit, whole

KINDS: Final = ("messages", "deliveries", "quarantine")
_MOST: Final = 100  # rows on the screen
_AT_ONCE: Final = 300  # rows that one look goes through
_SECONDS: Final = 1.0  # between two looks
_RETRY_MILLISECONDS: Final = 2000
_STREAMS: Final = 8
_places = asyncio.Semaphore(_STREAMS)


async def show_live(visit: Visit) -> web.Response:
    """Show the newest rows, and where their stream goes on."""
    what = _what(visit)

    def look(connection: Connection) -> tuple[Sequence[Any], Seen]:
        return _newest(connection, what), look_now(connection)

    rows, seen = await visit.site.store.read(look)
    return await visit.show(
        "live.html",
        "/live",
        what=what,
        kinds=KINDS,
        rows=[_document(visit, what, row) for row in rows],
        stream=visit.at("/live/stream", {"what": what}),
        again=visit.at("/live", {"what": what}),
        after=_cursor(seen),
        most=_MOST,
    )


async def stream(visit: Visit, still_in: Callable[[], Awaitable[bool]]) -> web.StreamResponse:
    """Send what comes, until the visitor goes, is logged out, or the connection's time is over.

    Nobody ends what answers a browser that has gone: it has to look for itself.
    """
    if _places.locked():
        return web.Response(status=503, headers={"Retry-After": "10"})
    async with _places:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(visit.request)
        await response.write(f"retry: {_RETRY_MILLISECONDS}\n\n".encode())
        with suppress(StoreError, ConnectionError):  # the browser comes back, and goes on
            await _send(visit, response, still_in)
    return response


async def _send(
    visit: Visit, response: web.StreamResponse, still_in: Callable[[], Awaitable[bool]]
) -> None:
    what = _what(visit)
    store = visit.site.store
    after = visit.request.headers.get("Last-Event-ID") or visit.asked("after")
    known = _seen(after)
    seen = await store.read(look_now) if known is None else known
    while visit.request.transport is not None:  # else a quiet stream would keep its place for ever
        if not await still_in():
            await response.write(b"event: ended\ndata: \n\n")
            return
        rows, now = await store.read(partial(_since, what=what, seen=seen))
        if rows:
            documents = [_document(visit, what, row) for row in rows[-_MOST:]]
            html = await visit.templates.render(
                "feed.html",
                {"rows": documents, "what": what, "at": visit.at, "reveal": visit.reveal},
            )
            lines = "".join(f"data: {line}\n" for line in html.splitlines())
            await response.write(f"event: rows\nid: {_cursor(now)}\n{lines}\n".encode())
        elif _cursor(now) != _cursor(seen):
            await response.write(f"event: at\nid: {_cursor(now)}\ndata: \n\n".encode())
        seen = now
        await asyncio.sleep(_SECONDS)


def _newest(connection: Connection, what: str) -> Sequence[Any]:
    if what == "messages":
        return queries.list_messages(connection, limit=_MOST)
    if what == "deliveries":
        return queries.list_deliveries(connection, limit=_MOST)
    return queries.list_quarantine(connection, limit=_MOST)


def _since(connection: Connection, what: str, seen: Seen) -> tuple[Sequence[Any], Seen]:
    """Return what is new, oldest first; after a long absence only the newest of it."""
    now = look_now(connection)
    seen = replace(
        seen,
        arrival=max(seen.arrival, now.arrival - _AT_ONCE),
        delivery=max(seen.delivery, now.delivery - _AT_ONCE),
        attempt=max(seen.attempt, now.attempt - _AT_ONCE),
    )
    if what == "messages":
        return new_messages(connection, seen, ALL)
    if what == "deliveries":
        return changed_deliveries(connection, seen, None, None)
    return new_in_quarantine(connection, seen, None)


def _document(visit: Visit, what: str, row: Any) -> Document:
    if what == "messages":
        return message_document(row, reveal=visit.reveal)
    if what == "deliveries":
        document = delivery_document(row)
        return {**document, "why": why(document)}
    return arrival_document(row, reveal=False)


def _what(visit: Visit) -> str:
    asked = visit.asked("what")
    return asked if asked in KINDS else KINDS[0]


def _cursor(seen: Seen) -> str:
    return f"{seen.arrival}.{seen.delivery}.{seen.attempt}"


def _seen(written: str) -> Seen | None:
    """Return how far a browser has looked; None for what is no cursor."""
    numbers = [whole(each) for each in written.split(".")]
    match numbers:
        case [int(arrival), int(delivery), int(attempt)]:
            return Seen(arrival, delivery, attempt)
    return None

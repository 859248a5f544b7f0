"""`GET /api/v1/endpoints/NAME/events`: what a receiver that missed a number reads.

Reading is all that it does: nothing counts as delivered by it, and deliveries go on as before.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from bridge import logs, metrics
from bridge.config.endpoints import EndpointSettings
from bridge.errors import StoreError
from bridge.formats import format_named
from bridge.operations.documents import when
from bridge.store import Store
from bridge.store.stream import Gone, Numbered, Page, read_page
from bridge.web.api.bearer import Bearer
from bridge.web.problems import problem

log = logs.logger("api")

MAX_LIMIT: Final = 100  # events of one page
MAX_BYTES: Final = 1024**2  # of their bodies; one alone may be larger
_MAX_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of the stream, with the very bytes that were, are or would be sent.

    `body` is text where the bytes are UTF-8, else `body_base64` has them. `headers` are those that
    describe it, the same on every try.
    """

    sequence: int
    id: str
    type: str
    format: str
    state: str
    attempts: int
    created_at: str | None
    content_type: str
    headers: Mapping[str, str]
    body: str | None = field(repr=False)
    body_base64: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class EventPage:
    """The answer: each number after `after` up to `through` is in `data` or in `gone`.

    `next` is the `after` of the next page; null if this is the last one for now.
    """

    endpoint: str
    after: int
    through: int
    last: int
    next: int | None
    data: Sequence[StoredEvent]
    gone: Sequence[Gone]


class EventsApi:
    """Serves the streams of those endpoints that have a `pull_token`, or two while it changes."""

    def __init__(self, store: Store, endpoints: Sequence[EndpointSettings]) -> None:
        self._store = store
        self._bearer = Bearer()
        self._reading = asyncio.Semaphore(1)  # the store's readers are the lanes' too
        self.use(endpoints)

    def use(self, endpoints: Sequence[EndpointSettings]) -> None:
        """Serve these endpoints from now on."""
        self._tokens = {
            each.name: [token.get_secret_value() for token in each.all_pull_tokens]
            for each in endpoints
            if each.all_pull_tokens
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, the last of which takes the rest of `/api/v1`."""
        return [
            web.route("*", "/api/v1/endpoints/{name}/events", self._events),
            web.route("*", "/api/v1/{anything:.*}", _not_found),
        ]

    async def _events(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        which = self._bearer.shown(request, self._tokens.get(name, ()))
        if which is None:
            answer = self._bearer.refusal(request)
        else:
            answer = await self._answer(name, request)
        if which:
            metrics.PULLS_BY_OLD_TOKEN.labels(name).inc()
        if name in self._tokens:  # a name that somebody made up would be a series for ever
            metrics.PULLS.labels(name, str(answer.status)).inc()
        return answer

    async def _answer(self, name: str, request: web.Request) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            allowed = {"Allow": "GET, HEAD"}
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, "this is read with GET", allowed)
        try:
            after = _number(request, "after", 0, 0, _MAX_NUMBER)
            limit = _number(request, "limit", MAX_LIMIT, 1, MAX_LIMIT)
        except ValueError as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        read = partial(read_page, endpoint=name, after=after, most=limit, most_bytes=MAX_BYTES)
        try:
            async with self._reading:
                page = await self._store.read(read)
        except StoreError as error:
            log.warning("api.store_down", detail=str(error))
            detail = "the store cannot be read now: ask again"
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"})
        body = await asyncio.to_thread(lambda: json.dumps(asdict(_document(name, page))).encode())
        return web.Response(body=body, content_type="application/json")


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    written = request.query.get(name)
    if written is None:
        return default
    few = len(written) <= len(str(_MAX_NUMBER))
    if not (few and written.isascii() and written.isdigit() and least <= int(written) <= most):
        raise ValueError(f"{name} is a whole number from {least} to {most}")
    return int(written)


def _document(endpoint: str, page: Page) -> EventPage:
    return EventPage(
        endpoint=endpoint,
        after=page.after,
        through=page.through,
        last=page.last,
        next=page.through if page.through < page.last else None,
        data=[_event(each) for each in page.deliveries],
        gone=page.gone,
    )


def _event(stored: Numbered) -> StoredEvent:
    event = stored.event
    form = format_named(event.format)
    try:
        body, encoded = event.body.decode(), None
    except UnicodeDecodeError:
        body, encoded = None, base64.b64encode(event.body).decode("ascii")
    return StoredEvent(
        sequence=stored.sequence,
        id=event.id,
        type=event.type,
        format=event.format,
        state=stored.state.value,
        attempts=stored.attempts,
        created_at=when(stored.created_at),
        content_type=form.content_type,
        headers=dict(form.headers(event)),
        body=body,
        body_base64=encoded,
    )


async def _not_found(_request: web.Request) -> web.Response:
    return problem(HTTPStatus.NOT_FOUND, "there is nothing here")

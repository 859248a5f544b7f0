"""The admin API: finds the route, reads what is asked, answers; every fault is a problem document.

What the routes do is in `seeing` and `acting`, which call the operations that commands call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from bridge import logs, metrics
from bridge.config.settings import Settings
from bridge.delivery.endpoint import Endpoint
from bridge.errors import BridgeError, Changed, NotFound, NotPossible, StoreError, TrustUnavailable
from bridge.intake import Intake
from bridge.store import Store
from bridge.web.api.routes import ROOT, ROUTES, Route
from bridge.web.door import Door, Visitor
from bridge.web.health import Health
from bridge.web.problems import problem

if TYPE_CHECKING:
    from bridge.web.api.asked import Asked

log = logs.logger("api")

_PACKAGE: Final = "bridge.web.api"
_JSON: Final = "application/json"


@dataclass(slots=True)
class Bridge:
    """The running bridge, as the API sees and changes it; a reload changes what can change."""

    store: Store
    health: Health
    clock: Callable[[], datetime]
    intake: Intake
    believing: Callable[[Settings, str], Intake]  # for what somebody releases, whose name it is
    settings: Settings
    endpoints: Sequence[Endpoint]

    def use(self, settings: Settings, endpoints: Sequence[Endpoint]) -> None:
        """Use this config from now on."""
        self.settings, self.endpoints = settings, endpoints

    @property
    def names(self) -> list[str]:
        """The names of the endpoints in the config."""
        return [each.name for each in self.endpoints]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked: who asks, what is named in the path, query and body."""

    route: Route
    visitor: Visitor
    named: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[str, str]
    raw_body: bytes = field(repr=False)

    @property
    def number(self) -> int:
        """The number in the path; NotFound if it is none."""
        written = self.named["number"]
        if not (written.isascii() and written.isdigit() and len(written) < 19):
            raise NotFound("that is no number")
        return int(written)


Answers = Callable[[Bridge, Call], Awaitable[web.Response]]


class Problem(Exception):
    """An answer that is a problem, raised from where it was found."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.answer = problem(status, detail, headers)


class AdminApi:
    """Serves the routes behind a door."""

    def __init__(self, bridge: Bridge, door: Door) -> None:
        self._bridge = bridge
        self._door = door
        self._reading = asyncio.Semaphore(1)  # the store's readers are the lanes' too

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; of each path, the methods that it doesn't have come last."""
        found = [
            web.route(
                each.method,
                ROOT + each.path,
                self._door.guarded(partial(self._answer, route=each), each.scope),
            )
            for each in ROUTES
        ]
        for path in dict.fromkeys(each.path for each in ROUTES):
            methods = [each.method for each in ROUTES if each.path == path]
            refuse = partial(_not_allowed, allowed=", ".join(methods))
            found.append(web.route("*", ROOT + path, self._door.guarded(refuse)))
        return found

    async def _answer(
        self, request: web.Request, visitor: Visitor, *, route: Route
    ) -> web.Response:
        answer = await self._carried_out(request, visitor, route)
        metrics.API_REQUESTS.labels(route.name, str(answer.status)).inc()
        return answer

    async def _carried_out(
        self, request: web.Request, visitor: Visitor, route: Route
    ) -> web.Response:
        try:
            answer, call = await self._understood(request, visitor, route)
            if route.writes:
                return await answer(self._bridge, call)
            async with self._reading:
                return await answer(self._bridge, call)
        except Problem as found:
            return found.answer
        except NotFound as error:
            return problem(HTTPStatus.NOT_FOUND, str(error))
        except Changed as error:
            return problem(HTTPStatus.PRECONDITION_FAILED, str(error))
        except NotPossible as error:
            return problem(HTTPStatus.CONFLICT, str(error))
        except (StoreError, TrustUnavailable) as error:
            log.warning("api.unavailable", detail=str(error))
            detail = "this cannot be done now: ask again"
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"})
        except BridgeError as error:
            return problem(HTTPStatus.CONFLICT, str(error))

    async def _understood(
        self, request: web.Request, visitor: Visitor, route: Route
    ) -> tuple[Answers, Call]:
        # In a thread: the first one imports it all.
        asked = await asyncio.to_thread(import_module, f"{_PACKAGE}.asked")
        module, _, name = route.answer.partition(":")
        answer = getattr(await asyncio.to_thread(import_module, f"{_PACKAGE}.{module}"), name)
        query = _parsed(asked, route.query, _only_once(request))
        raw = await _body(request)
        if raw and request.content_type != _JSON:
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        body = None if route.body is None else _parsed(asked, route.body, _object(raw))
        named = dict(request.match_info)
        return answer, Call(route, visitor, named, query, body, request.headers, raw)


def answered(document: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a JSON document."""
    body = json.dumps(document, ensure_ascii=True).encode()
    return web.Response(body=body, content_type=_JSON, headers=headers)


def _parsed(asked: Any, name: str, given: Mapping[str, object]) -> Asked:
    from pydantic import ValidationError

    model: type[Asked] = getattr(asked, name)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, asked.sentence_of(error)) from None


def _only_once(request: web.Request) -> dict[str, object]:
    query = request.query
    if len(query) != len(set(query)):
        raise Problem(HTTPStatus.BAD_REQUEST, "each parameter is given once")
    return dict(query)


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than 64 KiB"
        ) from None


def _object(raw: bytes) -> dict[str, object]:
    if not raw:
        return {}
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError):
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
    if not isinstance(given, dict):
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is no JSON object")
    return given


async def _not_allowed(_request: web.Request, _visitor: Visitor, *, allowed: str) -> web.Response:
    return problem(HTTPStatus.METHOD_NOT_ALLOWED, f"this takes {allowed}", {"Allow": allowed})

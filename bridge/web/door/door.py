"""The door itself: each request behind it passes here first, and leaves with a visitor or not."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web

from bridge import logs, metrics
from bridge.config.http import HttpOpen, HttpSettings
from bridge.errors import StoreError
from bridge.model import Scope, Token
from bridge.net.limits import Guesses, network_of
from bridge.net.listening import peer_address
from bridge.sources.throttled_log import ThrottledLog
from bridge.web.door.admission import Admission
from bridge.web.door.origin import Origins
from bridge.web.door.sessions import Sessions
from bridge.web.problems import problem

log = logs.logger("door")

_READS: Final = frozenset({"GET", "HEAD"})
_BURST: Final = 10  # wrong tokens of one network
_SECONDS: Final = 6.0  # then one in so many


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is let in: the token's name, and what it may do. `session`: by the page."""

    token_id: int
    name: str
    scope: Scope
    session: str | None = field(default=None, repr=False)

    @property
    def way(self) -> str:
        """How the log of what was done calls the way in."""
        return "api" if self.session is None else "page"

    def may(self, scope: Scope) -> bool:
        """Whether the token may do what this scope stands for."""
        return self.scope.includes(scope)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody isn't let in: an HTTP status, and a sentence that gives nothing away."""

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_problem(self) -> web.Response:
        """Return it as a problem document, for a program."""
        return problem(self.status, self.detail, self.headers)


Plain = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]

_CLOSED: Final = Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
_MISDIRECTED: Final = Refusal(
    HTTPStatus.MISDIRECTED_REQUEST,
    "this bridge is not called that: the names it answers to stand in [http] hosts and public_url",
)
_FOREIGN: Final = Refusal(
    HTTPStatus.FORBIDDEN, "this is taken from the bridge's own page, or from a program"
)
_NOBODY: Final = Refusal(
    HTTPStatus.UNAUTHORIZED,
    "send Authorization: Bearer with a token of this bridge",
    MappingProxyType({"WWW-Authenticate": "Bearer"}),
)
_TOO_LITTLE: Final = Refusal(HTTPStatus.FORBIDDEN, "this takes a token of the scope operate")
_STORE_DOWN: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "the store cannot be read now: ask again",
    MappingProxyType({"Retry-After": "5"}),
)


class Door:
    """Lets in whoever shows a live token, or has a session that one began.

    Behind a proxy, `[http] public_url` says what browsers call us; its path is in front of every
    link, and a request is answered with and without it.
    """

    def __init__(self, settings: HttpSettings, admission: Admission, sessions: Sessions) -> None:
        self._origins = Origins(settings)
        self._admission = admission
        self._sessions = sessions
        self._guesses = Guesses(_BURST, _SECONDS)
        self._throttled = ThrottledLog(log)
        self._open = settings.open
        public = settings.public
        self.prefix = "" if public is None else public.path
        self._secure = public is not None and public.scheme == "https"
        # With this prefix no other host of the domain, and nobody without TLS, can set the cookie.
        self._cookie = "__Host-smsbridge" if self._secure else "smsbridge"

    def routes(self, routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
        """Return the routes with and without the prefix, whichever the proxy leaves."""
        bare = list(routes)
        if not self.prefix:
            return bare
        return bare + [
            web.route(each.method, self.prefix + each.path, each.handler, **each.kwargs)
            for each in bare
        ]

    def guarded(self, answer: Answer, scope: Scope = Scope.READ, *, stream: bool = False) -> Plain:
        """Put the door in front of a program's route; a refusal is a problem document."""
        return partial(self._answer, answer=answer, scope=scope, stream=stream)

    def guard(self, part: HttpOpen, answer: Plain) -> Plain:
        """Put the door in front of health or metrics, unless `[http] open` has it."""
        if part in self._open:
            return answer
        return self.guarded(lambda request, _: answer(request))

    async def admit(
        self, request: web.Request, scope: Scope = Scope.READ, *, stream: bool = False
    ) -> Visitor | Refusal:
        """Let a request in, or say why not. `stream`: its answer goes on and on."""
        return _counted(await self._or_store_down(self._admit(request, scope, stream=stream)))

    async def log_in(self, request: web.Request, given: str) -> Visitor | Refusal:
        """Begin a session for a token that was typed into our own page's form."""
        return _counted(await self._or_store_down(self._log_in(request, given)))

    async def _or_store_down(self, found: Awaitable[Visitor | Refusal]) -> Visitor | Refusal:
        try:
            return await found
        except StoreError as error:
            self._throttled.warning("door.store_down", detail=str(error))
            return _STORE_DOWN

    async def _log_in(self, request: web.Request, given: str) -> Visitor | Refusal:
        if (refusal := await self._strange(request)) is not None:
            return refusal
        if self._origins.is_foreign(request, from_browser=True):
            return _FOREIGN
        token = await self._admission.find(given.strip())
        if token is None:
            return self._wrong(request)
        name = self._sessions.begin(token.id, request.cookies.get(self._cookie))
        log.info("door.logged_in", token=token.name)
        return _visitor(token, name)

    async def still_in(self, visitor: Visitor) -> bool:
        """Whether a visitor's session and token still open; raises StoreError.

        A stream asks for as long as it is open, which doesn't keep the session from ending.
        """
        if visitor.session is not None and not self._sessions.is_running(visitor.session):
            return False
        return await self._admission.find_id(visitor.token_id) is not None

    def log_out(self, visitor: Visitor) -> None:
        """End a visitor's session."""
        if visitor.session is not None:
            self._sessions.end(visitor.session)
            log.info("door.logged_out", token=visitor.name)

    def keep(self, response: web.StreamResponse, visitor: Visitor) -> None:
        """Have the browser keep the session that was just begun."""
        assert visitor.session is not None
        response.set_cookie(
            self._cookie, visitor.session, path="/", secure=self._secure, httponly=True,
            samesite="Strict",
        )  # fmt: skip

    def forget(self, response: web.StreamResponse) -> None:
        """Have the browser forget its session."""
        response.del_cookie(
            self._cookie, path="/", secure=self._secure, httponly=True, samesite="Strict"
        )

    async def _answer(
        self, request: web.Request, *, answer: Answer, scope: Scope, stream: bool
    ) -> web.StreamResponse:
        visitor = await self.admit(request, scope, stream=stream)
        if isinstance(visitor, Refusal):
            return visitor.as_problem()
        return await answer(request, visitor)

    async def _admit(
        self, request: web.Request, scope: Scope, *, stream: bool
    ) -> Visitor | Refusal:
        if (refusal := await self._strange(request)) is not None:
            return refusal
        session = None if "Authorization" in request.headers else request.cookies.get(self._cookie)
        checked = stream or request.method not in _READS
        if checked and self._origins.is_foreign(request, from_browser=session is not None):
            return _FOREIGN
        if session is None:
            token = await self._shown(request)
            if token is None:
                return self._wrong(request) if "Authorization" in request.headers else _NOBODY
        else:
            token_id = self._sessions.find(session, use=not stream)
            token = None if token_id is None else await self._admission.find_id(token_id)
            if token is None:
                self._sessions.end(session)
                return _NOBODY
        return _visitor(token, session) if token.scope.includes(scope) else _TOO_LITTLE

    async def _strange(self, request: web.Request) -> Refusal | None:
        """Refuse all while there is no token, and what is meant for somebody else."""
        if not await self._admission.is_open():
            return _CLOSED
        return None if self._origins.is_for_us(request) else _MISDIRECTED

    async def _shown(self, request: web.Request) -> Token | None:
        written = request.headers.getall("Authorization", ())
        kind, _, given = (written[0] if len(written) == 1 else "").partition(" ")
        return await self._admission.find(given.strip()) if kind.lower() == "bearer" else None

    def _wrong(self, request: web.Request) -> Refusal:
        """Slow those down who try tokens; who has a right one is never held up by them."""
        peer = peer_address(request.transport and request.transport.get_extra_info("peername"))
        self._throttled.warning("door.refused", peer=peer)
        wait = self._guesses.wrong(network_of(peer), asyncio.get_running_loop().time())
        if not wait:
            return _NOBODY
        retry = {"Retry-After": str(math.ceil(wait))}
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens: wait", retry)


def _counted(found: Visitor | Refusal) -> Visitor | Refusal:
    if isinstance(found, Refusal):
        metrics.TURNED_AWAY.labels(str(found.status.value)).inc()
    return found


def _visitor(token: Token, session: str | None) -> Visitor:
    return Visitor(token.id, token.name, token.scope, session)

"""Serves what stands behind a door, and speaks to it like a program, a browser, or an attacker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from bridge.config.http import HttpSettings
from bridge.model import Scope
from bridge.operations.tokens import create_token
from bridge.store import Store
from bridge.web import Health, WebServer
from bridge.web.door import Admission, Door, Refusal, Sessions, Visitor
from tests.store.making import START

READ, OPERATE = Scope.READ, Scope.OPERATE


@dataclass(slots=True)
class Time:
    """A clock that goes when it is told to."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(slots=True)
class Answer:
    """A response, with every header as it was sent."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def cookie(self) -> str:
        """The name and value of the one cookie that was set."""
        (cookie,) = self.all("Set-Cookie")
        return cookie.partition(";")[0]


@dataclass(slots=True)
class Served:
    """A running server behind a door."""

    port: int
    door: Door
    sessions: Sessions
    admission: Admission
    time: Time
    acted: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, *headers: str, body: str = "", host: str | None = "localhost"
    ) -> Answer:
        """Send a request with exactly these headers, and read the answer."""
        lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close"]
        if host is not None:
            lines.insert(1, f"Host: {host}")
        if body:
            lines.append(f"Content-Length: {len(body.encode())}")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write("\r\n".join([*lines, "", body]).encode("utf-8", "surrogateescape"))
        answer = (await reader.read()).decode()
        writer.close()
        head, _, text = answer.partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        pairs = [(key, value.strip()) for key, _, value in (line.partition(":") for line in rest)]
        return Answer(int(first.split()[1]), pairs, text)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


@asynccontextmanager
async def behind_a_door(
    store: Store, settings: HttpSettings | None = None
) -> AsyncIterator[Served]:
    """Serve something to see, something to do, a stream, and a page's login and logout."""
    time, acted = Time(), list[str]()
    settings = settings or HttpSettings()
    admission, sessions = Admission(store, lambda: START, time), Sessions(time)
    door = Door(settings, admission, sessions)

    async def see(_request: web.Request, visitor: Visitor) -> web.StreamResponse:
        return web.Response(text=f"{visitor.name} {visitor.way}")

    async def act(_request: web.Request, visitor: Visitor) -> web.StreamResponse:
        acted.append(visitor.name)
        return web.Response(text="done")

    async def log_in(request: web.Request) -> web.StreamResponse:
        visitor = await door.log_in(request, str((await request.post()).get("token", "")))
        if isinstance(visitor, Refusal):
            return web.Response(status=visitor.status, headers=visitor.headers)
        answer = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": door.prefix + "/"})
        door.keep(answer, visitor)
        return answer

    async def log_out(_request: web.Request, visitor: Visitor) -> web.StreamResponse:
        door.log_out(visitor)
        answer = web.Response()
        door.forget(answer)
        return answer

    routes = [
        web.get("/see", door.guarded(see)),
        web.get("/texts", door.guarded(see, OPERATE)),
        web.get("/stream", door.guarded(see, stream=True)),
        web.post("/act", door.guarded(act, OPERATE)),
        web.delete("/act", door.guarded(act, OPERATE)),
        web.post("/login", log_in),
        web.post("/logout", door.guarded(log_out)),
    ]

    async def nothing() -> None:
        """Refresh nothing."""

    server = WebServer("127.0.0.1:0", Health(), nothing, api=door.routes(routes), guard=door.guard)
    await server.start()
    try:
        yield Served(server.addresses[0][1], door, sessions, admission, time, acted)
    finally:
        await server.stop()
        await admission.close()


async def token_of(store: Store, name: str = "ann", scope: Scope = OPERATE) -> str:
    made = await create_token(store, lambda: START, name, scope, "test")
    return str(made["token"])

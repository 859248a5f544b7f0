"""The HTTP server on `[http] listen`: the operators' pages and the API."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from aiohttp import web

from bridge.net.http_server import HttpServer
from bridge.net.limits import HTTP_LIMITS, HttpLimits
from bridge.web.door import HEADERS
from bridge.web.health import Health
from bridge.web.pages import Guard, Pages, unguarded

_NO_SOCKETS: Final[Mapping[str, Sequence[socket.socket]]] = MappingProxyType({})


class WebServer:
    """Serves health, readiness, metrics, API and page on one address; `listen` empty means none.

    `api` are the routes of API and page. `guard` is asked for each of health and metrics. `refresh`
    updates the gauges before each scrape. `sockets` are those of systemd, by name, for
    `listen = "systemd:NAME"`.
    """

    def __init__(
        self,
        listen: str,
        health: Health,
        refresh: Callable[[], Awaitable[None]],
        sockets: Mapping[str, Sequence[socket.socket]] = _NO_SOCKETS,
        limits: HttpLimits = HTTP_LIMITS,
        api: Sequence[web.RouteDef] = (),
        guard: Guard = unguarded,
    ) -> None:
        self._pages = Pages(health, refresh, guard)
        self._server = HttpServer(
            "web",
            "http.listen",
            (listen,) if listen else (),
            [*self._pages.routes(), *api],
            limits,
            sockets=sockets,
            headers=HEADERS,
        )

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The (host, port) pairs that are bound; empty while stopped."""
        return self._server.addresses

    async def start(self) -> None:
        """Listen; ListenError if that is not possible."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening, close the connections, and cancel a refresh that still runs."""
        await self._server.stop()
        await self._pages.close()

"""A bounded HTTP server: routes and limits are handed in, on plain or TLS addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web

from bridge import logs
from bridge.net.accepting import accept
from bridge.net.http_connection import NO_HEADERS, HttpConnection, set_headers
from bridge.net.limits import HTTP_LIMITS, ConnectionLimiter, HttpLimits, network_of
from bridge.net.listening import open_sockets, shown
from bridge.shortage import noted

_NO_SOCKETS: Final[Mapping[str, Sequence[socket.socket]]] = MappingProxyType({})


class HttpServer:
    """Serves routes on each of `addresses`; without an address it does nothing.

    `name` begins its log events, `key` is the setting that holds the addresses and is named in
    errors. `sockets` are systemd's, by name, for `systemd:NAME`. `tls` is the context of all
    addresses, or None for plain HTTP; a new one counts for connections from then on. `headers` are
    those of every answer, errors included.
    """

    def __init__(
        self,
        name: str,
        key: str,
        addresses: Sequence[str],
        routes: Iterable[web.AbstractRouteDef],
        limits: HttpLimits = HTTP_LIMITS,
        *,
        sockets: Mapping[str, Sequence[socket.socket]] = _NO_SOCKETS,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.tls = tls
        self._log = logs.logger(name)
        self._name = name
        self._key = key
        self._listen = tuple(addresses)
        self._routes = tuple(routes)
        self._limits = limits
        self._handed_over = sockets
        self._headers = headers
        self._places = ConnectionLimiter(limits.connections, limits.connections_per_peer)
        self._runner: web.AppRunner | None = None
        self._sockets: tuple[socket.socket, ...] = ()
        self._accepting: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._connections: set[HttpConnection] = set()
        self._stopping = False

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The (host, port) pairs that are bound, with real ports for port 0; empty if stopped."""
        names = [each.getsockname() for each in self._sockets]
        return tuple((name[0], name[1]) for name in names if isinstance(name, tuple))

    async def start(self) -> None:
        """Listen on every address; ListenError names the key and address that can't be used."""
        if not self._listen:
            return
        with ExitStack() as opened:
            sockets: list[socket.socket] = []
            for address in self._listen:
                for listening in open_sockets(address, self._handed_over, self._key):
                    opened.callback(listening.close)
                    sockets.append(listening)
            self._runner = self._make_runner()
            await self._runner.setup()
            opened.pop_all()
        self._sockets = tuple(sockets)
        loop = asyncio.get_running_loop()
        for listening in sockets:
            accepting = accept(listening, self._take, self._accept_failed)
            self._accepting.add(loop.create_task(accepting))
        self._log.info(f"{self._name}.listening", addresses=[shown(each) for each in sockets])

    async def stop(self) -> None:
        """Stop listening, answer the requests that are here, and close every connection.

        What takes longer than the limits allow is cut off, and its handler is cancelled.
        """
        self._stopping = True
        await asyncio.gather(
            _cancel(self._accepting), *(connection.finish() for connection in self._connections)
        )
        for listening in self._sockets:
            listening.close()
        self._sockets = ()
        if self._serving:
            await asyncio.wait(self._serving, timeout=self._limits.stopping_seconds)
        await _cancel(self._serving)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _make_runner(self) -> web.AppRunner:
        app = web.Application(
            middlewares=[self._answer_for_bugs], client_max_size=self._limits.body_bytes
        )
        app.on_response_prepare.append(self._prepare)
        app.add_routes(self._routes)
        return web.AppRunner(app, access_log=None)

    def _take(self, accepted: socket.socket, peer: str | None) -> None:
        """Serve a connection if there is room for it."""
        if self._places.enter(network_of(peer)) is not None:
            accepted.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(accepted, peer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, accepted: socket.socket, peer: str | None) -> None:
        assert self._runner is not None
        assert self._runner.server is not None
        connection = HttpConnection(
            self._runner.server,
            self._limits,
            self._log,
            self._name,
            partial(self._places.leave, network_of(peer)),
            self._headers,
        )
        try:
            await self._connect(connection, accepted)
        except OSError:
            self._log.debug(f"{self._name}.tls_failed", peer=peer)
            return
        self._connections.add(connection)
        try:
            if self._stopping:  # accepted just before
                await connection.finish()
            await connection.live()
        finally:
            self._connections.discard(connection)

    async def _connect(self, connection: HttpConnection, accepted: socket.socket) -> None:
        """Begin a connection, after its TLS handshake if there is TLS; OSError if that fails."""
        try:
            # The loop's own timeout does not end the wait when the peer resets the connection.
            async with asyncio.timeout(self._limits.first_seconds):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection, accepted, ssl=self.tls
                )
        except BaseException:
            accepted.close()
            connection.leave()
            raise

    def _accept_failed(self, error: OSError) -> None:
        self._log.warning(f"{self._name}.accept_failed", error=noted(error) or error.strerror)

    async def _prepare(self, _request: web.Request, response: web.StreamResponse) -> None:
        set_headers(response, self._headers)

    @web.middleware
    async def _answer_for_bugs(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a bug with a constant sentence, and a body that can't be read with 400."""
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError):
            raise
        except web.RequestPayloadError:
            response = web.Response(status=HTTPStatus.BAD_REQUEST)
            response.force_close()
            return response
        except Exception:  # noqa: BLE001 - logged with its place
            # The route, not the path: a path can hold a secret.
            resource = request.match_info.route.resource
            self._log.exception(f"{self._name}.bug", path=resource and resource.canonical)
            return web.Response(
                status=HTTPStatus.INTERNAL_SERVER_ERROR,
                text="a bug in smsbridge: the log has the place\n",
            )


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)

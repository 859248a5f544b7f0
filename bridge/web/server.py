"""Serves /healthz, /readyz and /metrics, bounded in connections, sizes and time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiohttp import web

from bridge import logs
from bridge.config.address import Address, SystemdSocket, parse_listen
from bridge.errors import ListenError
from bridge.web.health import Health
from bridge.web.pages import Pages

log = logs.logger("web")

_MAX_CONNECTIONS: Final = 64  # a scraper, a prober and a person or two
_MAX_HEADERS: Final = 64
_MAX_HEADER_BYTES: Final = 8 * 1024  # each line
_MAX_BODY_BYTES: Final = 64 * 1024  # nothing here takes a body yet
_MAX_SECONDS: Final = 60.0  # of a connection in all; a client that wants more connects again
_LAST_SECONDS: Final = 5.0  # then for an answer that is under way
_STOP_SECONDS: Final = 2.0
_SERVER: Final = "smsbridge"  # no version, of us or of a library
_BUG: Final = 500


class WebServer:
    """An HTTP server on one address; `listen` empty means none.

    `refresh` brings the gauges up to date before a scrape. `sockets` are those of systemd, by
    name, for `listen = "systemd:NAME"`.
    """

    def __init__(
        self,
        listen: str,
        health: Health,
        refresh: Callable[[], Awaitable[None]],
        sockets: Mapping[str, Sequence[socket.socket]] | None = None,
    ) -> None:
        self._listen = listen
        self._sockets = sockets or {}
        self._pages = Pages(health, refresh)
        self._runner: web.AppRunner | None = None
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """What is really listened on, (host, port) each; empty while nothing is."""
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return tuple((name[0], name[1]) for name in names)

    async def start(self) -> None:
        """Listen; raises ListenError with a sentence if that cannot be."""
        if not self._listen:
            return
        app = web.Application(middlewares=[_one_line_for_a_bug], client_max_size=_MAX_BODY_BYTES)
        app.on_response_prepare.append(_plain_headers)
        app.add_routes(self._pages.routes())
        # At the end each connection gets a moment for its answer, then is cut.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        self._runner = runner
        try:
            self._servers = await self._bind()
        except (OSError, ValueError, ListenError) as error:
            await self.stop()
            if isinstance(error, ListenError):
                raise
            why = (getattr(error, "strerror", None) or str(error)).lower()
            raise ListenError(f"http.listen: cannot listen on {self._listen}: {why}") from None
        log.info("web.listening", addresses=[f"{host}:{port}" for host, port in self.addresses])

    async def stop(self) -> None:
        """Stop listening, end the connections, and give back what was taken."""
        for server in self._servers:
            server.close()
        self._servers = []
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._pages.close()

    async def _bind(self) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        match parse_listen(self._listen):
            case Address(host, port):
                return [await loop.create_server(self._connection, host, port)]
            case SystemdSocket(name):
                if not self._sockets.get(name):
                    raise ListenError(
                        f"http.listen: systemd handed over no socket named {name!r} "
                        f"(FileDescriptorName={name} in the .socket unit)"
                    )
                return [
                    await loop.create_server(self._connection, sock=sock)
                    for sock in self._sockets[name]
                ]

    def _connection(self) -> asyncio.Protocol:
        """Make what serves one connection, or turns it away at once."""
        server = self._runner.server if self._runner else None
        if server is None or len(server.connections) >= _MAX_CONNECTIONS:
            return _Refusal()
        return _Connection(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off, the annotation forgets
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=1.0,
        )


class _Connection(web.RequestHandler):
    """One connection: with a deadline, and with errors that tell the peer nothing."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._deadline = asyncio.get_running_loop().call_later(_MAX_SECONDS, self._end)

    def _end(self) -> None:
        """End idle and dripping clients; an answer that is under way is finished first."""
        self.close()
        self._deadline = asyncio.get_running_loop().call_later(_LAST_SECONDS, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # quotes what the peer sent: not repeated
    ) -> web.StreamResponse:
        """Answer what is not HTTP, or over a limit, with the status alone."""
        if status >= _BUG:
            log.error("web.bug", exc_info=exc)
        else:
            log.debug("web.bad_request", peer=request.remote, status=status)
        response = web.Response(status=status, text="not understood\n")
        response.headers["Server"] = _SERVER
        response.force_close()
        return response


class _Refusal(asyncio.Protocol):
    """Closes a connection over the limit at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _plain_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = _SERVER
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


@web.middleware
async def _one_line_for_a_bug(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)  # aiohttp's word, and the name it calls by
    except web.HTTPException:
        raise
    except Exception:
        log.exception("web.bug", path=request.path)
        return web.Response(status=_BUG, text="a bug in smsbridge: the log has the place\n")

"""One HTTP connection: its deadlines, its graceful close, and errors that tell the peer nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

from bridge.logs import Logger
from bridge.net.limits import HttpLimits

_LINGER: Final = 1.0  # seconds that are spent on the rest of a body that no handler wants
_SERVER_ERROR: Final = 500
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class HttpConnection(web.RequestHandler):
    """Serves the requests of one connection; `live` ends it within its limits.

    It reads two private attributes of aiohttp's class, whose own `close` loses requests: it stops
    answering a kept-alive connection, yet leaves it open.
    """

    def __init__(
        self,
        server: web.Server,
        limits: HttpLimits,
        log: Logger,
        name: str,
        free_place: Callable[[], None],
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None turns it off, the annotation forgets
            max_line_size=limits.line_bytes,
            max_field_size=limits.header_bytes,
            max_headers=limits.headers,
            lingering_time=_LINGER,
            auto_decompress=False,  # a few bytes can become gigabytes, and no client needs it
        )
        self._limits = limits
        self._log = log
        self._name = name
        self._headers = headers
        self._free_place: Callable[[], None] | None = free_place
        self._socket: asyncio.Transport | None = None
        self._work: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[None] = loop.create_future()  # a first request is here
        self._lost: asyncio.Future[None] = loop.create_future()  # the connection is closed
        self._half = False  # a part of a request's head is here
        self._finishing = False

    async def live(self) -> None:
        """Return when the connection is closed and its last handler has ended.

        Neither a peer that hangs up nor a deadline cancels a handler; cancelling this does.
        """
        assert self._work is not None
        limits = self._limits
        try:
            if await _any_within(limits.first_seconds, self._begun, self._lost):
                await _any_within(limits.seconds, self._lost)
                await self.finish()
                await _any_within(limits.closing_seconds, self._lost)
            self._abort()
            await asyncio.wait({self._work})
        except asyncio.CancelledError:
            self._abort()
            self._work.cancel()
            await asyncio.wait({self._work})
            raise

    async def finish(self) -> None:
        """Close as soon as every request that is here is answered; at once if there is none.

        The last answer says `Connection: close`. The rest of a request whose head has begun to
        arrive is awaited.
        """
        self._finishing = True
        await let_read()
        if self._waiting and not self._half:
            self.force_close()

    def leave(self) -> None:
        """Free the place that the limits gave to this connection; a second call does nothing.

        Called when the connection is closed and its last handler has ended.
        """
        if self._free_place is not None:
            self._free_place()
            self._free_place = None

    @property
    def _waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _abort(self) -> None:
        """Close without sending what the peer has not taken: a close would wait for it forever."""
        self.force_close()
        if self._socket is not None:
            self._socket.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: a task of aiohttp's answers the requests."""
        super().connection_made(transport)
        self._socket = self.transport
        self._work = self._task_handler

    def connection_lost(self, exc: BaseException | None) -> None:
        """End: nothing more can be sent."""
        super().connection_lost(exc)
        self._socket = None
        if not self._lost.done():
            self._lost.set_result(None)
        assert self._work is not None
        if self._work.done():
            self.leave()
        else:
            self._work.add_done_callback(lambda _: self.leave())

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        waiting = self._waiting
        super().data_received(data)
        if self._messages and not self._begun.done():
            self._begun.set_result(None)
        self._half = waiting and not self._messages

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, and close after it if it is the last one."""
        self._close_after(resp)  # before its headers are written, which then say so
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._close_after(resp)  # if `finish` was called while it was sent

    def _close_after(self, response: web.StreamResponse) -> None:
        if self._finishing and not self._messages:
            response.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = _SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # quotes what the peer sent: not repeated
    ) -> web.StreamResponse:
        """Answer what is not HTTP, or over a limit, with the status alone."""
        if request.writer.output_size > 0:
            raise ConnectionError("part of a response is sent already")
        if isinstance(exc, ConnectionError):
            raise exc  # the peer has gone: nobody is there to answer
        if status >= _SERVER_ERROR:
            self._log.error(f"{self._name}.bug", exc_info=exc)
        else:
            self._log.debug(f"{self._name}.bad_request", peer=request.remote, status=status)
        response = web.Response(status=status)
        set_headers(response, self._headers)
        response.force_close()
        return response


def set_headers(response: web.StreamResponse, more: Mapping[str, str]) -> None:
    """Set the headers of every response: no version of anything, no caching, no guessing."""
    response.headers["Server"] = "smsbridge"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.update(more)


async def let_read() -> None:
    """Let the loop read what the kernel has received already.

    Two turns: within one, libuv runs timers before it reads, and asyncio tasks before it does.
    """
    for _ in range(2):
        await asyncio.sleep(0)


async def _any_within(seconds: float, *events: asyncio.Future[None]) -> bool:
    done, _ = await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)

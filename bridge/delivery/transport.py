"""The HTTP transport of one endpoint, and the meaning of its errors.

httpx's requests and responses on aiohttp's connections, without httpx's client: the cheapest of
three ways (`benchmarks/transport.py` measures them), and the only one whose cost doesn't grow with
the number of connections.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler as AiohttpProtocol
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from bridge.delivery.endpoint import Endpoint

# Short: a POST on a connection that the server is just closing is a failed attempt, since aiohttp
# rightly repeats only idempotent requests. An earlier close is noticed, and the pool reconnects.
KEEPALIVE_SECONDS: Final = 15.0
# An answer is a status line and a few headers. The socket's buffer bounds what a hostile server can
# make us read and hold at once; TCP's flow control, not our memory, stops a flood.
RECEIVE_BUFFER: Final = 16 * 1024
MAX_LINE: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_INTERIM: Final = 16  # 1xx answers before the final one; nobody sends more than one or two
DNS_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer: a constant name and a sentence that quotes nobody."""

    error: str
    detail: str


def open_transport(endpoint: Endpoint, verify: ssl.SSLContext) -> AiohttpTransport:
    """Return the transport of one endpoint, with a connection pool of its own.

    `verify` is the TLS context of endpoints that have none of their own. The environment's proxies
    and .netrc, and cookies, are ignored; httpx-aiohttp follows no redirects and decompresses
    nothing. Connects in the running loop at the first call; `aclose` closes the pool.
    """
    context = endpoint.tls or verify

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=endpoint.concurrency,
                ssl=context,
                keepalive_timeout=KEEPALIVE_SECONDS,
                ttl_dns_cache=DNS_SECONDS,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            proxy=endpoint.proxy,
            read_bufsize=RECEIVE_BUFFER,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            middlewares=_as_written(str(endpoint.url)),
        )

    return AiohttpTransport(verify=context, trust_env=False, client=session)


def _as_written(url: str) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Keep aiohttp from rewriting a URL (`%2F` in a query to `/`), which may be signed."""
    exact = URL(url, encoded=True).with_user(None)
    if exact == URL(url).with_user(None):
        return ()

    async def send(
        request: aiohttp.ClientRequest, pass_on: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url = exact
        return await pass_on(request)

    return (send,)


def failure_of(error: Exception) -> Failure | None:
    """Return the failure behind an exception of the transport; None if it is a bug instead.

    Looks at aiohttp's own exception where httpx-aiohttp has wrapped it: httpx's classes are
    coarser, and name a broken connection a timeout.
    """
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    match cause:
        case aiohttp.ClientConnectorCertificateError(certificate_error=problem):
            why = getattr(problem, "verify_message", "") or "verification failed"
            return Failure("tls", f"the certificate is not trusted: {why}")
        case aiohttp.ClientSSLError():
            return Failure("tls", "the TLS handshake failed")
        case aiohttp.ClientConnectorDNSError():
            return Failure("connect", "the host's name is not known")
        case aiohttp.ClientHttpProxyError(status=status):
            return Failure("connect", f"the proxy answered {status}")
        case aiohttp.ClientProxyConnectionError(os_error=problem):
            return Failure("connect", f"no connection to the proxy: {_reason(problem)}")
        case aiohttp.ClientConnectorError(os_error=problem):
            return Failure("connect", f"no connection: {_reason(problem)}")
        case _:
            return next((known for kind, known in _FAILURES if isinstance(cause, kind)), None)


# The first match counts: aiohttp's class hierarchy cuts across these meanings.
_FAILURES: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (ssl.SSLError, Failure("tls", "the TLS connection failed")),
    (aiohttp.ServerTimeoutError, Failure("timeout", "no answer in time")),
    (
        aiohttp.ClientPayloadError,
        Failure("protocol", "the connection broke before the answer was complete"),
    ),
    (
        aiohttp.ClientResponseError,
        Failure("protocol", "the answer is not HTTP, or exceeds a limit"),
    ),
    (
        aiohttp.ClientConnectionError,
        Failure("protocol", "the connection broke before there was an answer"),
    ),
    (ConnectionError, Failure("protocol", "the connection broke")),
    (aiohttp.ClientError, Failure("protocol", "the call failed")),
    (httpx.TimeoutException, Failure("timeout", "no answer in time")),
    (httpx.ConnectError, Failure("connect", "no connection")),
    (httpx.HTTPError, Failure("protocol", "the call failed")),
)


def _reason(problem: OSError) -> str:
    """Return the system's text for an error; asyncio's own would quote the address."""
    return os.strerror(problem.errno) if problem.errno else "refused or unreachable"


class _Protocol(AiohttpProtocol):
    """Reads answers, and aborts connections that send 1xx answers without end.

    aiohttp skips any number of them without yielding to the loop, so one endpoint could block all
    others until its deadline.
    """

    _interim = 0

    def feed_data(
        self, data: tuple[aiohttp.http.RawResponseMessage, aiohttp.StreamReader], size: int = 0
    ) -> None:
        """Handle one parsed answer."""
        if 100 <= data[0].code < HTTPStatus.OK:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                if self.transport is not None:
                    self.transport.abort()
                self.set_exception(HttpProcessingError(code=400, message="too many 1xx answers"))
                return
        else:
            self._interim = 0
        super().feed_data(data, size)


class _Connector(aiohttp.TCPConnector):
    """A pool whose connections read answers with `_Protocol`."""

    def __init__(
        self,
        *,
        limit: int,
        ssl: ssl.SSLContext,
        keepalive_timeout: float,
        ttl_dns_cache: int,
        socket_factory: aiohttp.SocketFactoryType,
    ) -> None:
        super().__init__(
            limit=limit,
            ssl=ssl,
            keepalive_timeout=keepalive_timeout,
            ttl_dns_cache=ttl_dns_cache,
            socket_factory=socket_factory,
        )
        # aiohttp has no other way to limit what precedes the final answer.
        self._factory = cast(
            "functools.partial[AiohttpProtocol]", functools.partial(_Protocol, loop=self._loop)
        )


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setblocking(False)
    return made

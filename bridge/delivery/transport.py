"""The HTTP transport of one endpoint, and the meaning of its errors.

httpx's requests and responses on the connections, pool and parser of aiohttp, without either one's
client: a fifth of the cost of httpx's own, and one that doesn't grow with the number of connections
(`benchmarks/transport.py` measures them).
"""

from __future__ import annotations

import base64
import functools
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler as AiohttpProtocol
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from bridge.delivery.endpoint import Endpoint
from bridge.net.destinations import Destinations, RefusedAddressError
from bridge.net.tls import trust_nobody

# aiohttp loads the system's CAs when it is imported, 1 MB, for those who give no context of their
# own. We always do; whatever should forget to can't connect.
aiohttp.connector._SSL_CONTEXT_VERIFIED = trust_nobody()  # noqa: SLF001

# Short: a POST on a connection that the server is just closing is a failed attempt, since only
# idempotent requests may be repeated unasked. An earlier close is noticed, and the pool reconnects.
KEEPALIVE_SECONDS: Final = 15.0
# An answer is a status line and a few headers. The socket's buffer bounds what a hostile server can
# make us read and hold at once; TCP's flow control, not our memory, stops a flood.
RECEIVE_BUFFER: Final = 16 * 1024
MAX_LINE: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_INTERIM: Final = 16  # 1xx answers before the final one; nobody sends more than one or two
DNS_SECONDS: Final = 10
_HEAD_END: Final = re.compile(rb"\n\r?\n")  # a bare line feed ends a line, too
SENT: Final = "sent"  # the extension that a request has once it has begun to be sent
_NO_TIMEOUT: Final = aiohttp.ClientTimeout()  # an attempt has one deadline over all of it


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer: a constant name and a sentence that quotes nobody."""

    error: str
    detail: str


def open_transport(
    endpoint: Endpoint, verify: ssl.SSLContext, resolver: AbstractResolver | None = None
) -> EndpointTransport:
    """Return the transport of one endpoint; call it where the loop runs.

    `verify` is the TLS context of endpoints that have none of their own. Host names are resolved
    by the loop, unless there is a `resolver`.
    """
    return EndpointTransport(endpoint, endpoint.tls or verify, resolver)


class EndpointTransport(httpx.AsyncBaseTransport):
    """Sends requests to one endpoint, over a connection pool of its own.

    Requests go to the endpoint's URL as it is written, whatever their own, with their headers and
    the credentials of the URL and of the proxy. The environment's proxies and .netrc, and cookies,
    are ignored; redirects are answers, and nothing is decompressed. Answers are bounded, waits are
    not: an attempt has its own deadline.

    Raises aiohttp's exceptions, which `failure_of` knows. Closing a response never waits.
    """

    def __init__(
        self, endpoint: Endpoint, context: ssl.SSLContext, resolver: AbstractResolver | None
    ) -> None:
        self._pool = _Connector(
            limit=endpoint.concurrency,
            ssl=context,
            keepalive_timeout=KEEPALIVE_SECONDS,
            ttl_dns_cache=DNS_SECONDS,
            socket_factory=functools.partial(_socket, endpoint.destinations),
            resolver=resolver,
        )
        proxy = None if endpoint.proxy is None else URL(endpoint.proxy)
        login = None if proxy is None else aiohttp.BasicAuth.from_url(proxy)
        # What the pool knows a connection by; it is never sent, except to a proxy as CONNECT.
        self._where = aiohttp.ClientRequest(
            "POST",
            URL(str(endpoint.url), encoded=True).with_user(None),
            proxy=None if proxy is None else proxy.with_user(None),
            proxy_auth=login,
        )
        self._head = _head(endpoint.url, login, through_proxy=proxy is not None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request whose body is read already; return when the answer's head is here."""
        sent = self._wire_bytes(request)
        connection = await self._pool.connect(self._where, [], _NO_TIMEOUT)
        protocol = cast("EndpointProtocol", connection.protocol)
        try:
            message, payload = await self._exchange(protocol, request, sent)
            return httpx.Response(
                message.code,
                headers=message.raw_headers,
                stream=_Body(payload, connection),
                request=request,
            )
        except BaseException:
            protocol.abort()  # else it would stay until a peer that doesn't read has read all
            connection.close()
            raise

    async def _exchange(
        self, protocol: EndpointProtocol, request: httpx.Request, sent: bytes
    ) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        protocol.send(sent)
        request.extensions[SENT] = True
        return await protocol.answer()

    async def aclose(self) -> None:
        """Close the pool and all its connections."""
        await self._pool.close()

    def _wire_bytes(self, request: httpx.Request) -> bytes:
        """Return head and body in one piece, so that they go out in one write."""
        headers = request.headers.raw
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if not lines.count(b"\n") == lines.count(b"\r") == len(headers) or b"\0" in lines:
            raise ValueError("a header holds a line break")  # it would begin a header of its own
        return b"%b%b\r\n%b" % (self._head, lines, request.content)


def _head(url: httpx.URL, proxy_login: aiohttp.BasicAuth | None, *, through_proxy: bool) -> bytes:
    """Return the request line and the headers that are the same in every request."""
    tunnel = through_proxy and url.scheme == "https"
    target = url.raw_path
    if through_proxy and not tunnel:
        target = b"%b://%b%b" % (url.raw_scheme, url.netloc, target)
    lines = [b"POST %b HTTP/1.1" % target]
    if url.userinfo:
        login = f"{url.username}:{url.password}".encode()
        lines.append(b"Authorization: Basic %b" % base64.b64encode(login))
    if proxy_login is not None and not tunnel:
        lines.append(b"Proxy-Authorization: %b" % proxy_login.encode().encode("ascii"))
    return b"".join([line + b"\r\n" for line in lines])


class _Body(httpx.AsyncByteStream):
    """An answer's body as it comes."""

    def __init__(self, payload: aiohttp.StreamReader, connection: Connection) -> None:
        self._payload = payload
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what has come, until the end."""
        while chunk := await self._payload.readany():
            yield chunk

    async def aclose(self) -> None:
        """Return the connection to the pool; it is closed if there is more to read or to send."""
        transport = self._connection.transport
        if transport is not None and transport.get_write_buffer_size():
            self._connection.close()  # answered early: the next request would wait behind this one
        else:
            self._connection.release()


def failure_of(error: Exception) -> Failure | None:
    """Return the failure behind an exception of the transport; None if it is a bug instead."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=problem):
            why = getattr(problem, "verify_message", "") or "verification failed"
            return Failure("tls", f"the certificate is not trusted: {why}")
        case aiohttp.ClientSSLError():
            return Failure("tls", "the TLS handshake failed")
        case aiohttp.ClientConnectorDNSError():
            return Failure("connect", "the host's name is not known")
        case aiohttp.ClientHttpProxyError(status=status):
            return Failure("connect", f"the proxy answered {status}")
        case aiohttp.ClientConnectorError(os_error=RefusedAddressError(why=why)):
            return Failure("address", f"the host leads to {why}, where no webhook goes")
        case aiohttp.ClientProxyConnectionError(os_error=problem):
            return Failure("connect", f"no connection to the proxy: {_reason(problem)}")
        case aiohttp.ClientConnectorError(os_error=problem):
            return Failure("connect", f"no connection: {_reason(problem)}")
        case _:
            return next((known for kind, known in _FAILURES if isinstance(error, kind)), None)


_NOT_HTTP: Final = Failure("protocol", "the answer is not HTTP, or exceeds a limit")
# The first match counts: aiohttp's class hierarchy cuts across these meanings.
_FAILURES: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (ssl.SSLError, Failure("tls", "the TLS connection failed")),
    (aiohttp.ServerTimeoutError, Failure("timeout", "no answer in time")),
    (
        aiohttp.ClientPayloadError,
        Failure("protocol", "the connection broke before the answer was complete"),
    ),
    (HttpProcessingError, _NOT_HTTP),
    (aiohttp.ClientResponseError, _NOT_HTTP),  # a proxy's answer to CONNECT
    (
        aiohttp.ClientConnectionError,
        Failure("protocol", "the connection broke before there was an answer"),
    ),
    (ConnectionError, Failure("protocol", "the connection broke")),
    (aiohttp.ClientError, Failure("protocol", "the call failed")),
)


def _reason(problem: OSError) -> str:
    """Return the system's text for an error; asyncio's own would quote the address."""
    return os.strerror(problem.errno) if problem.errno else "refused or unreachable"


class EndpointProtocol(AiohttpProtocol):
    """One connection: sends a request and reads its one answer.

    Aborts connections that send 1xx answers without end: aiohttp skips any number of them without
    yielding to the loop, so one endpoint could block all others until its deadline. Also those
    that send an answer more than they were asked for: it would be taken for the next request's.
    """

    _asked = True  # at first by the pool, which may have to ask a proxy
    _interim = 0
    _last = b""  # what came before, where it may begin the end of a head

    def send(self, request: bytes) -> None:
        """Begin to send a request."""
        transport = self.transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        if self.should_close:
            raise _not_asked_for()  # it would be taken for the answer to this request
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=RECEIVE_BUFFER,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
        )
        self._asked, self._interim, self._last = True, 0, b""
        transport.write(request)

    async def answer(self) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        """Return the head of the answer, and the body, which may still come."""
        while True:
            message, payload = await self.read()
            if not _is_interim(message):
                return message, payload

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come.

        A head is parsed alone. Else a receiver that sends more than its answer said, because it
        counts characters for bytes or says something with a 204, would have its whole answer
        refused, or not, by how the network cuts it.
        """
        for _ in range(MAX_INTERIM + 1):  # heads; a flood of them is refused by `feed_data`
            found = _HEAD_END.search(self._last + data) if self._asked else None
            if found is None:
                break
            end = found.end() - len(self._last)
            super().data_received(data[:end])
            data, self._last = data[end:], b""
        if data:
            self._last = (self._last + data)[-2:]
            super().data_received(data)

    def feed_data(
        self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0
    ) -> None:
        """Take one parsed answer."""
        if not self._asked:
            self._refuse(_not_asked_for())
            return
        if _is_interim(data[0]):
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._refuse(HttpProcessingError(code=400, message="too many 1xx answers"))
                return
        else:
            self._asked = False
        super().feed_data(data, size)

    def _refuse(self, problem: HttpProcessingError) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(problem)


def _not_asked_for() -> HttpProcessingError:
    return HttpProcessingError(code=400, message="an answer without a request")


def _is_interim(message: RawResponseMessage) -> bool:
    return 100 <= message.code < HTTPStatus.OK and message.code != HTTPStatus.SWITCHING_PROTOCOLS


class _Connector(aiohttp.TCPConnector):
    """A pool whose connections read answers with `EndpointProtocol`."""

    def __init__(
        self,
        *,
        limit: int,
        ssl: ssl.SSLContext,
        keepalive_timeout: float,
        ttl_dns_cache: int,
        socket_factory: aiohttp.SocketFactoryType,
        resolver: AbstractResolver | None,
    ) -> None:
        super().__init__(
            limit=limit,
            ssl=ssl,
            keepalive_timeout=keepalive_timeout,
            ttl_dns_cache=ttl_dns_cache,
            socket_factory=socket_factory,
            resolver=resolver,
        )
        # aiohttp has no other way to limit what precedes the final answer.
        self._factory = cast(
            "functools.partial[AiohttpProtocol]",
            functools.partial(EndpointProtocol, loop=self._loop),
        )


def _socket(destinations: Destinations, address: aiohttp.AddrInfoType) -> socket.socket:
    """Make the socket for one address, which it is connected to and to no other."""
    family, kind, protocol, _, place = address
    destinations.require(str(place[0]))
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setblocking(False)
    return made

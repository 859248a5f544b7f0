"""The transport itself: what it puts on the wire, and whose answer it takes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp.connector import Connection
from yarl import URL

from bridge.delivery.attempt import attempt, build_request
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport
from bridge.model import Claim, Event
from tests.certificates import self_signed
from tests.delivery.servers import Request, receiver, says, sends
from tests.patience import PATIENCE

Make = Callable[..., Endpoint]
MakeClaim = Callable[..., Claim]


MORE_THAN_THE_KERNEL_TAKES = b"x" * 20_000_000


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def _event(body: bytes) -> Event:
    return Event("msg_1", "sms.received", "sms.received", body)


@pytest.mark.unhurried
@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "later"])
async def test_an_answer_too_many_is_not_the_next_requests(
    together: bool, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A 200 that nobody asked for, on a connection in the pool, delivers nothing."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers["webhook-id"] != "msg_1":
            await says(503)(request, writer)
        elif together:
            writer.write(ok + ok)
        else:
            writer.write(ok)
            await asyncio.sleep(0.02)
            writer.write(ok)

    async with receiver(answer) as server:
        endpoint = endpoint_at(server.url)
        async with open_transport(endpoint, tls) as transport:
            first = await attempt(transport, endpoint, claim_of(1), now)
            await asyncio.sleep(0.1)
            second = await attempt(transport, endpoint, claim_of(2), now)
        assert [first.status, second.status] == [200, 503]
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngrazie \xc3\xa8"),
        (200, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nok"),
        (200, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok\n"),
        (204, b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
        (204, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (503, b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nbusy"),
    ],
)
async def test_more_than_the_answer_said_changes_nothing(
    status: int, answer: bytes, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A receiver that counts characters for bytes has got the message; its connection is ended."""
    async with receiver(sends(answer)) as server:
        endpoint = endpoint_at(server.url)
        async with open_transport(endpoint, tls) as transport:
            for number in (1, 2):
                outcome = await attempt(transport, endpoint, claim_of(number), now)
                assert (outcome.status, outcome.error) == (status, None)
        assert (len(server.requests), server.connections) == (2, 2)


@pytest.mark.unhurried
@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 204 No Content\r\nServer: x\r\n", b"\r\nok"],
        [b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r", b"\nok\r\n\r\nok"],
        [b"HTTP/1.1 204 No Content\nServer: x\n\nok"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\nServer: x\r\n\r\nok"],
    ],
    ids=["before its last line", "within it", "with bare line feeds", "after an interim one"],
)
async def test_more_than_the_answer_said_changes_nothing_however_its_head_comes(
    pieces: list[bytes], endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Whether a receiver has got the message isn't decided by where the network cuts its answer."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)

    async with receiver(answer) as server:
        endpoint = endpoint_at(server.url)
        async with open_transport(endpoint, tls) as transport:
            outcome = await attempt(transport, endpoint, claim_of(), now)
        assert (outcome.status, outcome.error) == (204, None)


async def test_an_answer_before_the_request_delivers_nothing(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says 200 to whoever connects has not got the message."""
    connect = aiohttp.TCPConnector.connect

    async def connect_and_hear(pool: aiohttp.TCPConnector, *given: Any) -> Connection:
        connection = await connect(pool, *given)
        assert connection.protocol is not None
        while not connection.protocol.should_close:
            await asyncio.sleep(0.001)
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_and_hear)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with _reads_late(answer) as (url, read_on, sizes):
        endpoint = endpoint_at(url)
        async with open_transport(endpoint, tls) as transport:
            outcome = await attempt(transport, endpoint, claim_of(), now)
        assert (outcome.status, outcome.error) == (None, "protocol")
        read_on.set()
        assert await sizes.get() == 0


async def test_an_answer_before_the_whole_request_ends_the_connection(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """The next request doesn't wait behind one that a server answered and then reads at leisure."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    async with _reads_late(answer) as (url, read_on, sizes):
        endpoint = endpoint_at(url)
        async with open_transport(endpoint, tls) as transport:
            for number in (1, 2):
                claim = claim_of(number, event=_event(MORE_THAN_THE_KERNEL_TAKES))
                assert (await attempt(transport, endpoint, claim, now)).status == 503
            read_on.set()
            async with asyncio.timeout(PATIENCE):
                whole = len(MORE_THAN_THE_KERNEL_TAKES)
                assert [await sizes.get(), await sizes.get()] == [whole, whole]


async def test_an_attempt_that_broke_sends_no_more(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A server that doesn't read keeps no connection after the deadline, and gets no rest."""

    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with _reads_late(silent) as (url, read_on, sizes):
        endpoint = endpoint_at(url, timeout=0.2)
        async with open_transport(endpoint, tls) as transport:
            claim = claim_of(event=_event(MORE_THAN_THE_KERNEL_TAKES))
            assert (await attempt(transport, endpoint, claim, now)).error == "timeout"
            read_on.set()
            async with asyncio.timeout(PATIENCE):
                assert await sizes.get() < len(MORE_THAN_THE_KERNEL_TAKES)


@asynccontextmanager
async def _reads_late(
    begin: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Queue[int]]]:
    """Serve with `begin`, then wait to be told to read, and tell how much came until the end."""
    read_on = asyncio.Event()
    sizes: asyncio.Queue[int] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await begin(reader, writer)
        await read_on.wait()
        size = 0
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                size += len(data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        sizes.put_nowait(size)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", read_on, sizes


async def test_a_header_with_a_line_break_is_not_sent(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Whatever made a header, its value cannot begin another one."""
    async with receiver(says(200)) as server:
        for evil in ("a\r\nX-Other: b", "a\nb", "a\rb", "a\0b"):
            endpoint = endpoint_at(server.url, headers=(("X-Own", evil),))
            async with open_transport(endpoint, tls) as transport:
                with pytest.raises(ValueError, match="line break"):
                    await transport.handle_async_request(build_request(endpoint, claim_of(), now()))
        assert server.connections == 0


@pytest.mark.parametrize("status", [200, 503])
async def test_one_write_carries_head_and_body(
    status: int, endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """A request is one segment on a connection that is used again, whatever was answered."""
    segments: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            segments.append(data)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = endpoint_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    async with server, open_transport(endpoint, tls) as transport:
        for number in (1, 2):
            outcome = await attempt(transport, endpoint, claim_of(number), now)
            assert outcome.status == status
    assert [segment.count(b"POST / HTTP/1.1\r\n") for segment in segments] == [1, 1]
    assert all(segment.endswith(claim_of().event.body) for segment in segments)


async def test_a_response_that_is_not_read_closes_its_connection(
    endpoint_at: Make, claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Closing an unread response gives its place in the pool to the next request."""
    async with receiver(says(200, body=b"x" * 100_000)) as server:
        endpoint = endpoint_at(server.url, concurrency=1)
        async with open_transport(endpoint, tls) as transport:
            for number in (1, 2):
                response = await transport.handle_async_request(
                    build_request(endpoint, claim_of(number), now())
                )
                assert isinstance(response.stream, httpx.AsyncByteStream)
                await response.stream.aclose()
        assert (len(server.requests), server.connections) == (2, 2)


@asynccontextmanager
async def _tunnel(port: int, asked: list[bytes]) -> AsyncIterator[str]:
    """Be a proxy that connects whoever asks to one port; give its address."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://me:pr0xy@127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_https_goes_through_a_proxys_tunnel(
    endpoint_at: Make, claim_of: MakeClaim, tmp_path: Path
) -> None:
    """The proxy gets its login and where to connect to, and of the webhook nothing."""
    certificate, key = tmp_path / "bridge.pem", tmp_path / "bridge.key"
    self_signed(tmp_path, "bridge")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    asked: list[bytes] = []
    async with receiver(says(200), server_side) as server:
        port = httpx.URL(server.url).port
        assert port is not None
        async with _tunnel(port, asked) as proxy:
            endpoint = endpoint_at(server.url, proxy=proxy)
            async with open_transport(endpoint, trusting) as transport:
                for number in (1, 2):
                    outcome = await attempt(transport, endpoint, claim_of(number), now)
                    assert outcome.status == 200
        assert (len(server.requests), server.connections) == (2, 1)
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % port)
    assert b"Proxy-Authorization: Basic bWU6cHIweHk=" in asked[0]
    assert b"webhook" not in asked[0].lower()
    assert [request.line for request in server.requests] == ["POST /hook HTTP/1.1"] * 2
    assert "proxy-authorization" not in server.requests[0].headers


async def test_who_gives_aiohttp_no_context_trusts_nobody():
    """Its own context, which takes memory in every daemon, is replaced by an empty one."""
    connector = aiohttp.TCPConnector()
    context = connector._get_ssl_context(aiohttp.ClientRequest("GET", URL("https://a.example")))
    await connector.close()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509"] == 0

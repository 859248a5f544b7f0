"""The HTTP server loses no request that it has received, and no client can hold on to it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from bridge.errors import ListenError
from bridge.net.http_server import HttpServer
from bridge.net.limits import HTTP_LIMITS, HttpLimits
from bridge.net.tls import server_context
from tests.conftest import Line
from tests.patience import PATIENCE

GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = b"x" * 8_000_000  # more than the kernel keeps for a client that doesn't read
POST = b"POST /body/secret-token HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Site:
    """Pages to be asked for, and what they saw."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/quick", self.quick),
            web.get("/slow", self.slow),
            web.get("/big", self.big),
            web.post("/body/{token}", self.body),
            web.get("/bug/{token}", self.bug),
        ]

    async def quick(self, _request: web.Request) -> web.Response:
        return web.Response(text="quick")

    async def slow(self, _request: web.Request) -> web.Response:
        self.began.set()
        try:
            await self.go.wait()
            return web.Response(text="slow")
        finally:
            self.ended.set()

    async def big(self, _request: web.Request) -> web.Response:
        self.began.set()
        return web.Response(body=BIG)

    async def body(self, request: web.Request) -> web.Response:
        self.began.set()
        try:
            self.bodies.append(await request.read())
            return web.Response(text="taken")
        finally:
            self.ended.set()

    async def bug(self, _request: web.Request) -> web.Response:
        raise ZeroDivisionError


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *requests: bytes) -> None:
        self.writer.write(b"".join(requests))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:])
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def status(self) -> int:
        return (await self.answer())[0]

    async def closed(self) -> bool:
        """Wait until the server closes; say whether it sent nothing more before."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Give what connects."""
    clients = []

    async def to(server: HttpServer, **options: object) -> Client:
        host, port = server.addresses[0]
        client = Client(*await asyncio.open_connection(host, port, **options))  # type: ignore[arg-type]
        clients.append(client)
        return client

    yield to
    for client in clients:
        client.writer.transport.abort()


@pytest.fixture
def site() -> Site:
    return Site()


@asynccontextmanager
async def serving(
    site: Site, limits: HttpLimits = HTTP_LIMITS, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    """Run a server on a free port; at the end nothing may be left of it."""
    server = HttpServer("test", "test.listen", ["127.0.0.1:0"], site.routes(), limits, tls=tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert len(server._places) == 0
    assert not server._serving
    assert not server._connections


async def until_free(server: HttpServer) -> None:
    """Wait until no connection takes a place."""
    async with asyncio.timeout(PATIENCE):
        while len(server._places):
            await asyncio.sleep(0.01)


async def test_the_last_answer_of_a_connection_says_so(site: Site, connect: Connect) -> None:
    """From the deadline on, whatever was received is answered, and the last answer closes."""
    async with serving(site, HttpLimits(seconds=0)) as server:
        client = await connect(server)
        client.send(GET.replace(b"quick", b"slow"), GET, GET)
        await site.began.wait()
        site.go.set()
        answers = [await client.answer() for _ in range(3)]
        assert [body for _, _, body in answers] == [b"slow", b"quick", b"quick"]
        assert [headers.get("connection") for _, headers, _ in answers] == [None, None, "close"]
        assert await client.closed()


async def test_an_idle_connection_is_closed_at_the_deadline(site: Site, connect: Connect) -> None:
    """A client that keeps its connection and asks nothing more is closed, and not only ignored."""
    limits = HttpLimits(seconds=0.05, closing_seconds=3600)
    async with serving(site, limits) as server:
        client = await connect(server)
        client.send(GET)
        assert await client.status() == 200
        assert await client.closed()
        await until_free(server)


async def test_a_request_that_arrives_at_the_deadline_is_answered(
    site: Site, connect: Connect
) -> None:
    """What the kernel has received before the deadline's timer runs is read before the close."""
    seconds = 0.5
    async with serving(site, HttpLimits(seconds=seconds)) as server:
        loop = asyncio.get_running_loop()
        while True:
            client = await connect(server)
            began = loop.time()
            client.send(GET)
            assert await client.status() == 200
            if loop.time() - began < seconds:
                break  # nothing has run since that could have closed it: the deadline is ahead
        time.sleep(seconds)  # the loop stands still, as under load, until the deadline has passed
        client.send(GET)
        status, headers, _ = await client.answer()
        assert (status, headers.get("connection")) == (200, "close")
        assert await client.closed()


async def test_a_request_that_arrives_at_the_stop_is_answered(site: Site, connect: Connect) -> None:
    """The same at the end: what was sent before `stop` is answered, on an idle connection too."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(GET)
        assert await client.status() == 200
        client.send(GET)
        await server.stop()
        status, headers, _ = await client.answer()
        assert (status, headers.get("connection")) == (200, "close")
        assert await client.closed()


async def test_a_request_half_here_at_the_stop_is_awaited(site: Site, connect: Connect) -> None:
    """A head in two packets, one on each side of the stop, is a request like any other."""
    async with serving(site, HttpLimits(stopping_seconds=3600)) as server:
        client = await connect(server)
        client.send(GET)
        assert await client.status() == 200
        client.send(GET[:10])
        stopping = asyncio.create_task(server.stop())
        while server.addresses:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        client.send(GET[10:])
        assert await client.status() == 200
        await stopping
        assert await client.closed()


async def test_an_answer_in_progress_at_the_stop_is_sent(site: Site, connect: Connect) -> None:
    """Stopping waits for handlers, says that the connection closes, and takes nobody in."""
    async with serving(site, HttpLimits(stopping_seconds=3600)) as server:
        client = await connect(server)
        address = server.addresses[0]
        client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.began.wait()
        stopping = asyncio.create_task(server.stop())
        while server.addresses:
            await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)
        assert not stopping.done()
        site.go.set()
        status, headers, body = await client.answer()
        assert (status, headers.get("connection"), body) == (200, "close", b"slow")
        await stopping


async def test_a_handler_that_hangs_is_cancelled_at_the_stop(site: Site, connect: Connect) -> None:
    """A stop ends, whatever handlers do."""
    async with serving(site, HttpLimits(stopping_seconds=0.01)) as server:
        client = await connect(server)
        client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.began.wait()
        await server.stop()
        assert site.ended.is_set()
        assert await client.closed()


async def test_a_client_that_does_not_read_is_cut(site: Site, connect: Connect) -> None:
    """A closed connection whose answer nobody takes gives its place back all the same."""
    limits = HttpLimits(connections=1, seconds=0, closing_seconds=0.05)
    async with serving(site, limits) as server:
        client = await connect(server, limit=1)
        client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.began.wait()
        await until_free(server)
        other = await connect(server)
        other.send(GET)
        assert await other.status() == 200


async def test_a_silent_client_is_cut(site: Site, connect: Connect) -> None:
    """A client that never asks, or drips its first request, holds its place for a short time."""
    async with serving(site, HttpLimits(first_seconds=0.05, seconds=3600)) as server:
        silent = await connect(server)
        dripping = await connect(server)
        dripping.send(b"GET /quick HTTP/1.1\r\nX: ")
        assert await silent.closed()
        assert await dripping.closed()
        await until_free(server)


async def test_pipelined_requests_are_all_answered(site: Site, connect: Connect) -> None:
    """More requests in one packet than are kept in memory at a time: each gets its answer."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(GET * 300)
        assert [await client.status() for _ in range(300)] == [200] * 300


async def test_places_are_limited_for_each_peer(site: Site, connect: Connect) -> None:
    """One address can't take the places of all the others."""
    async with serving(site, HttpLimits(connections=3, connections_per_peer=1)) as server:
        first = await connect(server)
        first.send(GET)
        assert await first.status() == 200
        assert await (await connect(server)).closed()
        other = await connect(server, local_addr=("127.0.0.2", 0))
        other.send(GET)
        assert await other.status() == 200


async def test_a_peer_that_goes_keeps_its_place_until_its_handler_ends(
    site: Site, connect: Connect
) -> None:
    """Hanging up doesn't cancel a handler, and can't be used to run more of them than allowed."""
    async with serving(site, HttpLimits(connections=1)) as server:
        client = await connect(server)
        client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.began.wait()
        (connection,) = server._connections
        client.writer.transport.abort()
        await connection._lost
        assert await (await connect(server)).closed()
        assert not site.ended.is_set()
        site.go.set()
        await until_free(server)
        other = await connect(server)
        other.send(GET)
        assert await other.status() == 200


async def test_hanging_up_in_a_body_is_no_bug(
    site: Site, connect: Connect, lines: list[Line]
) -> None:
    """A peer can't write into our log as an error, nor make us believe a part of a body."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(POST, b"Content-Length: 100\r\n\r\nabc")
        await site.began.wait()
        client.writer.transport.abort()
        await site.ended.wait()
        await until_free(server)
    assert site.bodies == []
    assert [line for line in lines if line["level"] != "info"] == []


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n", 400),
        (b"Content-Length: 65537\r\n\r\n" + b"x" * 65537, 413),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n" +
         b"8001\r\n" + b"x" * 0x8001 + b"\r\n0\r\n\r\n", 413),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"Content-Length: -1\r\n\r\n", 400),
        (b"Expect: something\r\nContent-Length: 3\r\n\r\nabc", 417),
    ],
)  # fmt: skip
async def test_a_bad_body_is_refused(
    site: Site, connect: Connect, lines: list[Line], rest: bytes, status: int
) -> None:
    """Neither a broken nor an oversized nor an ambiguous body reaches a handler, or is a bug."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(POST, rest)
        answer = await client.answer()
        assert answer[0] == status
        assert answer[1]["server"] == "smsbridge"
    assert site.bodies == []
    assert [line for line in lines if line["level"] not in {"info", "debug"}] == []


async def test_a_client_that_asks_before_it_sends_is_told_to_continue(
    site: Site, connect: Connect
) -> None:
    """Expect: 100-continue, which curl sends for larger bodies."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(POST, b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert await client.status() == 200
    assert site.bodies == [b"abc"]


async def test_compressed_bodies_stay_compressed(site: Site, connect: Connect) -> None:
    """A body is what was sent: signatures are over that, and a bomb does not go off."""
    bomb = gzip.compress(bytes(10_000_000))
    async with serving(site) as server:
        client = await connect(server)
        client.send(POST, b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb), bomb)
        assert await client.status() == 200
    assert site.bodies == [bomb]


async def test_head_is_get_without_a_body(site: Site, connect: Connect) -> None:
    """HEAD has the headers of GET, and the next answer comes right after them."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(GET.replace(b"GET", b"HEAD"), GET)
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 5\r\n" in head
        assert (await client.answer())[2] == b"quick"


async def test_an_upgrade_is_declined(site: Site, connect: Connect) -> None:
    """A client that would rather speak something else gets its answer, and the next one."""
    async with serving(site) as server:
        client = await connect(server)
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        client.send(GET[:-2], upgrade, GET)
        assert [await client.status(), await client.status()] == [200, 200]


async def test_a_bug_is_logged_without_the_path(
    site: Site, connect: Connect, lines: list[Line]
) -> None:
    """A token in a path is a secret: the log names the route."""
    async with serving(site) as server:
        client = await connect(server)
        client.send(b"GET /bug/secret-token HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = await client.answer()
    assert (status, body) == (500, b"a bug in smsbridge: the log has the place\n")
    (bug,) = [line for line in lines if line["event"] == "test.bug"]
    assert bug["path"] == "/bug/{token}"
    assert "ZeroDivisionError" in str(bug["stack"])
    assert "secret-token" not in str(lines)


async def test_all_addresses_are_served_or_none() -> None:
    """Of several addresses, one that is taken is named with its key, and the others are freed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        server = HttpServer("test", "posts.listen", ["127.0.0.1:0", listen], [])
        with pytest.raises(ListenError, match=f"posts.listen: cannot listen on {listen}: "):
            await server.start()
        assert server.addresses == ()
        await server.stop()
    server = HttpServer("test", "posts.listen", ["127.0.0.1:0", "[::1]:0"], [])
    await server.start()
    assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]
    await server.stop()
    assert server.addresses == ()


async def test_tls_with_a_certificate_that_is_renewed(
    site: Site, connect: Connect, certificates: Path
) -> None:
    """New connections get the new certificate; one that is open goes on with the old one."""

    def trusting(name: str) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=certificates / f"{name}.pem")

    def certificate(name: str) -> ssl.SSLContext:
        return server_context(certificates / f"{name}.pem", certificates / f"{name}.key", "posts")

    async with serving(site, tls=certificate("one")) as server:
        old = await connect(server, ssl=trusting("one"))
        old.send(GET)
        assert await old.status() == 200
        server.tls = certificate("two")
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server, ssl=trusting("one"))
        new = await connect(server, ssl=trusting("two"))
        for client in (old, new):
            client.send(GET)
            assert await client.status() == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05junk!"])
async def test_a_failed_handshake_leaves_nothing(
    site: Site, connect: Connect, certificates: Path, lines: list[Line], sent: bytes
) -> None:
    """Handshakes count as connections, and silence, plain text and junk end at the deadline."""
    tls = server_context(certificates / "one.pem", certificates / "one.key", "posts")
    limits = HttpLimits(first_seconds=0.2, connections=1)
    async with serving(site, limits, tls) as server:
        client = await connect(server)
        client.send(sent)
        with suppress(ConnectionError):
            await client.reader.read()
        await until_free(server)
    assert [line["level"] for line in lines if line["event"] == "test.tls_failed"] == ["debug"]
    assert [line for line in lines if line["level"] not in {"info", "debug"}] == []

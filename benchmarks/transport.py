"""Measures what a POST costs on each HTTP transport that smsbridge could use.

    python benchmarks/transport.py [seconds a run]

One process sends, another (forked before) answers; the runs of all transports are interleaved, so
that a noisy machine is noisy for all. Prints CPU time (what the daemon has to share) and wall
time a POST, medians, and how many times as long each takes as the fastest.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import aiohttp
import httpx
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bridge.delivery.attempt import attempt, build_request
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport
from bridge.model import Claim, Event
from bridge.net.tls import client_context

ROUNDS = 5
TLS = client_context()
CLAIM = Claim(
    delivery_id=1,
    endpoint="bench",
    event=Event(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "sms.received",
        "sms.received",
        b'{"body":"' + b"x" * 700 + b'"}',
    ),
    attempt=1,
    step=0,
    elapsed=0.0,
    lease="lease",
)
Post = Callable[[], Awaitable[int | None]]  # gives the status


class Answers(asyncio.Protocol):
    """Answers 200 to every POST; the least server that there can be, as it runs beside us."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing
        self.got = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the body is whole."""
        self.got += data
        _, found, body = self.got.partition(b"\r\n\r\n")
        if found and len(body) >= len(CLAIM.event.body):
            self.got = b""
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def serve(listening: socket.socket) -> None:
    """Be the other process."""

    async def forever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answers, sock=listening)
        await server.serve_forever()

    uvloop.run(forever())


@asynccontextmanager
async def httpx_stock(endpoint: Endpoint) -> AsyncIterator[Post]:
    """Use httpx as it comes: client, and transport on httpcore."""
    limits = httpx.Limits(
        max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency
    )
    transport = httpx.AsyncHTTPTransport(verify=TLS, limits=limits)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:

        async def post() -> int:
            answer = await client.send(build_request(endpoint, CLAIM, datetime.now(UTC)))
            return answer.status_code

        yield post


@asynccontextmanager
async def aiohttp_session(endpoint: Endpoint) -> AsyncIterator[Post]:
    """Use aiohttp as it is documented: a session."""
    connector = aiohttp.TCPConnector(limit=endpoint.concurrency, ssl=TLS)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def post() -> int:
            request = build_request(endpoint, CLAIM, datetime.now(UTC))
            async with session.post(
                str(request.url),
                data=request.content,
                headers=request.headers,
                allow_redirects=False,
            ) as answer:
                await answer.read()
                return answer.status

        yield post


@asynccontextmanager
async def ours(endpoint: Endpoint) -> AsyncIterator[Post]:
    """Use our transport on aiohttp's connections as a lane does, outcome and deadline included."""
    async with open_transport(endpoint, TLS) as transport:

        async def post() -> int | None:
            outcome = await attempt(transport, endpoint, CLAIM, lambda: datetime.now(UTC))
            return outcome.status

        yield post


WAYS = {"httpx": httpx_stock, "aiohttp's session": aiohttp_session, "ours": ours}


async def _measure(post: Post, connections: int, seconds: float) -> tuple[float, float]:
    """Post for so long on so many connections; give CPU and wall microseconds a POST."""
    end = time.perf_counter() + seconds
    count = 0

    async def sender() -> None:
        nonlocal count
        while time.perf_counter() < end:
            assert await post() == 200
            count += 1

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(connections)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / count * 1e6, wall / count * 1e6


async def _compare(port: int, connections: int, seconds: float) -> None:
    endpoint = Endpoint(
        "bench", httpx.URL(f"http://127.0.0.1:{port}/"), (b"k" * 32,), connections, 20.0
    )
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    async with AsyncExitStack() as stack:
        posts = {name: await stack.enter_async_context(way(endpoint)) for name, way in WAYS.items()}
        for post in posts.values():
            await _measure(post, connections, 0.2)  # connect, warm up
        for _ in range(ROUNDS):
            for name, post in posts.items():
                taken[name].append(await _measure(post, connections, seconds))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*runs, strict=True))
        for name, runs in taken.items()
    }
    fastest = min(cpu for cpu, _ in medians.values())
    print(f"\n{connections} connections               CPU µs/POST  wall µs/POST  times")
    for name, (cpu, wall) in medians.items():
        print(f"  {name:<32}{cpu:>9.0f}{wall:>14.0f}{cpu / fastest:>7.2f}")


def main() -> None:
    """Measure at 10 and at 50 connections."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    other = multiprocessing.get_context("fork").Process(
        target=serve, args=(listening,), daemon=True
    )
    other.start()
    try:
        for connections in (10, 50):
            uvloop.run(_compare(listening.getsockname()[1], connections, seconds))
    finally:
        other.terminate()
        other.join()


if __name__ == "__main__":
    main()

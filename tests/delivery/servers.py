"""Webhook receivers on the loopback, from well-behaved to hostile."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.patience import PATIENCE


@dataclass(frozen=True)
class Request:
    """One request as it came: the head's lines split, the body's bytes."""

    line: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A running server: where it is, and what it got."""

    url: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def got(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until this many requests have come."""
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: len(self.requests) >= count)

    async def note(self, request: Request) -> None:
        """Remember a request, and tell those who wait."""
        async with self._more:
            self.requests.append(request)
            self._more.notify_all()


@asynccontextmanager
async def receiver(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Serve requests on a free port; `answer` writes what it likes."""
    here: Receiver
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        here.connections += 1
        try:
            while True:
                request = await _read(reader)
                await here.note(request)
                await answer(request, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the other side has gone, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    here = Receiver(f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook")
    try:
        yield here
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)


def closed_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def says(status: int, *headers: str, body: bytes = b"ok") -> Answer:
    """Answer with a status, as a decent server does."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


def sends(*parts: bytes, then: Answer | None = None) -> Answer:
    """Write these bytes as they are, then do something else."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then is not None:
            await then(request, writer)

    return answer


def repeats(part: bytes, pause: float = 0.0) -> Answer:
    """Write the same bytes without end, as fast as they are taken or with a pause."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def hangs(_: Request, writer: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""
    await asyncio.Event().wait()


async def closes(_: Request, writer: asyncio.StreamWriter) -> None:
    """Close the connection in good order."""
    writer.close()
    await writer.wait_closed()
    raise EOFError


async def resets(_: Request, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    await asyncio.sleep(0.02)  # what was written before must get out first
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    raise EOFError


HEAD_200 = b"HTTP/1.1 200 OK\r\n"
GZIP_BOMB = gzip.compress(bytes(64 * 1024**2), 9)

# Every one of them makes an attempt fail, each in its own way.
NASTY: dict[str, Answer] = {
    "hanging": hangs,
    "dripping head": sends(HEAD_200, then=repeats(b"X", 0.02)),
    "dripping body": sends(HEAD_200, b"Content-Length: 4000\r\n\r\n", then=repeats(b"x", 0.02)),
    "500": says(500),
    "429": says(429, "Retry-After: 3600"),
    "302": says(302, "Location: /elsewhere"),
    "101": sends(
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", then=hangs
    ),
    "reset before": resets,
    "reset in answer": sends(HEAD_200, b"Content-Length: 100\r\n\r\nabc", then=resets),
    "closed before": closes,
    "closed in answer": sends(HEAD_200, b"Content-Length: 100\r\n\r\nabc", then=closes),
    "no HTTP": sends(b"220 mail.example.com ESMTP\r\n", then=hangs),
    "endless headers": sends(HEAD_200, then=repeats(b"X-A: " + b"b" * 100 + b"\r\n")),
    "endless header": sends(HEAD_200 + b"X-A: ", then=repeats(b"b" * 1000)),
    "endless status line": sends(b"HTTP/1.1 200 ", then=repeats(b"O" * 1000)),
    "endless 1xx": repeats(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500),
    "dripping 1xx": repeats(b"HTTP/1.1 100 Continue\r\n\r\n", 0.005),
    "500 with an endless body": sends(
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", then=repeats(b"1\r\nx\r\n", 0.01)
    ),
    "endless chunk extension": sends(
        HEAD_200 + b"Transfer-Encoding: chunked\r\n\r\n1;a=", then=repeats(b"b" * 1000)
    ),
    "endless trailers": sends(
        HEAD_200 + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", then=repeats(b"X-A: b\r\n" * 50)
    ),
}

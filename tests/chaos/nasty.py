"""Receivers as nobody wants them: each is an answer that `Receiver.answer` can be set to."""

from __future__ import annotations

import asyncio
import functools
import gzip
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.servers.receiver import Answer, Exchange, status

RETRY_AFTER: Final = 4  # seconds that the throttling one asks for


@functools.cache
def _bomb() -> Answer:
    """Pack 200 MiB of nothing into 200 KiB: half a second, for whoever needs it."""
    body = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=9)
    return status(500, "content-encoding: gzip", body=body)


async def bomb(exchange: Exchange) -> None:
    """Answer with 500, and with far more than it looks like."""
    await _bomb()(exchange)


async def hang(exchange: Exchange) -> None:
    """Take the webhook and say nothing at all."""
    exchange.keep = False
    await asyncio.sleep(3600)


async def drip(exchange: Exchange) -> None:
    """Consent, and then give the announced answer a byte at a time."""
    exchange.keep = False
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await exchange.send(b".")
        await asyncio.sleep(0.1)


async def endless_headers(exchange: Exchange) -> None:
    """Consent, and then send headers for ever."""
    exchange.keep = False
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 100) for number in range(500))
    while True:
        await exchange.send(lines)
        await asyncio.sleep(0)


NASTY: Final[Mapping[str, Answer | None]] = MappingProxyType(
    {
        "down": None,
        "hanging": hang,
        "dripping": drip,
        "500": status(500, body=b"x" * 100_000),
        "429": status(429, f"retry-after: {RETRY_AFTER}"),
        "302": status(302, "location: /trap"),
        "410": status(410),
        "gzip bomb": bomb,
        "endless headers": endless_headers,
    }
)

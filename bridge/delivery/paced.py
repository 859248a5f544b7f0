"""Requests that arrive in pieces, as over a bad line: for tests of receivers."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import aiohttp
import httpx
from aiohttp.http import RawResponseMessage

from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import SENT, EndpointProtocol, EndpointTransport


@dataclass(frozen=True, slots=True)
class Pace:
    """So many pieces of a request, head included, with a pause before each but the first.

    Of these the last `missing` ones never come.
    """

    pieces: int
    pause: float  # seconds
    missing: int = 0


class PacedTransport(EndpointTransport):
    """Sends each request in pieces; the answer may come before the last one."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, pace: Pace) -> None:
        super().__init__(endpoint, endpoint.tls or context, None)
        self._pace = pace

    async def _exchange(
        self, protocol: EndpointProtocol, request: httpx.Request, sent: bytes
    ) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        pace = self._pace
        size = -(-len(sent) // pace.pieces)
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
        first, *others = pieces[: len(pieces) - pace.missing]
        protocol.send(first)
        request.extensions[SENT] = True
        writing = asyncio.ensure_future(_write(protocol, others, pace.pause))
        try:
            return await protocol.answer()
        finally:
            writing.cancel()
            await asyncio.wait({writing})


async def _write(protocol: EndpointProtocol, pieces: list[bytes], pause: float) -> None:
    for piece in pieces:
        await asyncio.sleep(pause)
        if protocol.transport is None:
            return
        protocol.transport.write(piece)

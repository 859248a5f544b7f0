"""A raw SMTP peer, and a source that runs for one test and must give everything back."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count

from bridge.config.settings import SmtpSettings
from bridge.model import Arrival, ArrivalOutcome, Receipt
from bridge.sources.smtp.source import SmtpSource
from tests.patience import PATIENCE

NOON = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)
MAIL = b"From: smsin@agiletelecom.com\r\nSubject: Agile\r\n\r\nFrom: +393301234567\r\n"

Accept = Callable[[Arrival], Awaitable[Receipt]]


def pinned_time() -> datetime:
    return NOON


@dataclass
class Taken:
    """Keeps what it accepts, in order."""

    arrivals: list[Arrival] = field(default_factory=list)

    async def __call__(self, arrival: Arrival) -> Receipt:
        self.arrivals.append(arrival)
        return Receipt(len(self.arrivals), ArrivalOutcome.MESSAGE)

    @property
    def contents(self) -> list[bytes]:
        """What came, without the Received header, whose third line is its last."""
        return [re.split(rb"\r?\n", each.raw, maxsplit=3)[3] for each in self.arrivals]


def make_source(settings: SmtpSettings, accept: Accept, **more: object) -> SmtpSource:
    ids = (f"{number:016x}" for number in count(1))
    more = {"clock": pinned_time, "new_id": partial(next, ids)} | more
    return SmtpSource(settings, accept, {}, **more)  # type: ignore[arg-type]


def stored(number: int = 1) -> str:
    """Return the reply to the mail of this number, of those that a source handed to its store."""
    return f"250 2.0.0 Stored as {number:016x}"


class Peer:
    """The other side of a connection, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls, address: str, tls: ssl.SSLContext | None = None, *, come_from: str | None = None
    ) -> Peer:
        host, _, port = address.rpartition(":")
        local = (come_from, 0) if come_from else None
        async with asyncio.timeout(PATIENCE):
            return cls(
                *await asyncio.open_connection(
                    host.strip("[]"), int(port), ssl=tls, local_addr=local
                )
            )

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            self.writer.write(data)
            await self.writer.drain()

    async def reply(self) -> str:
        """Read one reply, all its lines; empty when the connection is closed."""
        lines = []
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self.reader.readline()).decode()
                lines.append(line.rstrip("\r\n"))
                if line[3:4] != "-":
                    return "\n".join(lines)

    async def ask(self, command: bytes) -> str:
        await self.send(command + b"\r\n")
        return await self.reply()

    async def codes(self, *commands: bytes) -> list[str]:
        return [(await self.ask(each))[:3] for each in commands]

    async def greet(self) -> None:
        assert (await self.reply()).startswith("220 ")
        assert (await self.ask(b"EHLO client.example")).startswith("250")

    async def begin_mail(self) -> None:
        """Go as far as the 354."""
        asked = (b"MAIL FROM:<a@b.example>", b"RCPT TO:<sms@bridge.example>", b"DATA")
        assert await self.codes(*asked) == ["250", "250", "354"]

    async def rest(self) -> bytes:
        """Read to the end of the connection, however it ends."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Leave with an RST, the rudest way; also the one that takes no time."""
        connection = self.writer.get_extra_info("socket")
        if connection is not None and not self.writer.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

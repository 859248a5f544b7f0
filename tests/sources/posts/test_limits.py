"""What strangers and providers can use up of the listener for posts is bounded."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE
from tests.sources.posts.lines import CONFIG, Line, running, settings

TOKEN = "twilio-token-0123456789"
TWILIO = f"""
[[providers]]
name = "twilio"
post = {{ token = "{TOKEN}", secret = "12345" }}
"""
MIB = 1024**2


@dataclass
class Request:
    """A post that says how long it is, and sends nothing of its body."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def end(self) -> None:
        self.writer.transport.abort()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def status(self) -> bytes:
        """Return the status of the answer; b"" if there is none."""
        with suppress(OSError):
            async with asyncio.timeout(PATIENCE):
                first = await self.reader.readline()
            await self.end()
            return first[9:12]
        return b""


async def begin(line: Line, size: int, token: str = TOKEN) -> Request:
    """Begin a post of this size."""
    request = Request(*await asyncio.open_connection(*line.source.addresses[0]))
    request.writer.write(
        f"POST /in/twilio/{token} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()
    )
    return request


async def until_used(line: Line, size: int) -> None:
    """Wait until posts take this much memory."""
    async with asyncio.timeout(PATIENCE):
        while line.source._budget.used != size:
            await asyncio.sleep(0.01)


async def test_memory_is_bounded_and_given_back(tmp_path: Path) -> None:
    """A post for which there is no room is tried again later; a wrong token takes none at all."""
    common = CONFIG.replace('"16KiB"', '"3MiB"')
    async with running(settings(tmp_path, TWILIO, common)) as line:
        begun = [await begin(line, 3 * MIB) for _ in range(2)]
        await until_used(line, 6 * MIB)
        assert await (await begin(line, 3 * MIB)).status() == b"503"
        assert await (await begin(line, 3 * MIB, "another-token-0123456789")).status() == b"404"
        small = await line.post(f"/in/twilio/{TOKEN}", {"From": "+15550100"})
        assert (small.status_code, small.content) == (401, b"<Response></Response>")
        for each in begun:
            await each.end()
        await until_used(line, 0)
        again = await begin(line, 3 * MIB)
        await until_used(line, 3 * MIB)
        await again.end()
        await until_used(line, 0)


async def test_connections_of_one_peer_are_bounded(tmp_path: Path) -> None:
    """One more than the config allows is closed, until another has gone."""
    common = CONFIG.replace("[posts]\n", "[posts]\nmax_connections_per_peer = 2\n")
    async with running(settings(tmp_path, TWILIO, common)) as line, asyncio.timeout(PATIENCE):
        first, second = [await begin(line, 10) for _ in range(2)]
        await until_used(line, 20)
        assert await (await begin(line, 0)).status() == b""
        await first.end()
        while await (await begin(line, 0)).status() != b"401":
            await asyncio.sleep(0.01)
        await second.end()
        await until_used(line, 0)

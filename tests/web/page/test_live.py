"""The live list reads a bounded part of the store, and its streams end with who reads them."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from bridge.store import Lease, ingest_many
from bridge.store.following import Seen
from bridge.web.page import live
from tests.patience import PATIENCE
from tests.store.making import START, Clock, many, opened, sqlite_settings
from tests.web.api.bridges import Served, serving


@pytest.mark.parametrize("what", ["messages", "deliveries"])
async def test_after_a_long_absence_only_the_newest_is_read(tmp_path: Path, what: str) -> None:
    """A cursor that anybody can write into an address doesn't read the whole table."""
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=Clock()) as store:
        await store.change(
            lambda connection: ingest_many(connection, many(400), Lease("test", START, START))
        )
        since = partial(live._since, what=what)
        rows, now = await store.read(partial(since, seen=Seen(0, 0, 0)))
        assert len(rows) == live._AT_ONCE < 400
        assert await store.read(partial(since, seen=now)) == ([], now)


def test_a_cursor_is_what_it_was() -> None:
    """What a browser gives back is where it was; anything else is no cursor."""
    assert live._seen(live._cursor(Seen(1, 2, 3))) == Seen(1, 2, 3)
    for written in ("", "1.2", "1.2.x", "1.2.-3", "1.2.3.4", "1.2.99999999999999999999"):
        assert live._seen(written) is None


async def test_a_stream_ends_with_its_browser_though_nothing_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a row to send it would never learn that nobody is there, and keep its place."""
    monkeypatch.setattr(live, "_SECONDS", 0.01)
    monkeypatch.setattr(live, "_places", asyncio.Semaphore(1))
    async with serving(tmp_path) as served:
        writer = await _stream(served)
        assert live._places.locked()
        writer.close()
        async with asyncio.timeout(PATIENCE):
            await live._places.acquire()


async def _stream(served: Served) -> asyncio.StreamWriter:
    """Open a stream that has nothing to say, and read the beginning of it."""
    reader, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"))
    lines = ["GET /live/stream?what=quarantine HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {served.read}", "", ""]
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b"retry: ")
    return writer

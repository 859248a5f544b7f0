"""What is read from a mailbox is parted so that memory is bounded, whatever the mails weigh."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from bridge.model import Arrival, Cursor, Receipt
from tests.servers.scripted_imap import ScriptedImap, Session, scripted_imap
from tests.sources.imap.parts import Ledger, make_source, running

MAIL = 90_000  # bytes
WINDOW = 4 * MAIL  # bytes, for these tests


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.sources.imap.windows.WINDOW_BYTES", WINDOW)


async def test_two_windows_of_big_mails_are_in_memory_at_most(server: ScriptedImap) -> None:
    """While one is committed the next one is read, and no more than that."""
    asked = held = 0  # bytes
    most = 0
    opened = asyncio.Event()

    async def fetch(session: Session, tag: str, words: str) -> str:
        nonlocal asked, most
        if "BODY" in words:
            asked += sum(len(mail.raw) for _, _, mail in session._named(words))
            most = max(most, asked - held)
        return await session.do_uid_fetch(words)

    async def commit(arrival: Arrival) -> None:
        nonlocal held
        await opened.wait()
        held += len(arrival.raw)

    server.instead["UID FETCH"] = fetch
    for number in range(30):
        server.add(b"%02d" % number + b"x" * (MAIL - 2))
    ledger = Ledger(before=commit)
    async with running(make_source(ledger, server.port)):
        await server.until(lambda: asked >= 2 * WINDOW)
        await asyncio.sleep(0.1)  # whoever reads on would do it now
        opened.set()
        await ledger.until_at(30)
    assert sorted(ledger.raws) == sorted(mail.raw for mail in server.mails.values())
    # Each may be exceeded by a mail, for the last one is not parted.
    assert 2 * WINDOW <= most <= 2 * (WINDOW + MAIL)


async def test_many_small_mails_share_a_window(server: ScriptedImap) -> None:
    """The number is bounded, too: a commit of a hundred is enough."""
    for number in range(250):
        server.add(b"%d" % number)
    ledger = Ledger()
    async with running(make_source(ledger, server.port)):
        await ledger.until_at(250)
    bodies = [words for words in server.heard if "BODY" in words]
    assert [re.findall(r"\d+", words)[:2] for words in bodies] == [
        ["1", "100"], ["101", "200"], ["201", "250"],
    ]  # fmt: skip


async def test_memory_is_flat_over_a_big_backlog(server: ScriptedImap) -> None:
    """What is allocated at its peak does not grow with the mailbox."""

    class Forgetful(Ledger):
        async def accept(self, arrival: Arrival) -> Receipt:
            receipt = await super().accept(arrival)
            self.arrivals.clear()
            return receipt

    raw = b"x" * MAIL
    for _ in range(200):
        server.add(raw)
    ledger = Forgetful()
    tracemalloc.start()
    try:
        async with running(make_source(ledger, server.port)):
            await ledger.until(lambda: ledger.at == Cursor(7, 200), 30)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two windows, the one's buffer, and what the server beside us holds of it.
    assert peak < 6 * WINDOW, f"{peak / WINDOW:.1f} windows of {200 * MAIL / WINDOW:.0f}"

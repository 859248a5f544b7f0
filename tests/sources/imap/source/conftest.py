"""What tests of a running IMAP source share: its server, its ledger, and short pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from bridge.sources.imap.source import ImapSource
from tests.conftest import Line
from tests.servers.scripted_imap import ScriptedImap, scripted_imap
from tests.sources.imap.parts import Ledger, end, make_source

Begin = Callable[..., ImapSource]
Told = Callable[[str], list[Line]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short: 0.1 s is most of what these tests would take."""
    monkeypatch.setattr("bridge.sources.imap.source._LONGEST_PAUSE", 0.1)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def begin(server: ScriptedImap, ledger: Ledger) -> AsyncIterator[Begin]:
    """Run sources; at the end nothing may be left of them."""
    running: list[tuple[ImapSource, asyncio.Task[None]]] = []

    def start(**more: object) -> ImapSource:
        source = make_source(ledger, server.port, **more)  # type: ignore[arg-type]
        running.append((source, asyncio.create_task(source.run())))
        return source

    yield start
    for each in running:
        await end(*each)


@pytest.fixture
def told(lines: list[Line]) -> Told:
    """Give the log lines of one event."""
    return lambda event: [line for line in lines if line["event"] == event]

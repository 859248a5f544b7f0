"""Mail is found whether the server pushes, polls, hangs up or goes silent."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.servers.scripted_imap import FULL, ScriptedImap, Session
from tests.sources.imap.parts import Ledger, trouble
from tests.sources.imap.source.conftest import Begin, Told


async def test_the_server_restarts(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """What came while the connection was cut is found after the reconnect."""
    begin()
    await server.until_heard("idling")
    server.hang_up()
    server.add(b"sms")
    await ledger.until_at(1)


@pytest.mark.unhurried
async def test_a_server_that_hangs_up_at_each_idle(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """It syncs well each time, and yet the pauses grow: no loop of logins, and mail is taken."""

    async def die(session: Session, tag: str, words: str) -> None:
        session.writer.transport.abort()

    server.instead["IDLE"] = die
    source = begin()
    await server.until_heard("LOGIN", 3)
    assert source._retrying.statistics["attempt_number"] == 3  # of one series of failures
    server.add(b"sms")
    await ledger.until_at(1)


async def test_a_connection_that_lasted_ends_the_series_of_failures(
    server: ScriptedImap, begin: Begin, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it the pauses start over: each failure is the first of a series."""
    monkeypatch.setattr("bridge.sources.imap.source._STEADY", 0.0)

    async def die(session: Session, tag: str, words: str) -> None:
        session.writer.transport.abort()

    server.instead["IDLE"] = die
    source = begin()
    await server.until_heard("LOGIN", 4)
    assert source._retrying.statistics["attempt_number"] == 1
    pauses = [line["pause"] for line in told("imap.unavailable")]
    assert len(pauses) >= 3
    assert all(0.1 <= pause <= 0.6 for pause in pauses)


@pytest.mark.parametrize("lasted", [True, False])
async def test_a_pause_is_announced_to_the_watchdog(
    server: ScriptedImap, begin: Begin, monkeypatch: pytest.MonkeyPatch, lasted: bool
) -> None:
    """A source that waits for its next attempt has not stalled; at its end, `stop` wakes it."""
    monkeypatch.setattr("bridge.sources.imap.source._STEADY", 0.0 if lasted else 1e9)
    monkeypatch.setattr("bridge.sources.imap.source._SHORTEST_PAUSE", 3600.0)

    async def die(session: Session, tag: str, words: str) -> None:
        session.writer.transport.abort()

    server.instead["IDLE"] = die
    source = begin()
    await trouble(source)
    async with asyncio.timeout(60):
        while source.status.heartbeat._until < time.monotonic() + 3500:
            await asyncio.sleep(0.01)
    assert source.report().stalled is None


@pytest.mark.unhurried
async def test_a_black_hole(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """A connection that died without a word is found out and left, and nothing is missed."""

    async def deaf(session: Session, tag: str, words: str) -> None:
        del server.instead["IDLE"]
        session.say("+ idling")
        await session.reader.read()  # whatever it is, to the end

    server.instead["IDLE"] = deaf
    begin(poll=0.1, timeout=0.3)
    await server.until_heard("IDLE")
    server.add(b"sms")
    await ledger.until_at(1)


@pytest.mark.unhurried
async def test_a_lost_push_is_found_by_polling(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Mail of which the server never spoke is found at the next poll."""
    begin(poll=0.1)
    await server.until_heard("idling")
    server.add(b"sms")
    await ledger.until_at(1)


async def test_exists_while_searching(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """A mail that comes in the middle of the search is taken at once, not at the next poll."""

    async def search(session: Session, tag: str, words: str) -> str:
        del server.instead["UID SEARCH"]
        said = await session.do_uid_search(words)
        server.add(b"sms")
        session.say("* 1 EXISTS")
        return said

    server.instead["UID SEARCH"] = search
    begin()
    await ledger.until_at(1)


@pytest.mark.parametrize("missing", ["IDLE", "refuses"])
async def test_without_idle(
    server: ScriptedImap, ledger: Ledger, begin: Begin, missing: str
) -> None:
    """A server that cannot push is asked again and again."""

    async def no(session: Session, tag: str, words: str) -> str:
        return "NO not now"

    if missing == "IDLE":
        server.capabilities = [each for each in FULL if each != "IDLE"]
    else:
        server.instead["IDLE"] = no
    begin(poll=0.05)
    await server.until_heard("SELECT", 3)
    server.add(b"sms")
    await ledger.until_at(1)
    assert sum(words == "IDLE" for words in server.heard) == (missing == "refuses")


@pytest.mark.unhurried
async def test_a_server_that_always_pushes(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """EXISTS at every IDLE does not make a loop without rest."""

    async def idle(session: Session, tag: str, words: str) -> str:
        session.say("+ idling", "* 0 EXISTS")
        assert await session.line() == "DONE"
        return "OK done"

    server.instead["IDLE"] = idle
    begin(poll=60)
    await server.until_heard("IDLE", 5)
    before = len(server.heard)
    await asyncio.sleep(0.3)
    assert len(server.heard) - before < 60

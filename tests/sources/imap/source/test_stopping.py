"""A stop lets begun commits end, and waits for nothing else."""

from __future__ import annotations

import asyncio

import pytest

from bridge.model import Arrival
from tests.servers.scripted_imap import ScriptedImap, Session
from tests.sources.imap.parts import Ledger, make_source
from tests.sources.imap.source.conftest import Begin, Told


async def test_a_cancelled_source_has_ended(server: ScriptedImap, ledger: Ledger) -> None:
    """Once `run` is over nothing is done to the mailbox any more: another bridge may have it."""
    source = make_source(ledger, server.port)
    run = asyncio.create_task(source.run())
    await server.until_heard("idling")
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    assert source._working is not None
    assert source._working.done()
    assert source._client is None


async def test_stop_lets_commits_end(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """What was begun is stored, marked and remembered; then LOGOUT."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def gate(arrival: Arrival) -> None:
        entered.set()
        await opened.wait()

    ledger.before = gate
    server.add(b"sms")
    source = begin()
    await entered.wait()
    source.stop()
    opened.set()
    await ledger.until_at(1)
    await server.until_heard("LOGOUT")
    assert server.mails[1].flags == {"\\Seen"}


@pytest.mark.unhurried
async def test_stop_does_not_wait_for_a_silent_server(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Where nothing is under way, a server that does not answer holds no shutdown up."""

    async def never(session: Session, tag: str, words: str) -> None:
        pass

    server.instead["LOGIN"] = never
    source = begin(timeout=60)
    await server.until_heard("LOGIN")
    async with asyncio.timeout(3):
        await source.drain(20)


@pytest.mark.unhurried
async def test_drain_does_not_wait_for_ever(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """A commit that does not end is left to the next start."""
    entered = asyncio.Event()

    async def stuck(arrival: Arrival) -> None:
        entered.set()
        await asyncio.Event().wait()

    ledger.before = stuck
    server.add(b"sms")
    source = begin()
    await entered.wait()
    async with asyncio.timeout(2):
        await source.drain(0.05)
    assert server.mails[1].flags == set()
    assert len(told("imap.drain_cut")) == 1

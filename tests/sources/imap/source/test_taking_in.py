"""A mail is stored before anything is done to it, and the cursor never passes one that is not."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import NotPossible
from bridge.model import Arrival, SourceKind
from bridge.sources.imap.open import open_read_only
from tests.servers.scripted_imap import ScriptedImap, Session
from tests.sources.imap.parts import NAME, Ledger, flags, settings
from tests.sources.imap.source.conftest import Begin
from tests.sources.peer import NOON


async def test_a_pushed_mail_is_taken(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """It is accepted with its place, then marked seen, then the cursor is there."""
    source = begin()
    await server.until_heard("idling")
    await server.push(b"sms")
    await ledger.until_at(1)
    (arrival,) = ledger.arrivals
    assert (arrival.source, arrival.source_name, arrival.raw) == (SourceKind.IMAP, NAME, b"sms")
    assert arrival.received_at == NOON
    assert arrival.origin is not None
    assert (arrival.origin.uidvalidity, arrival.origin.uid) == (7, 1)
    assert server.mails[1].flags == {"\\Seen"}
    await server.until_heard("idling", 2)
    assert source.status.connected
    assert source.status.last_push == NOON
    assert source.status.last_sync == NOON
    assert source.status.lag == 1.0  # INTERNALDATE is 14:30:52 +0200
    assert source.status.problem is None
    report = source.report()
    assert (report.problem, report.stalled) == (None, None)
    assert {"state": report.state, **report.details} == {
        "state": "connected",
        "last_sync": "2026-04-08T12:30:53+00:00",
        "last_push": "2026-04-08T12:30:53+00:00",
        "lag_seconds": 1.0,
        "open": 0,
    }


async def test_nothing_is_done_before_the_commit(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """As long as the store has not said so, the mail is as it was."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def gate(arrival: Arrival) -> None:
        entered.set()
        await opened.wait()

    ledger.before = gate
    server.add(b"sms")
    begin()
    await entered.wait()
    assert server.mails[1].flags == set()
    assert not any(words.startswith("UID STORE") for words in server.heard)
    opened.set()
    await ledger.until_at(1)
    assert server.mails[1].flags == {"\\Seen"}


async def test_the_cursor_is_true_in_any_order(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Commits end in the worst order, and no stored cursor ever passes a mail without commit."""
    seen: list[tuple[int, set[int]]] = []

    async def slow_first(arrival: Arrival) -> None:
        assert arrival.origin is not None
        await asyncio.sleep(0.001 * (30 - arrival.origin.uid % 30))
        stored = {each.origin.uid for each in ledger.arrivals}
        seen.append((ledger.at.uid if ledger.at else 0, stored))

    ledger.before = slow_first
    for number in range(250):
        server.add(b"%d" % number)
    begin()
    await ledger.until_at(250)
    assert any(cursor for cursor, _ in seen)
    for cursor, stored in seen:
        assert set(range(1, cursor + 1)) <= stored


async def test_a_mail_that_goes_while_it_is_read(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Somebody deletes it between search and fetch: nothing waits for it."""

    async def vanish(session: Session, tag: str, words: str) -> str:
        server.mails.pop(1, None)
        return await session.do_uid_fetch(words)

    server.instead["UID FETCH"] = vanish
    server.add(b"a")
    server.add(b"b")
    begin(poll=0.05)
    await ledger.until_at(2)
    assert ledger.raws == [b"b"]


async def test_looking_changes_nothing(server: ScriptedImap) -> None:
    """The UIDs and the bytes are told, what is too big is refused, and no flag is set."""
    server.add(b"sms")
    server.add(b"x" * 100_001)
    async with open_read_only(settings(server.port)) as look:
        assert look.uidvalidity == 7
        assert await look.list_uids() == [1, 2]
        assert await look.fetch_raw(1) == b"sms"
        assert await look.fetch_raw(9) is None
        with pytest.raises(NotPossible, match="100001 bytes"):
            await look.fetch_raw(2)
    assert all(not some for some in flags(server).values())
    assert any(words.startswith("EXAMINE") for words in server.heard)

"""The first start takes old mail as `start` says, and new mail always."""

from __future__ import annotations

from datetime import date

import pytest

from bridge.errors import StoreUnavailable
from bridge.model import Arrival, Cursor
from tests.servers.scripted_imap import ScriptedImap, Session
from tests.sources.imap.parts import Ledger
from tests.sources.imap.source.conftest import Begin


@pytest.mark.parametrize(
    ("start", "taken"),
    [
        ("all", [b"old", b"read", b"fresh"]),
        ("unseen", [b"old", b"fresh"]),
        ("new", [b"fresh"]),
        (date(2026, 4, 1), [b"old", b"read", b"fresh"]),
    ],
)
async def test_the_first_start(
    server: ScriptedImap, ledger: Ledger, begin: Begin, start: object, taken: list[bytes]
) -> None:
    """Old mail is taken as `start` says, what comes from then on always."""
    server.add(b"old")
    server.add(b"read", "\\Seen")
    begin(start=start)
    await server.until_heard("idling")
    await server.push(b"fresh")
    await ledger.until_at(3)
    assert sorted(ledger.raws) == sorted(taken)
    if isinstance(start, date):
        assert "UID SEARCH UID 1:2 SINCE 1-Apr-2026" in server.heard


async def test_what_is_read_by_another_client_before_we_take_it(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Mail that was unseen at the first start is taken, although it is seen by now."""

    async def away(arrival: Arrival) -> None:
        server.mails[1].flags.add("\\Seen")
        ledger.before = None
        raise StoreUnavailable("locked")

    ledger.before = away
    server.add(b"old")
    begin(start="unseen")
    await ledger.until_at(1)
    assert ledger.raws == [b"old"]


async def test_a_first_start_that_does_not_come_to_its_end(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """A restart goes on with it: what came since is taken, seen or not, and old mail as before."""
    server.add(b"seen of old", "\\Seen")
    server.add(b"broken", nil=True)
    server.add(b"old")
    source = begin(start="unseen")
    await server.until_heard("idling")
    source.stop()
    await server.until(lambda: not server.sessions)
    server.add(b"new", "\\Seen")
    server.mails[2].nil = False
    begin(start="unseen")
    await ledger.until_at(4)
    assert sorted(ledger.raws) == [b"broken", b"new", b"old"]


async def test_a_first_start_that_the_store_could_not_note(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """It is noted before any mail is read, however often the store is away."""
    ledger.refusals = 1
    server.add(b"broken", nil=True)
    source = begin(start="unseen")
    await server.until_heard("idling")
    assert ledger.at == Cursor(7, 0)
    source.stop()
    await server.until(lambda: not server.sessions)
    server.add(b"new", "\\Seen")
    begin(start="unseen")
    await ledger.until_taken(b"new")


async def test_new_mail_only_is_remembered_at_once(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """What comes between the first start and the second is new, although nothing came before."""
    server.add(b"old")
    source = begin(start="new")
    await ledger.until_at(1)
    source.stop()
    await server.until(lambda: not server.sessions)
    server.add(b"fresh")
    begin(start="new")
    await ledger.until_at(2)
    assert ledger.raws == [b"fresh"]


async def test_no_uidnext(server: ScriptedImap, ledger: Ledger, begin: Begin) -> None:
    """Where the server hides its next UID, a search finds the last one."""

    async def select(session: Session, tag: str, words: str) -> str:
        session.say("* 1 EXISTS", "* OK [UIDVALIDITY 7]")
        return "OK [READ-WRITE] selected"

    server.instead["SELECT"] = select
    server.add(b"old")
    begin(start="new")
    await ledger.until_at(1)
    assert ledger.raws == []

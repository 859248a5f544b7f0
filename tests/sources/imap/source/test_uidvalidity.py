"""A mailbox whose UIDs are numbered anew hides no mail."""

from __future__ import annotations

import pytest

from bridge.model import Cursor
from tests.servers.scripted_imap import ScriptedImap, Session
from tests.sources.imap.parts import NAME, Ledger
from tests.sources.imap.source.conftest import Begin, Told


@pytest.mark.parametrize("start", ["all", "unseen", "new"])
async def test_uidvalidity_changes(
    server: ScriptedImap, ledger: Ledger, begin: Begin, start: str,
    told: Told,
) -> None:  # fmt: skip
    """Every mail is looked at again, what came meanwhile is found, and the log says so."""
    begin(start=start)
    await server.until_heard("idling")
    await server.push(b"one")
    await ledger.until_at(1)
    await server.until_heard("idling", 2)
    server.add(b"two")
    server.recreate(uidvalidity=8)
    server.hang_up()
    await ledger.until_at(2, uidvalidity=8)
    assert set(ledger.raws) == {b"one", b"two"}
    (line,) = told("imap.uidvalidity_changed")
    assert (line["was"], line["now"]) == (7, 8)


async def test_what_others_read_meanwhile(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Mail that came while we were away and was read elsewhere is not lost with its old number."""
    ledger.cursors[NAME, "INBOX"] = Cursor(6, 50)
    server.add(b"sms", "\\Seen")
    begin(start="unseen")
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]
    assert "UID SEARCH UID 1:1 OR UNSEEN SINCE 1-Apr-2026" in server.heard


async def test_the_log_names_a_reconcile_that_looks_at_what_a_rescan_left_out(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """What lies below the horizon, reconcile counts as left out: only with --all it looks."""
    ledger.cursors[NAME, "INBOX"] = Cursor(6, 50)
    server.add(b"x" * 100_001)
    server.add(b"x" * 100_001)
    begin(start="unseen")
    await ledger.until_at(2)
    assert ledger.horizons[NAME, "INBOX"] == 3
    (line,) = told("imap.uidvalidity_changed")
    assert "reconcile --all" in str(line["detail"])
    await server.until_heard("idling")
    await server.push(b"x" * 100_001)
    await ledger.until_at(3)
    commands = [str(line["detail"]).partition(" run ")[2] for line in told("imap.too_big")]
    assert commands == [
        "reconcile --all --fix to take it in",
        "reconcile --all --fix to take it in",
        "reconcile --fix to take it in",
    ]


async def test_a_restored_mailbox_counts_anew(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """UIDs that are given a second time under the same UIDVALIDITY hide nothing."""
    ledger.cursors[NAME, "INBOX"] = Cursor(7, 50)
    server.add(b"sms")
    begin()
    await ledger.until_taken(b"sms")
    assert len(told("imap.uidvalidity_changed")) == 1


async def test_a_restored_mailbox_that_is_full_again(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """The cursor of before counts no more, also after a restart with more mail than that."""
    ledger.cursors[NAME, "INBOX"] = Cursor(7, 50)
    server.add(b"1")
    source = begin()
    await ledger.until_at(1)
    source.stop()
    await server.until(lambda: not server.sessions)
    for number in range(2, 61):
        server.add(b"%d" % number)
    begin()
    await ledger.until_at(60)
    assert sorted(map(int, ledger.raws)) == list(range(1, 61))


async def test_the_folder_goes_and_comes_back(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """While it is away that is an alarm; when it is back, everything in it is taken."""
    source = begin(refused_pause=0.05)
    await server.until_heard("idling")
    server.folders.clear()
    server.hang_up()
    await server.until_heard("SELECT", 3)
    assert source.status.problem is not None
    assert "INBOX" in source.status.problem
    assert len(told("imap.refused")) == 1  # told once, tried often
    server.uidvalidity = 9
    server.add(b"sms")
    server.folders.add("INBOX")
    await ledger.until_at(1, uidvalidity=9)
    await server.until_heard("idling", 2)
    assert source.status.problem is None


async def test_no_uidnext_and_the_last_mail_goes(
    server: ScriptedImap, ledger: Ledger, begin: Begin, told: Told
) -> None:
    """A folder without its last mail is not one whose UIDs were given anew."""

    async def select(session: Session, tag: str, words: str) -> str:
        session.say("* 1 EXISTS", "* OK [UIDVALIDITY 7]")
        return "OK [READ-WRITE] selected"

    server.instead["SELECT"] = select
    server.add(b"odd")
    server.add(b"sms")
    begin(on_message="delete", on_quarantine="leave", poll=0.05)
    await server.until_heard("SELECT", 3)
    assert ledger.raws == [b"odd", b"sms"]
    assert told("imap.uidvalidity_changed") == []

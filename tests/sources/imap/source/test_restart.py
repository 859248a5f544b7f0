"""After a crash or a lost connection nothing is missed and nothing is read twice."""

from __future__ import annotations

from bridge.model import Cursor
from tests.servers.scripted_imap import ScriptedImap, Session
from tests.sources.imap.parts import NAME, Ledger
from tests.sources.imap.source.conftest import Begin


async def test_a_restart_goes_on_at_the_cursor(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """Seen or not: above the cursor everything is wanted, below it nothing."""
    ledger.cursors[NAME, "INBOX"] = Cursor(7, 2)
    for raw in (b"a", b"b"):
        server.add(raw)
    server.add(b"c", "\\Seen")
    begin(start="unseen")
    await ledger.until_at(3)
    assert ledger.raws == [b"c"]


async def test_what_was_committed_and_not_acted_on_is_done_after_a_crash(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """The cursor waits for the action: the mail is seen again, a duplicate, and marked."""

    async def die(session: Session, tag: str, words: str) -> None:
        session.writer.transport.abort()
        server.instead["LOGIN"] = die

    server.instead["UID STORE"] = die
    server.add(b"sms")
    begin()
    await ledger.until_taken(b"sms")
    await server.until_heard("LOGIN", 2)
    assert ledger.at is None or ledger.at.uid < 1
    # The second life knows nothing but the ledger.
    server.instead.clear()
    begin()
    await ledger.until_at(1)
    assert server.mails[1].flags == {"\\Seen"}


async def test_a_lost_connection_does_not_read_twice(
    server: ScriptedImap, ledger: Ledger, begin: Begin
) -> None:
    """What this process committed it knows: after the reconnect only the action is left."""

    async def die(session: Session, tag: str, words: str) -> None:
        del server.instead["UID STORE"]
        session.writer.transport.abort()

    server.instead["UID STORE"] = die
    server.add(b"sms")
    begin()
    await ledger.until_at(1)
    assert ledger.raws == [b"sms"]
    assert server.mails[1].flags == {"\\Seen"}

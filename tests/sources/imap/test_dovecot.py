"""The IMAP source on a real Dovecot, with mail that comes in by LMTP."""

from __future__ import annotations

import asyncio
import imaplib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date

import pytest

from bridge.errors import ImapRefused
from bridge.model import Cursor
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.source import ImapSource
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.dovecot import PASSWORD, DovecotServer, dovecot, running_dovecot
from tests.sources.imap.parts import Ledger, make_source

__all__ = ["dovecot"]

Begin = Callable[..., ImapSource]


def sms(number: int, words: str = "sms") -> bytes:
    return b"Subject: %s %d\r\n\r\nbody\r\n" % (words.encode(), number)


def subjects(ledger: Ledger) -> list[str]:
    """Give the subjects of what was taken; Dovecot puts trace headers before them."""
    return [raw.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode() for raw in ledger.raws]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def begin(ledger: Ledger) -> AsyncIterator[Begin]:
    running: list[tuple[ImapSource, asyncio.Task[None]]] = []

    def start(dovecot: DovecotServer, user: str, **settings: object) -> ImapSource:
        known = {"username": user, "password": PASSWORD} | settings
        source = make_source(ledger, known.pop("port", dovecot.imap_port), **known)  # type: ignore[arg-type]
        running.append((source, asyncio.create_task(source.run())))
        return source

    yield start
    for source, run in running:
        source.stop()
        async with asyncio.timeout(PATIENCE):
            await run


async def deliver(dovecot: DovecotServer, user: str, *mails: bytes) -> None:
    await asyncio.to_thread(dovecot.deliver, user, *mails)


async def settled(ledger: Ledger, uid: int) -> None:
    """Wait for the cursor; the UIDVALIDITY is Dovecot's own affair."""
    await ledger.until(lambda: ledger.at is not None and ledger.at.uid == uid, 20)


def folder(dovecot: DovecotServer, user: str, name: str = "INBOX") -> dict[str, set[str]]:
    """Look into a folder with another client: subject → flags, less Recent."""
    found: dict[str, set[str]] = {}
    with dovecot.session(user, name) as other:
        _, said = other.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        for each in said:
            if isinstance(each, tuple):
                flags = {flag.decode() for flag in imaplib.ParseFlags(each[0])}
                subject = each[1].partition(b": ")[2].strip().decode()
                found[subject] = flags - {"\\Recent"}
    return found


async def test_mail_that_comes_while_idling(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin
) -> None:
    """LMTP delivers again and again, each mail is taken by a push and marked."""
    user = dovecot.new_user()
    source = begin(dovecot, user)
    for number in range(1, 4):
        await deliver(dovecot, user, sms(number))
        await settled(ledger, number)
    assert subjects(ledger) == ["sms 1", "sms 2", "sms 3"]
    assert source.status.last_push is not None
    assert await asyncio.to_thread(folder, dovecot, user) == {
        f"sms {number}": {"\\Seen"} for number in range(1, 4)
    }


@pytest.mark.parametrize(
    ("action", "inbox", "done"),
    [
        ("leave", {"sms 1": set()}, {}),
        ("seen", {"sms 1": {"\\Seen"}}, {}),
        ("delete", {}, {}),
        ("move:Done/Entwürfe & so", {}, {"sms 1": {"\\Seen"}}),
        ("copy:Done/Entwürfe & so", {"sms 1": {"\\Seen"}}, {"sms 1": set()}),
    ],
)
async def test_actions(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin, action: str,
    inbox: dict[str, set[str]], done: dict[str, set[str]],
) -> None:  # fmt: skip
    """Each of them does on a real server what it says, in folders of any name."""
    user = dovecot.new_user()
    coded = '"Done/Entw&APw-rfe &- so"'
    with dovecot.session(user, "") as other:
        assert other.create(coded)[0] == "OK"
    await deliver(dovecot, user, sms(1))
    begin(dovecot, user, on_message=action)
    await settled(ledger, 1)
    assert await asyncio.to_thread(folder, dovecot, user) == inbox
    assert await asyncio.to_thread(folder, dovecot, user, coded) == done


async def test_a_folder_that_is_watched(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin
) -> None:
    """Another folder than INBOX, with a name beyond ASCII, is read and watched."""
    user = dovecot.new_user()
    with dovecot.session(user, "") as other:
        other.create('"Eing&AOQ-nge"')
        other.append('"Eing&AOQ-nge"', None, None, sms(1))
        begin(dovecot, user, folder="Eingänge", name="other")
        await ledger.until(lambda: len(ledger.raws) == 1)
        other.append('"Eing&AOQ-nge"', None, None, sms(2))
        await ledger.until(lambda: len(ledger.raws) == 2)
    assert subjects(ledger) == ["sms 1", "sms 2"]


async def test_the_first_start_takes_unseen_mail(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin
) -> None:
    """Read mail stays where it is, the rest and all that follows is taken."""
    user = dovecot.new_user()
    await deliver(dovecot, user, sms(1), sms(2), sms(3))
    with dovecot.session(user) as other:
        other.uid("STORE", "2", "+FLAGS", "(\\Seen)")
    begin(dovecot, user, start="unseen")
    await settled(ledger, 3)
    await deliver(dovecot, user, sms(4))
    await settled(ledger, 4)
    assert sorted(subjects(ledger)) == ["sms 1", "sms 3", "sms 4"]


async def test_since_a_date(dovecot: DovecotServer, ledger: Ledger, begin: Begin) -> None:
    """Old mail is taken from the day on that the config names."""
    user = dovecot.new_user()
    with dovecot.session(user) as other:
        for day in ("07", "08", "09"):
            day_of = f'"{day}-Apr-2026 12:00:00 +0000"'
            other.append("INBOX", None, day_of, sms(int(day)))  # type: ignore[arg-type]
    begin(dovecot, user, start=date(2026, 4, 8))
    await settled(ledger, 3)
    assert sorted(subjects(ledger)) == ["sms 8", "sms 9"]


async def test_what_is_searched_after_a_change(dovecot: DovecotServer) -> None:
    """A real server understands "unseen, or since that day", within a range of UIDs."""
    user = dovecot.new_user()
    with dovecot.session(user) as other:
        for day, flags in (("07", "(\\Seen)"), ("07", "()"), ("09", "(\\Seen)"), ("09", "()")):
            day_of = f'"{day}-Apr-2026 12:00:00 +0000"'
            other.append("INBOX", flags, day_of, sms(1))  # type: ignore[arg-type]
    client = await ImapClient.connect("127.0.0.1", dovecot.imap_port, None, 10, max_literal=1)
    await client.login(user, PASSWORD)
    await client.select("INBOX", readonly=True)
    assert await client.search("UID 1:3 OR UNSEEN SINCE 8-Apr-2026") == [2, 3]
    await client.logout()


async def test_a_backlog(dovecot: DovecotServer, ledger: Ledger, begin: Begin) -> None:
    """A thousand mails are taken once each, all marked, and the cursor is at the last."""
    user = dovecot.new_user()
    await asyncio.to_thread(dovecot.fill, user, [sms(number) for number in range(1000)])
    begin(dovecot, user)
    await settled(ledger, 1000)
    assert sorted(subjects(ledger)) == sorted(f"sms {number}" for number in range(1000))
    with dovecot.session(user) as other:
        assert other.uid("SEARCH", "UNSEEN")[1] == [b""]


async def test_a_mail_whose_file_is_broken(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin, lines: list[Line]
) -> None:
    """Dovecot hangs up when it is asked for it: the mails beside it are taken all the same."""
    user = dovecot.new_user()
    await deliver(dovecot, user, *map(sms, range(1, 6)))
    maildir = dovecot.folder / "mail" / user / "Maildir"
    broken = next(each for each in maildir.rglob("*,S=*") if b"sms 3" in each.read_bytes())
    broken.write_bytes(b"less than its name says")
    begin(dovecot, user, poll=0.5)
    await ledger.until(lambda: len(ledger.raws) == 4, 30)
    assert sorted(subjects(ledger)) == ["sms 1", "sms 2", "sms 4", "sms 5"]
    await deliver(dovecot, user, sms(6))
    await ledger.until(lambda: "sms 6" in subjects(ledger), 20)
    assert {line["uid"] for line in lines if line["event"] == "imap.not_taken"} == {3}


async def test_the_folder_is_recreated(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin
) -> None:
    """A new folder under the old name is found at the next poll, and read from its start.

    Dovecot leaves us in the deleted one, where no mail ever comes, and says nothing.
    """
    user = dovecot.new_user()
    with dovecot.session(user, "") as other:
        other.create("Sms")
        other.append("Sms", None, None, sms(1))  # type: ignore[arg-type]
        begin(dovecot, user, folder="Sms", refused_pause=0.1, poll=0.5)
        key = ("inbox", "Sms")
        await ledger.until(lambda: ledger.cursors.get(key, Cursor(0, 0)).uid == 1)
        was = ledger.cursors[key].uidvalidity
        other.delete("Sms")
        other.create("Sms")
        other.append("Sms", None, None, sms(2))  # type: ignore[arg-type]
        await ledger.until(lambda: ledger.cursors[key].uidvalidity != was, 20)
        await ledger.until(lambda: "sms 2" in subjects(ledger))


async def test_tokens(dovecot: DovecotServer, ledger: Ledger, begin: Begin) -> None:
    """XOAUTH2 gets in with a good token."""
    user = dovecot.new_user()

    class Tokens:
        async def token(self) -> str:
            return "a.good-token"

    dovecot.tokens["a.good-token"] = user
    await deliver(dovecot, user, sms(1))
    begin(dovecot, user, tokens=Tokens())
    await settled(ledger, 1)


@pytest.mark.parametrize("way", ["password", "token"])
async def test_a_refused_login(dovecot: DovecotServer, way: str) -> None:
    """A wrong password and a wrong token are told apart from an outage, and at once."""
    client = await ImapClient.connect("127.0.0.1", dovecot.imap_port, None, 10, max_literal=1)
    user = dovecot.new_user()
    enter = client.login if way == "password" else client.authenticate_xoauth2
    with pytest.raises(ImapRefused, match="AUTHENTICATIONFAILED"):
        await enter(user, "wrong")
    await client.logout()


async def test_tls(dovecot: DovecotServer, ledger: Ledger, begin: Begin) -> None:
    """A pinned certificate is believed."""
    user = dovecot.new_user()
    await deliver(dovecot, user, sms(1))
    begin(dovecot, user, port=dovecot.imaps_port, tls=True, tls_ca=dovecot.certificate)
    await settled(ledger, 1)


async def test_a_certificate_that_nobody_vouches_for(
    dovecot: DovecotServer, ledger: Ledger, begin: Begin
) -> None:
    """It is an alarm, and no password is sent."""
    source = begin(dovecot, dovecot.new_user(), port=dovecot.imaps_port, tls=True)
    async with asyncio.timeout(PATIENCE):
        while source.status.problem is None:
            await asyncio.sleep(0.01)
    assert "certificate is not trusted" in source.status.problem


@pytest.fixture
def own_dovecot() -> Iterator[DovecotServer]:
    """Start a server that may be stopped."""
    with running_dovecot() as server:
        yield server


@pytest.mark.processes
async def test_the_server_is_restarted(
    own_dovecot: DovecotServer, ledger: Ledger, begin: Begin
) -> None:
    """What came meanwhile is taken as soon as it is back, nothing twice."""
    user = own_dovecot.new_user()
    begin(own_dovecot, user)
    for number in range(1, 4):
        await deliver(own_dovecot, user, sms(number))
        await settled(ledger, number)
        await asyncio.to_thread(own_dovecot.stop)
        await asyncio.to_thread(own_dovecot.start)
    assert subjects(ledger) == ["sms 1", "sms 2", "sms 3"]

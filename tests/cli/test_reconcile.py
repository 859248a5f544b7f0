"""`smsbridge reconcile`: what a mailbox holds and the ledger doesn't is found, and taken in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.config.imap import ImapSettings
from bridge.config.load import load
from bridge.errors import ImapUnavailable, NotPossible
from bridge.model import Cursor
from bridge.store import Database, mailboxes
from tests.cli.conftest import Filled, Ran, mail

Smsbridge = Callable[..., Ran]
IMAP = """
[[imap]]
name = "inbox"
host = "imap.example.com"
username = "sms"
password = "hunter2"
"""


@dataclass
class Folder:
    """A mailbox's folder as the client layer gives it."""

    mails: dict[int, bytes]
    uidvalidity: int = 7
    fetched: list[int] = field(default_factory=list)
    gone: tuple[int, ...] = ()
    huge: tuple[int, ...] = ()
    breaks_at: int = 0
    received: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def list_uids(self) -> list[int]:
        return list(self.mails)

    async def fetch_raw(self, uid: int) -> bytes | None:
        self.fetched.append(uid)
        if uid == self.breaks_at:
            raise ImapUnavailable("the mail server closed the connection")
        if uid in self.huge:
            raise NotPossible("is over 25 MiB")
        return None if uid in self.gone else self.mails[uid]

    async def received_at(self, uid: int) -> datetime | None:
        return self.received


@pytest.fixture
def folder(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Give a mailbox with a mail that came by SMTP before, one that is new, and no SMS."""
    filled.config.write_text(filled.config.read_text() + IMAP)
    made = Folder({1: mail("1"), 2: mail("2", "Second"), 3: b"Subject: hello\r\n\r\nno SMS 3"})

    @asynccontextmanager
    async def open_mailbox(settings: ImapSettings) -> AsyncIterator[Folder]:
        assert settings.name == "inbox"
        yield made

    monkeypatch.setattr("bridge.app.open_mailbox", open_mailbox)
    return made


def set_cursor(config: Path, uid: int, horizon: int | None = None, uidvalidity: int = 7) -> None:
    database = Database.open(load(config).store)
    try:
        with database.begin() as connection:
            mailboxes.advance(
                connection, "inbox", "INBOX", Cursor(uidvalidity, uid), horizon=horizon
            )
    finally:
        database.close()


def test_what_is_missing_is_told_and_nothing_is_changed(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """A mail that came by SMTP is known; the others are named, below or above the cursor."""
    set_cursor(filled.config, 2)
    for _ in range(2):
        ran = smsbridge("reconcile", "inbox", "-c", filled.config, "--json")
        assert ran.code == 1
        assert (ran.document["mails"], ran.document["known"]) == (3, 1)
        assert [
            (each["uid"], each["waiting"], each["would_be"], each["taken_in"])
            for each in ran.document["missing"]
        ] == [(2, False, "message", None), (3, True, "quarantine", None)]
    text = smsbridge("reconcile", "inbox", "-c", filled.config).out
    assert "missing" in text
    assert "Second" not in text


def test_fix_takes_in_what_is_missing(smsbridge: Smsbridge, filled: Filled, folder: Folder) -> None:
    """It is exit 0; the next comparison finds nothing, and fetches what it must."""
    set_cursor(filled.config, 1)
    ran = smsbridge("reconcile", "inbox", "--fix", "-c", filled.config, "--json")
    assert ran.code == 0
    assert [each["taken_in"] for each in ran.document["missing"]] == ["message", "quarantine"]
    folder.fetched.clear()
    ran = smsbridge("reconcile", "inbox", "-c", filled.config, "--json")
    assert (ran.code, ran.document["known"], ran.document["missing"]) == (0, 3, [])
    assert folder.fetched == [1]  # only that of SMTP has no place in this mailbox
    newest = smsbridge("messages", "list", "-c", filled.config, "--json").document[0]
    shown = smsbridge("messages", "show", newest["id"], "-c", filled.config, "--json").document
    assert (shown["data"]["source"], shown["data"]["body"]) == ("imap", "Second")
    assert shown["deliveries"]
    # It moves no cursor: that is the daemon's.
    database = Database.open(load(filled.config).store)
    with database.read() as connection:
        assert mailboxes.find_mailbox(connection, "inbox", "INBOX").cursor == Cursor(7, 1)
    database.close()


def test_another_uidvalidity_is_no_loss(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """Mails whose numbers have changed are known by their message or their bytes."""
    set_cursor(filled.config, 1)
    smsbridge("reconcile", "inbox", "--fix", "-c", filled.config)
    folder.uidvalidity = 8
    folder.mails = {uid + 10: raw for uid, raw in folder.mails.items()}
    ran = smsbridge("reconcile", "inbox", "-c", filled.config, "--json")
    assert (ran.code, ran.document["known"], ran.document["missing"]) == (0, 3, [])


def test_what_start_left_out_is_not_missing(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """Mails from before the first start are counted by themselves, and looked at with --all."""
    set_cursor(filled.config, 3, horizon=3)
    ran = smsbridge("reconcile", "inbox", "-c", filled.config, "--json")
    assert (ran.document["left_out"], [each["uid"] for each in ran.document["missing"]]) == (2, [3])
    ran = smsbridge("reconcile", "inbox", "--all", "-c", filled.config, "--json")
    assert (ran.document["left_out"], ran.document["known"]) == (0, 1)
    assert [each["uid"] for each in ran.document["missing"]] == [2, 3]


def test_what_retention_has_deleted_is_not_missing(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """A mail older than the records counts by itself; --fix does not deliver it once more."""
    set_cursor(filled.config, 2)
    filled.config.write_text(filled.config.read_text() + '[retention]\nrecords = "365d"\n')

    def compared(*options: str) -> tuple[int, list[int]]:
        ran = smsbridge("reconcile", "inbox", *options, "-c", filled.config, "--json")
        return ran.document["forgotten"], [each["uid"] for each in ran.document["missing"]]

    folder.received -= timedelta(days=364)
    assert compared() == (0, [2, 3])
    folder.received -= timedelta(days=2)
    assert compared("--fix") == (1, [3])  # 3 waits to be read, however old it is
    assert compared() == (1, [])
    assert compared("--all") == (0, [2])


def test_what_cannot_be_looked_at_is_told(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """A mail over the limit is missing with its reason; one that is gone meanwhile is not."""
    set_cursor(filled.config, 1)
    folder.huge, folder.gone = (2,), (3,)
    ran = smsbridge("reconcile", "inbox", "--fix", "-c", filled.config, "--json")
    assert ran.document["mails"] == 2
    (missing,) = ran.document["missing"]
    assert (missing["uid"], missing["problem"]) == (2, "is over 25 MiB")
    assert ran.code == 1


def test_a_mail_that_the_daemon_takes_in_meanwhile_is_not_missing(
    smsbridge: Smsbridge, filled: Filled, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not there when we began and is there when we end was never lost."""
    set_cursor(filled.config, 1)
    smsbridge("reconcile", "inbox", "--fix", "-c", filled.config)
    asked = []

    def none_at_first(*arguments: object) -> set[int]:
        asked.append(arguments)
        return set() if len(asked) == 1 else mailboxes.known_uids(*arguments)

    monkeypatch.setattr("bridge.operations.reconcile.known_uids", none_at_first)
    monkeypatch.setattr("bridge.operations.reconcile.is_known", lambda *_, **__: False)
    ran = smsbridge("reconcile", "inbox", "-c", filled.config, "--json")
    assert [each["uid"] for each in ran.document["missing"]] == [1]
    assert len(asked) == 2


@pytest.mark.parametrize("fix", [(), ("--fix",)])
def test_a_mailbox_that_was_never_read_is_not_compared(
    smsbridge: Smsbridge, filled: Filled, folder: Folder, fix: tuple[str, ...]
) -> None:
    """Nobody knows yet what `start` leaves out: --fix would send old mail that is not wanted."""
    ran = smsbridge("reconcile", "inbox", *fix, "-c", filled.config)
    assert (ran.code, "was never read" in ran.err) == (2, True)
    assert folder.fetched == []
    ran = smsbridge("reconcile", "inbox", "--all", *fix, "-c", filled.config, "--json")
    assert (ran.code, len(ran.document["missing"])) == (0 if fix else 1, 2)


def test_a_mailbox_that_goes_away_in_between_is_told(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """What could not be looked at for want of a connection is not missing: exit 2."""
    set_cursor(filled.config, 1)
    folder.breaks_at = 3
    ran = smsbridge("reconcile", "inbox", "-c", filled.config)
    assert (ran.code, ran.out) == (2, "")
    assert "closed the connection" in ran.err


def test_a_name_that_is_none_names_the_nearest(
    smsbridge: Smsbridge, filled: Filled, folder: Folder
) -> None:
    """A typo is exit 2 with a suggestion."""
    ran = smsbridge("reconcile", "inbx", "-c", filled.config)
    assert (ran.code, "did you mean 'inbox'?" in ran.err) == (2, True)

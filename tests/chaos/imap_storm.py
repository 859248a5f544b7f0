"""The storm on a mailbox: mails come in by LMTP while the bridge and Dovecot are killed."""

from __future__ import annotations

import contextlib
import random
import smtplib
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.mails import SmsMail
from tests.chaos.storm import slow
from tests.patience import PATIENCE
from tests.servers.daemon import Daemon
from tests.servers.dovecot import PASSWORD, DovecotServer
from tests.servers.receiver import Receiver

NAME: Final = "phone"
ANYONE: Final = ("anyone = true",)  # no envelope comes with a mail that was fetched

_START: Final = 0.9  # seconds that a start takes, about: a kill may fall into it as well
_WORK: Final = 0.8  # seconds of a life that reads; Dovecot waits 0.5 s before it pushes
_GAP: Final = 0.03  # seconds between two mails, at most
_CONNECTED: Final = PATIENCE  # seconds that a life may need to get into the mailbox


def mailbox_lines(dovecot: DovecotServer, user: str, *more: str) -> Sequence[str]:
    """Write `[[imap]]` for a user's INBOX."""
    return (
        f'name = "{NAME}"',
        'host = "127.0.0.1"',
        f"port = {dovecot.imap_port}",
        "tls = false",
        f'username = "{user}"',
        f"password = '{PASSWORD}'",
        *more,
    )


@dataclass(frozen=True, slots=True)
class ImapStorm:
    """How the kills fell."""

    kills: int
    connected: int  # kills of a bridge that was in the mailbox
    with_work: int  # kills with mails under way between the mailbox and the receiver
    restarts: int  # of Dovecot
    cut_sessions: int  # restarts with a bridge in the mailbox
    repeats: int  # webhooks that came again
    seconds: float


class _Delivery(threading.Thread):
    """Hands mails to Dovecot by LMTP, each again and again until Dovecot has taken it."""

    def __init__(
        self, dovecot: DovecotServer, user: str, mails: Sequence[SmsMail], dice: random.Random
    ) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self._allowed = threading.Semaphore(0)
        self._dovecot = dovecot
        self._user = user
        self._mails = mails
        self._dice = dice

    def allow(self, number: int) -> None:
        """Let it deliver this many more."""
        self._allowed.release(number)

    def run(self) -> None:
        lmtp: smtplib.LMTP | None = None
        for mail in self._mails:
            self._allowed.acquire()
            while True:
                try:
                    lmtp = lmtp or smtplib.LMTP("127.0.0.1", self._dovecot.lmtp_port, timeout=10)
                    lmtp.sendmail(mail.sender, [self._user], mail.raw)
                    break
                except (OSError, smtplib.SMTPException):  # Dovecot is being restarted
                    if lmtp is not None:
                        lmtp.close()
                    lmtp = None
                    time.sleep(0.02)
            self.done += 1
            time.sleep(self._dice.uniform(0, _GAP))
        if lmtp is not None:
            lmtp.close()


class _Restarts(threading.Thread):
    """Restarts Dovecot, now politely and now not, a random while after each `one_more`."""

    def __init__(
        self, dovecot: DovecotServer, daemon: Daemon, number: int, dice: random.Random
    ) -> None:
        super().__init__(daemon=True)
        self.done = self.cut_sessions = 0
        self._wanted = threading.Semaphore(0)
        self._number = number
        self._dovecot = dovecot
        self._daemon = daemon
        self._dice = dice

    def one_more(self) -> None:
        """Restart Dovecot once more, soon."""
        self._wanted.release()

    def run(self) -> None:
        for _ in range(self._number):
            self._wanted.acquire()
            time.sleep(self._dice.uniform(0, _WORK))
            self.cut_sessions += _in_the_mailbox(self._daemon)
            if self._dice.random() < 0.5:
                self._dovecot.stop()
            else:
                self._dovecot.kill()
            self._dovecot.start()
            self.done += 1


def _in_the_mailbox(daemon: Daemon) -> bool:
    return daemon.process.poll() is None and daemon.logged("imap.connected")


def rage_in_mailbox(
    daemon: Daemon,
    dovecot: DovecotServer,
    user: str,
    receiver: Receiver,
    mails: Sequence[SmsMail],
    kills: int,
    dice: random.Random,
) -> ImapStorm:
    """Deliver the mails while the daemon and Dovecot are killed; return when all is posted."""
    began = time.monotonic()
    receiver.answer = slow(random.Random(dice.random()))
    delivery = _Delivery(dovecot, user, mails, random.Random(dice.random()))
    restarts = _Restarts(dovecot, daemon, kills, random.Random(dice.random()))
    connected = with_work = 0
    daemon.spawn()
    delivery.start()
    restarts.start()
    for number in range(kills):
        if number:
            daemon.spawn()
        moment = time.monotonic() + dice.uniform(0, _START)
        if dice.random() < 0.75:
            with contextlib.suppress(AssertionError):  # Dovecot is away: killed all the same
                daemon.wait_for("imap.connected", seconds=_CONNECTED)
            moment = time.monotonic() + dice.uniform(0, _WORK)
        restarts.one_more()
        # While the life lasts, not before it: so mails are under way at whatever moment it ends.
        delivery.allow(len(mails[number::kills]))
        time.sleep(max(0.0, moment - time.monotonic()))
        connected += _in_the_mailbox(daemon)
        with_work += receiver.count() < delivery.done
        daemon.kill()
    restarts.join()
    daemon.start()  # all may be posted by now: who is stopped while he starts has no exit code 0
    daemon.wait_for("imap.connected")
    assert receiver.wait_for_ids(len(mails)), (
        f"{receiver.count()} of {len(mails)} arrived; Dovecot took {delivery.done}"
    )
    storm = ImapStorm(
        kills,
        connected,
        with_work,
        restarts.done,
        restarts.cut_sessions,
        len(receiver.all()) - receiver.count(),
        round(time.monotonic() - began, 1),
    )
    sys.stdout.write(f"{storm}\n")
    return storm


def uidnext(dovecot: DovecotServer, user: str) -> int:
    """Ask Dovecot for the UID that the next mail in the user's INBOX gets."""
    return int(
        dovecot.doveadm(
            "-f", "flow", "mailbox", "status", "-u", user, "uidnext", "INBOX"
        ).partition("uidnext=")[2]
    )


def search(dovecot: DovecotServer, user: str, *words: str) -> list[str]:
    """Find mails of a user, as `GUID UID` each."""
    return dovecot.doveadm("search", "-u", user, *words).splitlines()


def cursor_of(database: Path) -> int | None:
    """Read the UID up to which the ledger says that INBOX is settled."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        row = connection.execute(
            "SELECT uid FROM mailboxes WHERE mailbox = ? AND folder = 'INBOX'", (NAME,)
        ).fetchone()
    return None if row is None else row[0]


def wait_until_settled(database: Path, dovecot: DovecotServer, user: str) -> None:
    """Wait until the cursor is at the last mail that the mailbox ever got."""
    last = uidnext(dovecot, user) - 1
    deadline = time.monotonic() + PATIENCE
    while (at := cursor_of(database)) != last:
        assert time.monotonic() < deadline, f"the cursor is at {at}, the last UID is {last}"
        time.sleep(0.05)


def assert_no_mail_lost(daemon: Daemon, receiver: Receiver, mails: Sequence[SmsMail]) -> None:
    """Fail unless every mail became one message, delivered as itself, and the ledger adds up."""
    receiver.assert_honest()
    copies = receiver.by_id()
    assert sorted(each[0].text for each in copies.values()) == sorted(mail.text for mail in mails)
    assert daemon.ever_logged("imap.bug") == []
    assert daemon.ever_logged("unreadable") == []
    ended = daemon.stop()  # so that all it knows is recorded
    assert ended == 0, f"exit {ended}: {daemon.log()[-5:]}"
    daemon.assert_ledger_adds_up()
    done = daemon.command("reconcile", NAME)
    assert done.returncode == 0, f"reconcile: exit {done.returncode}\n{done.stdout}{done.stderr}"

"""`smsbridge reconcile` beside a daemon that reads the same mailbox on a real Dovecot."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.chaos.imap_storm import (
    ANYONE,
    NAME,
    assert_no_mail_lost,
    mailbox_lines,
    search,
    wait_until_settled,
)
from tests.chaos.mails import sms_mails
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.dovecot import DovecotServer
from tests.servers.receiver import Receiver


def test_what_the_start_left_out_is_taken_in_beside_the_daemon_and_posted_by_it(
    tmp_path: Path, secret: str, receiver: Receiver, dovecot: DovecotServer
) -> None:
    """Old mail is no loss; with --all --fix it is taken in, and the daemon posts it."""
    user = dovecot.new_user()
    imap = mailbox_lines(dovecot, user, 'start = "new"', "poll = 600")
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    mails = list(sms_mails("beside", 6))
    dovecot.deliver(user, *(mail.raw for mail in mails[:3]))
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        dovecot.deliver(user, *(mail.raw for mail in mails[3:]))
        assert receiver.wait_for_ids(3)
        wait_until_settled(tmp_path / "bridge.db", dovecot, user)

        done = daemon.command("reconcile", NAME, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert (found["mails"], found["known"], found["left_out"]) == (6, 3, 3)

        done = daemon.command("reconcile", NAME, "--all", "--fix", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        missing = json.loads(done.stdout)["missing"]
        assert [(each["uid"], each["taken_in"]) for each in missing] == [
            (uid, "message") for uid in (1, 2, 3)
        ]
        assert receiver.wait_for_ids(6)
        # It looked only: what was not read before is not read now.
        assert len(search(dovecot, user, "mailbox", "INBOX", "unseen")) == 3
        assert_no_mail_lost(daemon, receiver, mails)


def test_reconcile_and_the_daemon_take_in_one_backlog_together(
    tmp_path: Path, secret: str, receiver: Receiver, dovecot: DovecotServer
) -> None:
    """Whoever comes first, each of 800 mails is one message, posted under one id and marked."""
    user = dovecot.new_user()
    imap = mailbox_lines(dovecot, user, 'on_message = "seen"')
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    mails = list(sms_mails("together", 800))
    database = tmp_path / "bridge.db"
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        assert daemon.stop() == 0
        dovecot.deliver(user, *(mail.raw for mail in mails))
        with _reconciling(daemon.config) as command:
            deadline = time.monotonic() + PATIENCE
            while _messages(database) < 20:  # it is in the middle, and the daemon comes
                assert command.poll() is None, command.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            daemon.start()
            daemon.wait_for("imap.connected")
            beside = command.poll() is None
            out, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 0, out + err
        missing = json.loads(out)["missing"]
        assert [each["problem"] for each in missing if each["problem"]] == []
        first = sum(each["taken_in"] == "message" for each in missing)
        assert first >= 20
        assert receiver.wait_for_ids(len(mails))
        wait_until_settled(database, dovecot, user)
        assert search(dovecot, user, "mailbox", "INBOX", "unseen") == []
        assert_no_mail_lost(daemon, receiver, mails)
    sys.stdout.write(f"reconcile was first at {first} of {len(mails)}; beside: {beside}\n")


@contextmanager
def _reconciling(config: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `smsbridge reconcile --fix` beside whatever follows."""
    words = [sys.executable, "-m", "bridge", "reconcile", NAME, "--fix", "--json", "-c"]
    with subprocess.Popen(
        [*words, str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as command:  # fmt: skip
        try:
            yield command
        finally:
            command.kill()


def _messages(database: Path) -> int:
    with closing(
        sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=PATIENCE)
    ) as connection:
        return int(connection.execute("SELECT count(*) FROM messages").fetchone()[0])

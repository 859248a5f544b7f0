"""The bridge on a real Dovecot's mailbox: kills and restarts at random moments, and absences."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.imap_storm import (
    ANYONE,
    assert_no_mail_lost,
    mailbox_lines,
    rage_in_mailbox,
    search,
    wait_until_settled,
)
from tests.chaos.mails import sms_mail, sms_mails
from tests.servers.daemon import Config, Daemon
from tests.servers.dovecot import DovecotServer
from tests.servers.postgres import PostgresServer
from tests.servers.receiver import Receiver

_LEASE = 30.0  # seconds for which a bridge that is dead is thought to read a mailbox


@pytest.mark.timeout(3600)
def test_a_thousand_mails_survive_fifty_kills_and_fifty_restarts_of_the_mail_server(
    tmp_path: Path, secret: str, receiver: Receiver, dice: random.Random, mortal: DovecotServer
) -> None:
    """Each of 1,000 mails is posted under one id and marked seen, and the cursor is at the last."""
    user = mortal.new_user()
    imap = mailbox_lines(mortal, user, "timeout = 5", 'on_message = "seen"')
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    mails = list(sms_mails("mailbox", 1000))
    with Daemon(config.write(tmp_path)) as daemon:
        storm = rage_in_mailbox(daemon, mortal, user, receiver, mails, kills=50, dice=dice)
        wait_until_settled(tmp_path / "bridge.db", mortal, user)
        assert search(mortal, user, "mailbox", "INBOX", "unseen") == []
        assert len(search(mortal, user, "mailbox", "INBOX", "seen")) >= len(mails)
        assert_no_mail_lost(daemon, receiver, mails)
    # A storm that falls between the work proves nothing.
    assert storm.restarts == 50, storm
    assert storm.with_work >= 20, storm
    assert storm.connected >= 20, storm
    assert storm.cut_sessions >= 10, storm


@pytest.mark.timeout(3600)
def test_a_hundred_mails_are_moved_once_they_are_stored_whoever_is_killed(
    tmp_path: Path, secret: str, receiver: Receiver, dice: random.Random, mortal: DovecotServer
) -> None:
    """Of 100 mails each is posted under one id and moved away, over ten kills of both sides."""
    user = mortal.new_user()
    with mortal.session(user) as session:
        session.create("Done")
    imap = mailbox_lines(mortal, user, "timeout = 5", 'on_message = "move:Done"')
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    mails = list(sms_mails("moved", 100))
    with Daemon(config.write(tmp_path)) as daemon:
        storm = rage_in_mailbox(daemon, mortal, user, receiver, mails, kills=10, dice=dice)
        wait_until_settled(tmp_path / "bridge.db", mortal, user)
        assert search(mortal, user, "mailbox", "INBOX", "all") == []
        assert len(search(mortal, user, "mailbox", "Done", "seen")) >= len(mails)
        assert_no_mail_lost(daemon, receiver, mails)
    assert storm.restarts == 10, storm
    assert storm.with_work >= 3, storm


def test_health_is_red_while_the_mail_server_is_away_and_green_when_it_is_back(
    tmp_path: Path, secret: str, receiver: Receiver, mortal: DovecotServer
) -> None:
    """A mail server that goes away makes /healthz red, not the daemon end; mail then comes on."""
    user = mortal.new_user()
    imap = mailbox_lines(mortal, user, "poll = 1")
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        daemon.wait_for_health(200)
        mortal.stop()
        gone = time.monotonic()
        daemon.wait_for_health(503)
        red = time.monotonic()
        assert daemon.process.poll() is None
        mortal.start()
        mortal.deliver(user, sms_mail("I am back").raw)
        back = time.monotonic()
        daemon.wait_for_health(200)
        green = time.monotonic()
        assert receiver.wait_for_ids(1)
        assert daemon.stop() == 0
    sys.stdout.write(f"red after {red - gone:.1f} s, green after {green - back:.1f} s\n")


def test_a_mail_that_comes_while_the_bridge_idles_is_posted_at_once(
    tmp_path: Path, secret: str, receiver: Receiver, dovecot: DovecotServer
) -> None:
    """With IDLE, and polls far apart, a mail is posted without waiting for a poll.

    Measured on two cores: 0.51 s from its arrival to its POST, of which 0.5 s are Dovecot's own.
    """
    user = dovecot.new_user()
    imap = mailbox_lines(dovecot, user, "poll = 3600")
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    took = []
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        for number in range(1, 6):
            with dovecot.session(user) as session:
                session.append("INBOX", "", "", sms_mail(f"at once {number}").raw)
            appended = time.monotonic()
            assert receiver.wait_for_ids(number)
            took.append(receiver.all()[-1].at - appended)
        assert daemon.stop() == 0
    sys.stdout.write(f"append to POST: {[round(each, 3) for each in took]} s\n")


@pytest.mark.timeout(3600)
def test_of_two_bridges_one_reads_and_the_other_takes_over_when_it_is_killed(
    tmp_path: Path,
    secret: str,
    receiver: Receiver,
    dovecot: DovecotServer,
    postgres: PostgresServer,
) -> None:
    """The second bridge reads nothing while the first does, and goes on when its lease ends."""
    user = dovecot.new_user()
    config = Config(
        {"crm": receiver.url},
        secret,
        store=postgres.create_database(),
        extra={
            "imap": mailbox_lines(dovecot, user),
            "trust": ANYONE,
            "crm": ("timeout = 1",),  # and so a delivery's lease ends half a minute after its claim
        },
    )
    mails = list(sms_mails("one of two", 40))
    paths = [tmp_path / "first", tmp_path / "second"]
    for path in paths:
        path.mkdir()
    first, second = (Daemon(config.write(path)) for path in paths)
    with first, second:
        first.start().wait_for("imap.connected")
        second.start()
        dovecot.deliver(user, *(mail.raw for mail in mails[:20]))
        assert receiver.wait_for_ids(5)
        assert not second.logged("imap.leads")
        first.kill()
        killed = time.monotonic()
        assert _lease_left(config.store) <= _LEASE
        dovecot.deliver(user, *(mail.raw for mail in mails[20:]))
        second.wait_for("imap.leads")
        led = time.monotonic()
        assert receiver.wait_for_ids(len(mails))
        done = time.monotonic()
        assert_no_mail_lost(second, receiver, mails)
    sys.stdout.write(f"taken over after {led - killed:.1f} s, all is there {done - led:.1f} s on\n")


def _lease_left(store: str) -> float:
    """Read for how many seconds the mailbox's lease still lasts."""
    import psycopg

    with psycopg.connect(store) as connection:
        row = connection.execute("SELECT led_until FROM mailboxes WHERE leader IS NOT NULL")
        (until,) = row.fetchone() or (0,)
    return until / 1e6 - time.time()

"""The daemon dies at the worst points between a mailbox and its ledger, five times at each."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.imap_storm import (
    ANYONE,
    assert_no_mail_lost,
    cursor_of,
    mailbox_lines,
    search,
    wait_until_settled,
)
from tests.chaos.mails import sms_mails
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.dovecot import DovecotServer
from tests.servers.receiver import Receiver

KILLS: Final = 5


def wait_until_at_rest(database: Path, dovecot: DovecotServer, user: str) -> None:
    """Wait until INBOX holds no mail above the cursor; the deadline only ends a run that hangs."""
    deadline = time.monotonic() + PATIENCE
    while search(
        dovecot, user, "mailbox", "INBOX", "uid", f"{(cursor_of(database) or 0) + 1}:99999"
    ):
        assert time.monotonic() < deadline, "a mail is left in INBOX"
        time.sleep(0.05)


@pytest.mark.parametrize("action", ["seen", "move:Done"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("where", ["commit", "action", "cursor"])
@pytest.mark.timeout(3600)
def test_death_at_a_failpoint_loses_no_mail(
    where: str,
    when: str,
    action: str,
    tmp_path: Path,
    secret: str,
    receiver: Receiver,
    dovecot: DovecotServer,
) -> None:
    """However often it dies there, each mail is one message, and ends where the config says."""
    user = dovecot.new_user()
    with dovecot.session(user) as session:
        session.create("Done")
    imap = mailbox_lines(dovecot, user, f'on_message = "{action}"')
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    mails = list(sms_mails(f"{when} {where}", KILLS + 1))
    launcher = ("-m", "tests.chaos.failpoint_daemon", f"{when} {where}", str(KILLS))
    with Daemon(config.write(tmp_path), launcher) as daemon:
        daemon.spawn()
        for number, mail in enumerate(mails, 1):
            dovecot.deliver(user, mail.raw)
            assert receiver.wait_for_ids(number), f"mail {number} is lost"
            # The next one comes when nothing is left to do with this one. Else a life that has just
            # begun could commit the two together: the commit that it spares, the second reading of
            # the first mail, would be the second one's too, and there would be one death too few.
            wait_until_at_rest(tmp_path / "bridge.db", dovecot, user)
        wait_until_settled(tmp_path / "bridge.db", dovecot, user)
        folder = "INBOX" if action == "seen" else "Done"
        assert len(search(dovecot, user, "mailbox", folder, "seen")) == len(mails)
        assert len(search(dovecot, user, "all")) == len(mails)
        deaths = [line["kills"] for line in daemon.log("failpoint")]
        assert deaths == list(range(1, KILLS + 1))
        copies = [len(each) for each in receiver.by_id().values()]
        sys.stdout.write(f"{when} {where}, {action}: copies {copies}\n")
        assert_no_mail_lost(daemon, receiver, mails)

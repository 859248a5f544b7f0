"""The daemon dies at the worst points of the straight line, again and again at each."""

from __future__ import annotations

import smtplib
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.ledger import wait_until_delivered
from tests.chaos.mails import SmsMail, sms_mails
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.ports import steady_port
from tests.servers.receiver import Receiver

# How many deaths, and how often the receiver may see a message in whose life the daemon died.
_POINTS: Final = {
    "before commit": (20, {1}),
    "after commit": (20, {1}),
    "before 250": (20, {1, 2}),  # delivery begins with the commit: the POST may be out before
    "after 250": (20, {1, 2}),
    "before post": (20, {1}),
    "after post": (20, {2}),
    "before record": (20, {2}),
    "after claim": (5, {1}),
    "after give back": (5, {1}),
}


def _send_until_250(daemon: Daemon, port: int, mail: SmsMail) -> int:
    """Send a mail again and again until it is taken, as a mail server does; count the tries."""
    deadline = time.monotonic() + PATIENCE
    tries = 0
    while time.monotonic() < deadline:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                tries += 1
                client.sendmail(*mail.envelope)
                return tries
        except smtplib.SMTPResponseException as answer:
            if answer.smtp_code >= 500:
                raise AssertionError("a 5xx for a fault of ours") from answer
        except OSError:
            pass  # dead, or not there yet
        time.sleep(0.01)
    raise AssertionError(f"no 250 in time; the daemon's last words: {daemon.log()[-5:]}")


@pytest.mark.parametrize("point", _POINTS)
@pytest.mark.timeout(3600)
def test_death_at_a_failpoint_loses_nothing(
    point: str, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """Many deaths at one point lose no message, and repeat one only after its POST."""
    kills, allowed = _POINTS[point]
    config = Config({"crm": receiver.url}, secret, smtp_port=steady_port())
    mails = list(sms_mails(point, kills + 1))
    launcher = ("-m", "tests.chaos.failpoint_daemon", point, str(kills))
    with Daemon(config.write(tmp_path), launcher) as daemon:
        daemon.spawn()
        tries = 0
        for number, mail in enumerate(mails, 1):
            tries += _send_until_250(daemon, config.smtp_port, mail)
            # One message at a time, so that each death concerns one message and no other.
            assert receiver.wait_for_ids(number), f"message {number} is lost"
            wait_until_delivered(tmp_path / "bridge.db", number)
        deaths = daemon.log("failpoint")
        assert [line["kills"] for line in deaths] == list(range(1, kills + 1))
        receiver.assert_honest()
        copies = receiver.by_id()
        assert sorted(each[0].text for each in copies.values()) == sorted(
            mail.text for mail in mails
        )
        counts = [len(copies[webhook_id]) for webhook_id in copies]
        sys.stdout.write(f"{point}: {tries} tries, copies {counts}\n")
        assert counts[-1] == 1, "the last one met no failpoint"
        assert set(counts[:-1]) <= allowed
        for each in copies.values():
            # A number is written before its try is made, so a second one took a second life.
            assert [copy.attempt for copy in each] in ([1], [2], [1, 2])
        assert daemon.stop() == 0
        daemon.assert_ledger_adds_up()

"""A log that nobody reads: mails are taken and delivered, and health says so."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.mails import sms_mails
from tests.servers.daemon import Config, Daemon
from tests.servers.receiver import Receiver


def test_a_log_that_nobody_reads_holds_nothing_up(
    tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """Its pipe is full long before the last of 300 mails; the lines come when it is read again."""
    config = Config({"crm": receiver.url}, secret).write(tmp_path)
    with Daemon(config) as daemon:
        daemon.start()
        with daemon.log_unread():
            for mail in sms_mails("unread", 300):
                assert daemon.send(*mail.envelope)[0] == 250
            assert receiver.wait_for_ids(300)
            daemon.wait_for_health(503)
            assert "nobody reads the log" in daemon.page("/healthz")[1]
        daemon.wait_for_health(200)
        daemon.wait_until(lambda: len(daemon.log("arrival.stored")) == 300)
        assert daemon.stop() == 0

"""A silent stop is impossible: what stops is red, and what only a restart mends is restarted."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.imap_storm import ANYONE, NAME, mailbox_lines
from tests.chaos.mails import sms_mail
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.dovecot import DovecotServer
from tests.servers.receiver import Receiver
from tests.servers.watchdog import Watchdog
from tests.servers.watchdog import watchdog as watchdog

_LAST = ("lag_seconds", "last_sync")
_QUICK = ("poll = 1", "timeout = 5")  # not read for more than 13 s is trouble


def _mailbox(daemon: Daemon) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(daemon.page("/healthz")[1])["sources"][f"imap.{NAME}"]
    return report


def test_a_mailbox_source_that_stops_in_silence_is_red_and_restarted(
    tmp_path: Path, secret: str, receiver: Receiver, dovecot: DovecotServer, watchdog: Watchdog
) -> None:
    """With IMAP hung and all else well, health is red, systemd hears no more; then mail goes on."""
    user = dovecot.new_user()
    imap = mailbox_lines(dovecot, user, *_QUICK)
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    bug = tmp_path / "bug"
    launcher = ("-m", "tests.chaos.hanging_daemon", str(bug))
    with Daemon(config.write(tmp_path), launcher) as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        daemon.wait_for_health(200)
        assert watchdog.fed_within(PATIENCE)
        while _mailbox(daemon)["state"] != "connected":  # or the test's own time is over
            time.sleep(0.1)
        bug.touch()
        dovecot.deliver(user, sms_mail("into the silence").raw)
        daemon.wait_for("source.sick", "progress.sick")
        assert "not read for" in daemon.log("source.sick")[0]["detail"]
        assert daemon.health() == 503
        assert not watchdog.fed_within(4), "systemd would not have restarted it"
        assert not daemon.log("store.sick")
        assert receiver.all() == []
        bug.unlink()
        daemon.kill()  # as systemd does
        daemon.start()
        assert receiver.wait_for_ids(1)
        daemon.wait_for_health(200)
        deadline = time.monotonic() + PATIENCE
        while None in [(report := _mailbox(daemon)).get(each) for each in _LAST]:
            assert time.monotonic() < deadline, report
            time.sleep(0.1)
        assert datetime.fromisoformat(report["last_sync"]).tzinfo is not None
        assert watchdog.fed_within(PATIENCE)
        assert daemon.stop() == 0


def test_a_mail_server_that_is_away_is_no_reason_for_a_restart(
    tmp_path: Path, secret: str, receiver: Receiver, mortal: DovecotServer, watchdog: Watchdog
) -> None:
    """As long as it is away health is red and the watchdog is fed."""
    user = mortal.new_user()
    imap = mailbox_lines(mortal, user, *_QUICK)
    config = Config({"crm": receiver.url}, secret, extra={"imap": imap, "trust": ANYONE})
    # Its pauses are longer than the five seconds after which this daemon calls it silence.
    launcher = ("-m", "tests.chaos.hanging_daemon", str(tmp_path / "bug"))
    with Daemon(config.write(tmp_path), launcher) as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        mortal.stop()
        daemon.wait_for("source.sick")
        assert _mailbox(daemon)["state"] == "away"
        for _ in range(15):  # about a second each
            assert watchdog.fed_within(PATIENCE)
            assert daemon.health() == 503
        assert not daemon.log("progress.sick")
        mortal.start()
        mortal.deliver(user, sms_mail("I am back").raw)
        assert receiver.wait_for_ids(1)
        daemon.wait_for_health(200)
        assert daemon.stop() == 0

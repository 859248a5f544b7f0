"""What the supervisor tells systemd, and when it keeps still."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.errors import StoreFull, StoreUnavailable
from bridge.signing.standard_webhooks import generate_secret
from bridge.supervisor import _look_at, _prove
from bridge.web import Health
from tests.servers.daemon import Config, Daemon


class _Probed:
    """A store whose probe ends as it is told."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def probe(self) -> None:
        """Take a write, or not."""
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("error", "fed", "healthy"),
    [
        (None, True, True),
        (StoreFull("only 3 MiB are free"), True, False),
        (StoreUnavailable("another process holds its lock"), False, False),
    ],
    ids=["well", "full", "unavailable"],
)
async def test_watchdog_is_fed_unless_a_restart_could_help(
    error: Exception | None,
    fed: bool,
    healthy: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk is red in /healthz, and no reason to be killed and started every minute."""
    address = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    health = Health()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.setblocking(False)
        await _prove(_Probed(error), health)  # type: ignore[arg-type]
        heard = []
        try:
            while True:
                heard.append(systemd.recv(100))
        except BlockingIOError:
            pass
    assert heard == [b"WATCHDOG=1"] * fed
    assert (not health.problems) is healthy


class _Mailbox:
    """A source whose trouble is as it is told."""

    name = "inbox"

    def __init__(self) -> None:
        self.sentence: str | None = None

    def trouble(self, _now: datetime) -> str | None:
        """Say it."""
        return self.sentence


def test_a_mailbox_in_trouble_is_red_until_it_is_well() -> None:
    """What a source says of itself stands in /healthz, and no longer than it is true."""
    health, mailbox = Health(), _Mailbox()
    seen = []
    for sentence in (None, "imap.inbox: not read for 5 min", None):
        mailbox.sentence = sentence
        _look_at(mailbox, health, datetime.now(UTC))  # type: ignore[arg-type]
        seen.append(bool(health.problems))
    assert seen == [False, True, False]


def test_hangup_during_the_start_does_not_end_the_daemon(tmp_path: Path) -> None:
    """A certificate is renewed while the database is opened: the start goes on."""
    config = Config({"crm": "http://127.0.0.1:1/"}, generate_secret()).write(tmp_path)
    with Daemon(config) as daemon:
        daemon.start()
        daemon.kill()
        lock = tmp_path / "bridge.db.lock"
        lock.write_text("")
        with closing(sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the start waits for it
            daemon.spawn()
            deadline = time.monotonic() + 20
            while not lock.read_text():  # it is opening the database
                assert time.monotonic() < deadline
                time.sleep(0.01)
            daemon.signal(signal.SIGHUP)
            time.sleep(0.2)
            other.execute("ROLLBACK")
        daemon.wait_until_listening()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0

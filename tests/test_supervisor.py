"""What the supervisor tells systemd, and when it keeps still."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bridge import supervisor
from bridge.clock import Clock as RealClock
from bridge.errors import ConfigError, StoreFull, StoreUnavailable
from bridge.model import Report
from bridge.signing.standard_webhooks import generate_secret
from bridge.supervisor import (
    Parts,
    Source,
    _check_deliveries,
    _check_source,
    _check_store,
    _reload,
)
from bridge.web import Health
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.store.making import Clock, arrival, attempt, opened, plan, sms, sqlite_settings


class _Probed:
    """A store whose probe ends as it is told."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def probe(self) -> None:
        """Take a write, or not."""
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("error", "restart_helps", "healthy"),
    [
        (None, False, True),
        (StoreFull("only 3 MiB are free"), False, False),
        (StoreUnavailable("another process holds its lock"), True, False),
    ],
    ids=["well", "full", "unavailable"],
)
async def test_the_store_is_proven_and_a_full_disk_is_no_reason_for_a_restart(
    error: Exception | None, restart_helps: bool, healthy: bool
) -> None:
    """A full disk is red in /healthz, and no reason to be killed and started every minute."""
    health = Health()
    assert await _check_store(_Probed(error), health) is not restart_helps  # type: ignore[arg-type]
    assert (not health.problems) is healthy


class _Mailbox:
    """A source that does as it is told."""

    name = "inbox"
    problem: str | None = None
    stalled: str | None = None

    def report(self) -> Report:
        """Report it."""
        return Report("connected", problem=self.problem, stalled=self.stalled)


def test_a_mailbox_in_trouble_is_red_until_it_is_well_and_never_a_reason_for_a_restart(
    lines: list[Line],
) -> None:
    """What a source says of itself stands in /healthz, and no longer than it is true."""
    health, mailbox = Health(), _Mailbox()
    seen = []
    for sentence in (None, "imap.inbox: not read for 5 min", "imap.inbox: refused", None):
        mailbox.problem = sentence
        assert _check_source(mailbox, health)  # type: ignore[arg-type]
        seen.append(health.problems)
    assert [bool(problems) for problems in seen] == [False, True, True, False]
    assert seen[2] == ("source: imap.inbox: refused",)
    assert [line["event"] for line in lines] == ["source.sick", "source.well"]


def test_a_mailbox_that_stopped_in_silence_is_a_reason_for_a_restart(lines: list[Line]) -> None:
    """Nothing but a restart brings it back; if it comes back by itself, all is well again."""
    health, mailbox = Health(), _Mailbox()
    mailbox.stalled = "imap.inbox: its source has done nothing"
    assert not _check_source(mailbox, health)  # type: ignore[arg-type]
    assert health.problems == ("progress: imap.inbox: its source has done nothing",)
    mailbox.stalled = None
    assert _check_source(mailbox, health)  # type: ignore[arg-type]
    assert health.problems == ()
    assert [line["event"] for line in lines] == ["progress.sick", "progress.well"]


@pytest.mark.processes
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
            deadline = time.monotonic() + PATIENCE
            while not lock.read_text():  # it is opening the database
                assert time.monotonic() < deadline
                time.sleep(0.01)
            daemon.signal(signal.SIGHUP)
            time.sleep(0.2)
            other.execute("ROLLBACK")
        daemon.wait_until_listening()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


async def test_a_delivery_that_waits_is_red_after_five_minutes(tmp_path: Path) -> None:
    """Held or waiting for a retry: somebody did not get an SMS, and /healthz says who."""
    clock = Clock()
    health = Health()
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        parts = cast(
            "Parts",
            SimpleNamespace(
                store=store,
                health=health,
                endpoints=["crm"],
                clock=clock,
                dispatcher=SimpleNamespace(over={}),
            ),
        )
        (claim,) = (await store.ingest(sms(deliveries=plan("crm", claimed=True)))).claims
        seen = []
        for seconds in (0, 299, 1):
            clock.forward(seconds)
            await _check_deliveries(parts)
            seen.append(health.problems)
        assert seen[:2] == [(), ()]
        ((problem,),) = seen[2:]
        assert problem == (
            "delivery: endpoints.crm: a delivery has been waiting since "
            "2026-04-08T12:30:52+00:00; `smsbridge deliveries list --endpoint crm` shows why"
        )
        clock.forward(-600)  # it came when the clock was ahead
        await _check_deliveries(parts)
        assert health.problems == seen[2]
        await store.record(attempt(claim))
        await _check_deliveries(parts)
        assert health.problems == ()


async def test_an_endpoint_on_its_failover_url_is_red(tmp_path: Path) -> None:
    """Messages arrive, and yet somebody has to look: /healthz says since when, until it is over."""
    clock = Clock()
    health = Health()
    over = {"crm": clock()}
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=clock) as store:
        parts = SimpleNamespace(
            store=store,
            health=health,
            endpoints=["crm", "erp"],
            clock=clock,
            dispatcher=SimpleNamespace(over=over),
        )
        await _check_deliveries(cast("Parts", parts))
        (problem,) = health.problems
        assert problem == (
            "delivery: endpoints.crm: fails, and is on its failover URL since "
            "2026-04-08T12:30:52+00:00"
        )
        over.clear()
        await _check_deliveries(cast("Parts", parts))
        assert health.problems == ()


async def test_a_reader_that_hangs_holds_up_no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen database answers no query: the check gives up, and leaves the verdict as it was."""
    monkeypatch.setattr(supervisor, "_PROBE_DEADLINE", 0.01)
    health = Health()

    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    parts = SimpleNamespace(store=SimpleNamespace(read=hang), health=health, endpoints=["crm"])
    await _check_deliveries(cast("Parts", parts))
    assert health.problems == ()


@pytest.mark.processes
async def test_the_daemon_removes_what_is_old_enough(tmp_path: Path) -> None:
    """`[retention]` acts on a running daemon, is logged and counted, and ends with it."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    async with opened(sqlite_settings(tmp_path / "bridge.db"), clock=RealClock()) as store:
        await store.ingest(sms(arrived=arrival(received_at=long_ago)))
        (claim,) = await store.claim("crm", 1)
        await store.record(attempt(claim))
    extra = {"retention": ['bodies = "30d"']}
    config = Config({"crm": "http://127.0.0.1:1/"}, generate_secret(), extra=extra)
    with Daemon(config.write(tmp_path)) as daemon:
        daemon.start()
        daemon.wait_for("retention.done")
        (line,) = daemon.log("retention.done")
        assert line["removed"] == "1 raw, 1 bodies"
        assert 'smsbridge_purged_total{kind="bodies"} 1.0' in daemon.page("/metrics")[1]
        assert daemon.command("audit").returncode == 0
        assert daemon.stop() == 0


def test_a_reload_is_logged_once(lines: list[Line]) -> None:
    """However many sources there are; a certificate that can't be used is named instead."""

    class _Source:
        def __init__(self, problem: str | None = None) -> None:
            self._problem = problem

        def reload_tls(self) -> None:
            if self._problem is not None:
                raise ConfigError("smtp.tls_certificate", self._problem)

    _reload(cast("list[Source]", [_Source(), _Source(), _Source()]))
    assert [line["event"] for line in lines] == ["reload.done"]
    lines.clear()
    _reload(cast("list[Source]", [_Source(), _Source("is no certificate"), _Source()]))
    assert [line["event"] for line in lines] == ["reload.failed"]

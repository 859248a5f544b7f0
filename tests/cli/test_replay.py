"""`smsbridge replay`: ordered by a command, carried out by a real daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.signing.standard_webhooks import generate_secret
from tests.cli.conftest import Filled, Ran, mail
from tests.servers.daemon import MAILBOX, Config, Daemon
from tests.servers.receiver import Receiver

Smsbridge = Callable[..., Ran]


def test_an_empty_filter_is_refused(smsbridge: Smsbridge, filled: Filled) -> None:
    """In one sentence, and nothing is ordered; so is an endpoint that is not in the config."""
    ran = smsbridge("replay", "start", "--to", "crm", "-c", filled.config)
    assert (ran.code, "name messages, or a filter" in ran.err) == (2, True)
    ran = smsbridge("replay", "start", "--to", "crm2", "--since", "2026-04-08", "-c", filled.config)
    assert (ran.code, "did you mean 'crm'?" in ran.err) == (2, True)
    assert smsbridge("replay", "list", "-c", filled.config, "--json").document == []


def test_the_json_has_the_promised_keys(smsbridge: Smsbridge, filled: Filled) -> None:
    """Preview, order, list and cancel."""
    wanted = ("--to", "crm", "--since", "2026-04-08", "-c", filled.config)
    preview = smsbridge("replay", "start", *wanted, "--dry-run", "--json").document
    assert preview == {"messages": 0, "skipped": 1}  # crm has yet to get it
    assert smsbridge("replay", "start", *wanted, "--json").document == {"replay": 1}
    (shown,) = smsbridge("replay", "list", "-c", filled.config, "--json").document
    told = smsbridge("replay", "list", "--help").out
    assert [key for key in shown if f'"{key}"' not in told] == []
    assert shown["state"] == "running"
    ran = smsbridge("replay", "cancel", "1", "-c", filled.config, "--json")
    assert ran.document == {"cancelled": 1}
    assert smsbridge("replay", "cancel", "1", "-c", filled.config).code == 2


@pytest.mark.processes
def test_a_daemon_replays_over_a_kill(tmp_path: Path) -> None:
    """To a new endpoint, at a rate, each message once with its first id."""
    secret = generate_secret()
    with Receiver(secret) as old, Receiver(secret) as new:
        config = Config({"old": old.url}, secret).write(tmp_path)
        with Daemon(config) as daemon:
            daemon.start()
            for number in range(30):
                raw = mail(f"{number}", f"text {number}")
                assert daemon.send("a@example.com", [MAILBOX], raw)[0] == 250
            assert old.wait_for_ids(30)
            daemon.stop()
            Config({"old": old.url, "new": new.url}, secret).write(tmp_path)
            daemon.start()
            ordered = daemon.command(
                "replay", "start", "--to", "new", "--endpoint", "old", "--rate", "10", "--json"
            )
            assert json.loads(ordered.stdout) == {"replay": 1}, ordered.stderr
            assert new.wait_for_ids(5)
            daemon.kill()
            daemon.start()
            assert new.wait_for_ids(30)
            daemon.wait_for("replay.done")
            assert daemon.command("audit").returncode == 0
            assert daemon.stop() == 0
        assert new.by_id().keys() == old.by_id().keys()
        assert len(old.all()) == 30
        new.assert_honest()

"""`smsbridge purge`, on a real SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import NUMBER, Filled, Ran

Smsbridge = Callable[..., Ran]


def test_a_dry_run_counts_and_changes_nothing(smsbridge: Smsbridge, filled: Filled) -> None:
    """Its JSON has the keys that --help promises."""
    document = smsbridge(
        "purge", "--number", NUMBER, "--dry-run", "-c", filled.config, "--json"
    ).document
    assert document == {
        "messages": 1,
        "undelivered": 1,
        "arrivals": 1,
        "quarantined": 0,
        "waiting": 1,
        "answers": 0,
        "mentioned": 0,
    }
    told = smsbridge("purge", "--help").out
    assert [key for key in document if f'"{key}"' not in told] == []
    shown = smsbridge("messages", "show", filled.message_id, "-c", filled.config)
    assert NUMBER in shown.out


def test_undelivered_messages_stay_and_the_command_says_so(
    smsbridge: Smsbridge, filled: Filled
) -> None:
    """Exit code 1, until the operator gives them up."""
    ran = smsbridge("purge", "--number", NUMBER, "-c", filled.config)
    assert (ran.code, "--undelivered" in ran.err) == (1, True)
    raw = smsbridge("quarantine", "show", "1", "--raw", "-c", filled.config)
    assert (raw.code, NUMBER in raw.out) == (0, True)
    ran = smsbridge("purge", "--number", NUMBER, "--undelivered", "-c", filled.config)
    assert (ran.code, ran.err) == (0, "")
    assert NUMBER not in smsbridge("messages", "show", filled.message_id, "-c", filled.config).out
    assert smsbridge("audit", "-c", filled.config).code == 0
    folder: Path = filled.config.parent
    left = [
        each.name
        for each in folder.iterdir()
        if each.is_file() and NUMBER[3:].encode() in each.read_bytes()
    ]
    assert left == []


def test_a_wrong_number_is_refused(smsbridge: Smsbridge, filled: Filled) -> None:
    """In one sentence that shows how to write one, and not the number."""
    ran = smsbridge("purge", "--number", "3301234567", "-c", filled.config)
    assert ran.code == 2
    assert "international number" in ran.err
    assert "3301234567" not in ran.err.replace("+393301234567", "")

"""One endpoint's trouble is its own: a nasty one beside a healthy one, in one daemon."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.mails import sms_mails
from tests.chaos.nasty import NASTY, RETRY_AFTER
from tests.chaos.pace import send, slowest
from tests.servers.daemon import Config, Daemon
from tests.servers.receiver import Receiver, taken

_PATIENCE: Final = 40.0
_TIMEOUT: Final = 1.0  # seconds that the nasty one is given for an answer
_STEPS: Final = (2.0, 5.0)  # the schedule's waits after the first and the second try
_MIB: Final = 1024 * 1024


def _tries(daemon: Daemon, endpoint: str) -> dict[str, list[dict[str, Any]]]:
    """Return the log lines of an endpoint's attempts, by message."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in daemon.log("delivery.attempt"):
        if line["endpoint"] == endpoint:
            found.setdefault(line["webhook_id"], []).append(line)
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", NASTY)
def test_a_nasty_endpoint_harms_nobody_else(kind: str, tmp_path: Path, secret: str) -> None:
    """While one endpoint is nasty, the other gets all at its usual pace, and nothing is lost."""
    with Receiver(secret) as nasty, Receiver(secret) as healthy:
        config = Config(
            {"nasty": nasty.url, "healthy": healthy.url},
            secret,
            extra={"nasty": (f"timeout = {_TIMEOUT}",)},
        )
        with Daemon(config.write(tmp_path)) as daemon:
            daemon.start()
            usual = slowest(
                healthy, send(daemon, list(sms_mails("usual", 50)), _PATIENCE), _PATIENCE
            )
            assert nasty.wait_for_ids(50, _PATIENCE)
            memory = daemon.rss()

            _turn(nasty, kind)
            few = send(daemon, list(sms_mails("few", 3)), _PATIENCE)
            slowest(healthy, few, _PATIENCE)
            _check_schedule(daemon, nasty, kind, few)
            slow = slowest(
                healthy, send(daemon, list(sms_mails("beside", 50)), _PATIENCE), _PATIENCE
            )
            assert slow <= 3 * usual + 0.3, f"usual {usual:.3f} s, beside {kind} {slow:.3f} s"
            growth = daemon.rss() - memory
            sys.stdout.write(
                f"{kind}: p99 {usual * 1e3:.0f} -> {slow * 1e3:.0f} ms, +{growth // 1024} KiB\n"
            )
            assert growth < 32 * _MIB, f"{growth / _MIB:.0f} MiB more"

            _heal(daemon, nasty, kind)
            assert nasty.wait(
                lambda got: {each.id for each in got} >= set(healthy.by_id()), _PATIENCE
            ), "the endpoint that was nasty misses messages"
            for receiver in (nasty, healthy):
                receiver.assert_honest()
                assert {each.path for each in receiver.all()} == {"/hooks/sms"}
            assert len(healthy.all()) == healthy.count() == 103, "a repeat without a reason"
            assert daemon.stop() == 0
            daemon.assert_ledger_adds_up()


def _turn(nasty: Receiver, kind: str) -> None:
    answer = NASTY[kind]
    if answer is None:
        nasty.down()
    else:
        nasty.answer = answer


def _heal(daemon: Daemon, nasty: Receiver, kind: str) -> None:
    nasty.answer = taken
    if NASTY[kind] is None:
        nasty.up()
    if kind == "410":
        seen = len(nasty.all())
        time.sleep(2 * _STEPS[0])  # longer than a retry would take
        assert len(nasty.all()) == seen, "410 was not obeyed"
        done = daemon.command("endpoints", "resume", "nasty")
        assert done.returncode == 0, done.stderr


def _check_schedule(daemon: Daemon, nasty: Receiver, kind: str, texts: dict[str, float]) -> None:
    """See the first waits kept: from the end of a try to the next, never shorter than promised."""
    if kind == "410":
        return
    waits = _STEPS if kind == "500" else _STEPS[:1]
    if kind == "429":
        waits = (float(RETRY_AFTER),)
    deadline = time.monotonic() + _PATIENCE
    while True:
        tries = {
            webhook_id: lines
            for webhook_id, lines in _tries(daemon, "nasty").items()
            if lines[0]["result"] == "retry"
        }
        if len(tries) == len(texts) and all(len(each) > len(waits) for each in tries.values()):
            break
        assert time.monotonic() < deadline, f"too few tries: {tries}"
        time.sleep(0.05)
    for lines in tries.values():
        ends = [_seconds(line["ts"]) for line in lines]
        begins = [end - line["ms"] / 1000 for end, line in zip(ends, lines, strict=True)]
        assert [line["attempt"] for line in lines] == list(range(1, len(lines) + 1))
        for number, wait in enumerate(waits):
            pause = begins[number + 1] - ends[number]
            # A poll's length late at most, on a machine that is busy with the other tests.
            assert wait - 0.01 <= pause <= wait * 1.1 + 3, f"{kind}: {pause:.2f} s for {wait} s"


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()

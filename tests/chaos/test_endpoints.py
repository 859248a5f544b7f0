"""One endpoint's trouble is its own: a nasty one beside a healthy one, in one daemon."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.mails import SmsMail, sms_mails
from tests.chaos.nasty import NASTY, RETRY_AFTER, hang
from tests.chaos.pace import pass_through
from tests.patience import PATIENCE
from tests.servers.daemon import Config, Daemon
from tests.servers.receiver import Receiver, taken

_TIMEOUT: Final = 1.0  # seconds that the nasty one is given for an answer
_STEPS: Final = (2.0, 5.0)  # the schedule's waits after the first and the second try
_TRY_COST: Final = 0.05  # seconds of processor time that a try at a nasty one may cost
_MIB: Final = 1024 * 1024


@pytest.mark.parametrize("kind", NASTY)
def test_a_nasty_endpoint_harms_nobody_else(kind: str, tmp_path: Path, secret: str) -> None:
    """While one endpoint is nasty, the other gets all at little more cost, and nothing is lost."""
    with Receiver(secret) as nasty, Receiver(secret) as healthy:
        config = Config(
            {"nasty": nasty.url, "healthy": healthy.url},
            secret,
            extra={"nasty": (f"timeout = {_TIMEOUT}",)},
        )
        with Daemon(config.write(tmp_path)) as daemon:
            daemon.start()
            usual = pass_through(daemon, healthy, list(sms_mails("usual", 50)))
            assert nasty.wait_for_ids(50)
            memory, tries, spent = daemon.rss(), _tries(daemon), daemon.processor_time()

            _turn(nasty, kind)
            few = list(sms_mails("few", 3))
            pass_through(daemon, healthy, few)
            _check_schedule(daemon, healthy, kind, few)
            pass_through(daemon, healthy, list(sms_mails("beside", 50)))
            cost = daemon.processor_time() - spent
            growth, tries = daemon.rss() - memory, _tries(daemon) - tries
            sys.stdout.write(
                f"{kind}: {usual:.2f} -> {cost:.2f} s of processor time, {tries} tries, "
                f"+{growth // 1024} KiB\n"
            )
            assert cost < 3 * usual + 0.5 + _TRY_COST * tries, (
                f"usual {usual}, beside {kind} {cost}"
            )
            assert growth < 32 * _MIB, f"{growth / _MIB:.0f} MiB more"

            _heal(daemon, nasty, kind)
            assert nasty.wait(lambda got: {each.id for each in got} >= set(healthy.by_id())), (
                "the endpoint that was nasty misses messages"
            )
            for receiver in (nasty, healthy):
                receiver.assert_honest()
                assert {each.path for each in receiver.all()} == {"/hooks/sms"}
            assert len(healthy.all()) == healthy.count() == 103, "a repeat without a reason"
            assert daemon.stop() == 0
            daemon.assert_ledger_adds_up()


def test_an_endpoint_that_holds_every_attempt_holds_up_no_other(
    tmp_path: Path, secret: str
) -> None:
    """While all attempts at one endpoint hang, and none ends, the other gets every message."""
    with Receiver(secret, hang) as nasty, Receiver(secret) as healthy:
        config = Config(
            {"nasty": nasty.url, "healthy": healthy.url},
            secret,
            extra={"nasty": ('timeout = "1h"',)},
        )
        with Daemon(config.write(tmp_path)) as daemon:
            daemon.start()
            pass_through(daemon, healthy, list(sms_mails("first", 50)))
            assert nasty.wait(lambda got: len(got) > 1)
            pass_through(daemon, healthy, list(sms_mails("beside", 50)))
            assert nasty.busy == len(nasty.all()), "an attempt has ended"
            assert _tries(daemon) == 0, "an attempt has ended"


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


def _tries(daemon: Daemon) -> int:
    """Count the nasty endpoint's attempts so far."""
    return sum(line["endpoint"] == "nasty" for line in daemon.log("delivery.attempt"))


def _check_schedule(daemon: Daemon, healthy: Receiver, kind: str, mails: Sequence[SmsMail]) -> None:
    """See the first waits kept: from the end of a try to the next, never shorter than promised."""
    if kind == "410":
        return
    waits = _STEPS if kind == "500" else _STEPS[:1]
    if kind == "429":
        waits = (float(RETRY_AFTER),)
    texts = {mail.text for mail in mails}
    ids = [webhook_id for webhook_id, (got, *_) in healthy.by_id().items() if got.text in texts]
    deadline = time.monotonic() + PATIENCE
    for webhook_id in ids:
        while len(tries := _recorded(daemon, webhook_id)) <= len(waits):
            assert time.monotonic() < deadline, f"too few tries: {tries}"
            time.sleep(0.05)
        assert [number for number, *_ in tries] == list(range(1, len(tries) + 1))
        for wait, (number, _, ended), (_, again, _) in zip(waits, tries, tries[1:], strict=False):
            assert again - ended >= wait - 0.01, f"{kind}: {again - ended:.2f} s for {wait} s"
            (line,) = (
                each
                for each in daemon.log("delivery.attempt")
                if (each["endpoint"], each["webhook_id"], each["attempt"])
                == ("nasty", webhook_id, number)
            )
            # What was decided is no longer than promised; how late it is done, the machine decides.
            planned = _seconds(line["next_at"]) - _seconds(line["ts"])
            assert planned <= wait * 1.1 + 0.01, f"{kind}: {planned:.2f} s for {wait} s"


def _recorded(daemon: Daemon, webhook_id: str) -> list[tuple[int, float, float]]:
    """Read the attempts of the nasty endpoint's delivery: number, beginning and end (seconds)."""
    database = daemon.config.parent / "bridge.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(
            "SELECT a.number, a.started_at / 1e6, a.started_at / 1e6 + a.duration "
            "FROM attempts a JOIN deliveries d ON d.id = a.delivery_id "
            "WHERE d.endpoint = 'nasty' AND d.event_id = ? ORDER BY a.number",
            (webhook_id,),
        ).fetchall()


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()

"""A real daemon whose machine's clock is set while it runs (libfaketime; the steady ones go on).

A bridge that believed it made dead what waited, and held back what it wrote by a clock ahead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.mails import sms_mails
from tests.servers.daemon import Config, Daemon
from tests.servers.postgres import PostgresServer
from tests.servers.programs import need
from tests.servers.receiver import Receiver, status, taken

_WATCHDOG: Final = "1500000"  # microseconds: then the daemon beats every half second


class Machine:
    """The clock of a daemon's machine: a file says how far it is from this one's."""

    def __init__(self, folder: Path, ahead: str) -> None:
        self._file = folder / "clock"
        need("faketime")
        (self._library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        self.put(ahead)

    def put(self, ahead: str) -> None:
        """Set it, in one step."""
        made = self._file.with_suffix(".new")
        made.write_text(f"{ahead}\n")
        made.replace(self._file)

    @property
    def within(self) -> tuple[str, ...]:
        """What a daemon with this clock is started by."""
        return (
            "env",
            f"LD_PRELOAD={self._library}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",
            "DONT_FAKE_MONOTONIC=1",
            f"WATCHDOG_USEC={_WATCHDOG}",
        )


def _problems(daemon: Daemon) -> list[str]:
    told = json.loads(daemon.page("/healthz")[1])["problems"]
    return [each for each in told if each.startswith("clock: ")]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_clock_that_is_set_kills_and_delays_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, secret: str, receiver: Receiver
) -> None:
    """From 1972 to now, 400 days ahead, back, three hours back: the retries go on all the time.

    Without this every one of these turns made them dead at once, or wait for 400 days or 3 hours.
    """
    server: PostgresServer | None = None
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
    delivery = ('schedule = ["0s", "0.3s"]', 'repeat = "0.3s"', 'give_up = "1h"')
    config = Config(
        {"crm": receiver.url},
        secret,
        store=server.create_database() if server else "",
        extra={"delivery": delivery},
    ).write(tmp_path)
    machine = Machine(tmp_path, "-20000d")
    receiver.answer = status(500)
    with Daemon(config, within=machine.within) as daemon:
        daemon.start()
        (mail,) = sms_mails("clocks", 1)
        assert daemon.send(*mail.envelope)[0] == 250
        for turn, ahead in enumerate((None, "+0", "+400d", "+0", "-3h")):
            if ahead is not None:
                machine.put(ahead)
                if server is None:
                    daemon.wait_until(lambda turn=turn: len(daemon.log("clock.set")) == turn)
            if ahead != "+0":
                daemon.wait_until(lambda: bool(_problems(daemon)))
            tried = len(receiver.all())
            # One by the time that was noticed, and one that is due by it.
            assert receiver.wait(lambda got, tried=tried: len(got) >= tried + 2), (
                f"no attempts at {ahead}: {daemon.log()[-5:]}"
            )
        receiver.answer = taken
        daemon.wait_until(
            lambda: "delivered" in [each["result"] for each in daemon.log("delivery.attempt")]
        )
        assert daemon.stop() == 0
    daemon.assert_ledger_adds_up()

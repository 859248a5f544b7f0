"""Each shipped alert fires within three minutes of its failure, and none does on a healthy day.

A real daemon fails, on a clock that is put forward; Prometheus's own rule engine judges what its
`/metrics` said. Nothing here is computed for the test: no series, no time, no rule.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Final

import pytest

from tests.alerts.recording import RULES, Recording
from tests.chaos.mails import SmsMail, sms_mails
from tests.patience import PATIENCE
from tests.servers.absence import cannot
from tests.servers.daemon import Config
from tests.servers.ports import steady_port
from tests.servers.receiver import Answer, Exchange, Receiver, status, taken
from tests.servers.scripted_imap import SECRET as PASSWORD
from tests.servers.scripted_imap import USER, scripted_imap

pytestmark = pytest.mark.processes

_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_ALERTS: Final = set(re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8")))
_MINUTE: Final = 60
_HOURS: Final = int(os.environ.get("HEALTHY_HOURS", "1"))
_TOKEN: Final = "posted-by-twilio-7f3k9q"
_READ: Final = re.compile(r"^smsbridge_imap_connected{[^}]*} 1\.0$", re.MULTILINE)
_TWILIO: Final = """
[posts]
listen = ["127.0.0.1:{port}"]
public_url = "http://127.0.0.1:{port}"
[[providers]]
name = "twilio"
[providers.post]
token = "{token}"
secret = "its-auth-token"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk with room, of which nothing is used yet."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", folder]).returncode:
        cannot("a tmpfs cannot be mounted here (root)")
    yield folder
    subprocess.run(["umount", folder], check=True)


class _Turns:
    """Answers as endpoints do that are healthy, broken, gone for good, hang, or take one a turn."""

    def __init__(self) -> None:
        self._waiting: Queue[Callable[[], object]] = Queue()

    def begin(self) -> None:
        """Wait for the first that waits for its turn."""
        self._next = self._waiting.get(timeout=PATIENCE)

    def take_one(self) -> None:
        """Take the one that waits, and wait for the next: none is old when the clock goes on."""
        self._next()
        self.begin()

    async def __call__(self, exchange: Exchange) -> None:
        match exchange.webhook.path.rpartition("/")[2]:
            case "refusing":
                await status(500)(exchange)
            case "gone":
                await status(410)(exchange)
            case "hanging":
                await asyncio.Event().wait()
            case "draining":
                turn, loop = asyncio.Event(), asyncio.get_running_loop()
                self._waiting.put(partial(loop.call_soon_threadsafe, turn.set))
                await turn.wait()
                await taken(exchange)
            case _:
                await taken(exchange)


def _mailbox(port: int) -> str:
    return (
        f'[[imap]]\nname = "inbox"\nhost = "127.0.0.1"\nport = {port}\ntls = false\n'
        f'username = "{USER}"\npassword = "{PASSWORD}"\n'
    )


def _written(folder: Path, config: Config, *more: str) -> Path:
    path = config.write(folder)
    path.write_text(path.read_text() + "\n".join(more))
    return path


def _send(recording: Recording, mail: SmsMail, *recipients: str) -> int:
    return recording.daemon.send(mail.sender, recipients or mail.envelope[1], mail.raw)[0]


def _post_unsigned(port: int) -> int:
    try:
        address = f"http://127.0.0.1:{port}/in/twilio/{_TOKEN}"
        with urllib.request.urlopen(address, data=b"From=%2B1&Body=x") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


async def test_each_alert_fires_within_three_minutes_of_its_failure(
    tmp_path: Path, disk: Path
) -> None:
    """All is well for two minutes; then whatever has an alert fails, and all of them fire."""
    loop = asyncio.get_running_loop()
    async with scripted_imap() as imap:

        async def refuse(*_: object) -> str:
            return "NO [AUTHENTICATIONFAILED] the password was changed"

        def lock_out() -> None:
            imap.instead["LOGIN"] = refuse
            loop.call_soon_threadsafe(imap.hang_up)

        with Receiver(_SECRET, taken) as receiver:
            day = partial(_bad_day, tmp_path, disk, receiver, imap.port, lock_out)
            await asyncio.to_thread(day)


def _bad_day(
    folder: Path, disk: Path, receiver: Receiver, imap: int, lock_out: Callable[[], None]
) -> None:
    posts = steady_port()
    names = ("well", "refusing", "gone", "hanging", "draining")
    turns = _Turns()
    config = Config(
        {name: f"{receiver.url}/{name}" for name in names},
        _SECRET,
        store=f"sqlite:///{disk}/bridge.db",
        extra={
            "store": ("quarantine_mails = 8",),  # of one peer: a quarter
            "smtp": ("max_connections = 5",),
            "hanging": ("concurrency = 1",),
            "draining": ("concurrency = 1",),
        },
    )
    path = _written(folder, config, _mailbox(imap), _TWILIO.format(port=posts, token=_TOKEN))
    recording = Recording(path, 15)
    with recording.daemon as daemon, ExitStack() as connections:
        daemon.start()
        daemon.wait_for("imap.connected")
        recording.scrape()
        recording.forward(2 * _MINUTE)
        assert recording.ever_fired(folder) == {}

        receiver.answer = turns
        assert {_send(recording, mail) for mail in sms_mails("an SMS", 16)} == {250}
        strangers = {_send(recording, mail, "x@y.example") for mail in sms_mails("spam", 4)}
        assert strangers == {250, 452}
        assert _post_unsigned(posts) == 401
        lock_out()
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        for _ in range(8):
            one = connections.enter_context(socket.create_connection(daemon.smtp))
            assert one.recv(4) in (b"220 ", b"421 ")
        turns.begin()
        for _ in range(3 * _MINUTE // 15):
            turns.take_one()
            recording.forward(15)
        assert set(recording.firing(folder)) == _ALERTS - {"SmsbridgeDown"}
        due = recording.endpoints_of("SmsbridgeDeliveriesDue", folder)
        assert "hanging" in due
        assert "draining" not in due, "its backlog becomes smaller"

        daemon.kill()
        recording.miss(3 * _MINUTE)
        assert "SmsbridgeDown" in recording.firing(folder)


async def test_no_alert_fires_on_a_healthy_day(tmp_path: Path, disk: Path) -> None:
    """Mails, some of them twice; now and then an endpoint is busy and a mail server restarts.

    The suite's day has an hour; `HEALTHY_HOURS=24` makes it a whole one.
    """
    loop = asyncio.get_running_loop()
    async with scripted_imap() as imap:
        with Receiver(_SECRET, taken) as receiver:
            hang_up = partial(loop.call_soon_threadsafe, imap.hang_up)
            await asyncio.to_thread(_good_day, tmp_path, disk, receiver, imap.port, hang_up)
        assert sum(each.startswith("LOGIN") for each in imap.heard) > 2 * _HOURS


def _good_day(
    folder: Path, disk: Path, receiver: Receiver, imap: int, hang_up: Callable[[], object]
) -> None:
    config = Config({"crm": receiver.url}, _SECRET, store=f"sqlite:///{disk}/bridge.db")
    recording = Recording(_written(folder, config, _mailbox(imap)), 15)
    mails = tuple(sms_mails("an SMS", 6 * _HOURS))  # one every ten minutes
    with recording.daemon as daemon:
        daemon.start()
        daemon.wait_for("imap.connected")
        recording.scrape()

        def read() -> bool:
            return bool(_READ.search(daemon.page("/metrics")[1]))

        for number, mail in enumerate(mails):
            if number % 3 == 2:
                receiver.answer = _once_busy(receiver)
                hang_up()
            for _ in range(1 + number % 2):
                assert _send(recording, mail) == 250
            recording.scrape()  # in the middle of it
            recording.forward(15, read)  # more than it takes to try again
            attempts = number + 1 + (number + 1) // 3
            daemon.wait_until(lambda count=attempts: len(daemon.log("delivery.attempt")) >= count)
            recording.forward(10 * _MINUTE, read)
    assert recording.ever_fired(folder) == {}
    assert len(receiver.all()) == len(mails) + len(mails) // 3


def _once_busy(receiver: Receiver) -> Answer:
    """Answer 503 once, and be well from then on."""

    async def answer(exchange: Exchange) -> None:
        receiver.answer = taken
        await status(503)(exchange)

    return answer

"""Under a flood of mails of the greatest size the daemon stays within its unit's limits."""

from __future__ import annotations

import configparser
import functools
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.servers.daemon import MAILBOX, Config, Daemon

pytestmark = pytest.mark.processes

UNIT = Path(__file__).parents[2] / "systemd" / "smsbridge.service"
MIB = 1024**2
PEERS = 24
SIZE = 10 * MIB - 1024
MORE = 150 * MIB  # bytes that a flood may take beside what an idle daemon has

HEADER = b"From: x@stranger.example\r\nSubject: x\r\n"
KINDS = {
    "lines": (b"\r\n", b"x" * 998 + b"\r\n"),
    "flowed": (b"Content-Type: text/plain; format=flowed\r\n\r\n", b"\r\n"),
    "dots": (b"\r\n", b".\r\n"),
    "labels": (b"\r\n", b"From:\r\n"),
    "attachments": (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"--b\r\nContent-Type: image/png\r\n\r\n" + b"x\r\n" * 20_000,
    ),
}


@functools.cache
def big(kind: str) -> bytes:
    """Make a mail as it is sent: smtplib would take seconds to double the dots of each."""
    head, piece = KINDS[kind]
    mail = HEADER + head + piece * ((SIZE - len(HEADER) - len(head)) // len(piece))
    return mail.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def send(daemon: Daemon, address: str, content: bytes) -> int:
    """Send a mail from an address, on a connection of its own, and return the code."""
    host, port = daemon.smtp
    with smtplib.SMTP(host, port, timeout=PATIENCE, source_address=(address, 0)) as client:
        client.ehlo()
        client.mail("x@stranger.example")
        client.rcpt(MAILBOX)
        code, _ = client.docmd("data")
        if code == 354:
            client.send(content)
            code, _ = client.getreply()
        return code


def send_until_taken(daemon: Daemon, address: str, content: bytes) -> list[int]:
    """Send a mail as often as it is put off, as any peer would but sooner; return the codes."""
    codes = [send(daemon, address, content)]
    while codes[-1] == 452:
        time.sleep(0.1)
        codes.append(send(daemon, address, content))
    return codes


def limits() -> tuple[int, int]:
    """Return the unit's limits: bytes of memory, and tasks."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.read(UNIT)
    service = unit["Service"]
    return int(service["MemoryMax"].removesuffix("M")) * MIB, int(service["TasksMax"])


def test_big_mails_take_little_memory_and_few_threads(tmp_path: Path) -> None:
    """Twenty-four peers send the costliest mails at once, and an SMS is taken all the time."""
    config = Config(endpoints={}, secret="").write(tmp_path)
    memory, tasks = limits()
    with Daemon(config) as daemon, ThreadPoolExecutor(PEERS) as peers:
        daemon.start()
        sms = HEADER + b"\r\nhello\r\n.\r\n"
        assert send(daemon, "127.0.0.99", sms) == 250
        idle = daemon.rss()
        sending = [
            peers.submit(send_until_taken, daemon, f"127.0.0.{2 + number}", big(kind))
            for number, kind in zip(range(PEERS), cycle(KINDS), strict=False)
        ]
        codes: set[int] = set()
        while not all(each.done() for each in sending):
            codes.add(send(daemon, "127.0.0.99", sms))
        assert codes <= {250}
        replies = [code for each in sending for code in each.result()]
        assert set(replies) <= {250, 452}
        assert replies.count(250) == PEERS  # a flood that came in
        status = (Path("/proc") / str(daemon.process.pid) / "status").read_text()
        used = dict(line.split(":", 1) for line in status.splitlines())
        peak = int(used["VmHWM"].split()[0]) * 1024
        threads = int(used["Threads"])
        assert peak - idle < MORE
        assert peak < memory / 2
        assert threads < tasks / 4
        assert daemon.stop() == 0

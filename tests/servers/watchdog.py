"""Hears what a daemon tells systemd, on a real datagram socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Watchdog:
    """The socket that `NOTIFY_SOCKET` names."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver

    def fed_within(self, seconds: float) -> bool:
        """Forget what was said before, and wait for `WATCHDOG=1`."""
        self._receiver.setblocking(False)
        try:
            while self._receiver.recv(4096):
                pass
        except BlockingIOError:
            pass
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._receiver.settimeout(left)
            try:
                if b"WATCHDOG=1" in self._receiver.recv(4096):
                    return True
            except TimeoutError:
                break
        return False


@pytest.fixture
def watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watchdog]:
    """Watch every daemon that the test starts, as with `WatchdogSec=3`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        yield Watchdog(receiver)

"""The mail server of the storms: it comes back, whatever still has its ports."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.servers.dovecot import DovecotServer


@pytest.mark.processes
def test_it_starts_once_its_ports_are_free(mortal: DovecotServer) -> None:
    """Who was killed on a busy machine has them for a moment yet."""
    mortal.kill()
    with socket.create_server(("127.0.0.1", mortal.lmtp_port)):
        starting = threading.Thread(target=mortal.start, daemon=True)
        starting.start()
        while "already in use" not in _output(mortal.folder):
            starting.join(0.02)
            assert starting.is_alive()
    starting.join(PATIENCE)
    mortal.deliver(mortal.new_user(), b"Subject: here\r\n\r\nagain")


def _output(folder: Path) -> str:
    return (folder / "output").read_text() + (folder / "log").read_text()

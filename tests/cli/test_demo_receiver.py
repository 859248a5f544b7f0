"""The demo's receiver: a daemon that is killed in the middle of a webhook is no error."""

from __future__ import annotations

import socket
import struct
import threading
import time
import urllib.request

import pytest

from bridge.cli.demo_receiver import Receiver
from tests.patience import PATIENCE

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, as the kernel does for the killed


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\ncont",
        b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nfull" * 2000,
    ],
    ids=["in the body", "in the head", "before the answers"],
)
def test_a_connection_that_is_reset_prints_nothing(
    sent: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, no truncated webhook in the inbox, and the next one is received."""
    with Receiver() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        for _ in range(5):
            client = socket.create_connection(("127.0.0.1", port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.sendall(sent)
            client.close()
        request = urllib.request.Request(receiver.url, b"whole", method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 204
        while (received := receiver.next().body) != b"whole":
            assert received == b"full"
        deadline = time.monotonic() + PATIENCE
        while any("process_request_thread" in each.name for each in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert capsys.readouterr().err == ""

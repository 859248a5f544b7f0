"""Ports of loopback that stay ours while a server on them is down and comes back."""

from __future__ import annotations

import random
import socket

# Below the range from which the kernel takes the ports of outgoing connections (32768 and up), so
# that no client's connection sits on the port while its server restarts.
_FIRST, _LAST = 20000, 32000


def steady_port() -> int:
    """Find a port on 127.0.0.1 that a server can leave and take again."""
    choice = random.SystemRandom()
    while True:
        port = choice.randint(_FIRST, _LAST)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

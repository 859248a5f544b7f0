"""Accepts connections one by one, so that each is counted before it costs a TLS handshake.

`create_server(ssl=…)` reports a connection only after its handshake, so any number of handshakes
could be in progress, uncounted. It also keeps the certificate that it was started with.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from bridge.net.listening import peer_address

_PAUSE: Final = 1.0  # seconds after a failed accept: out of file descriptors, most likely


async def accept(
    listening: socket.socket,
    take: Callable[[socket.socket, str | None], None],
    failed: Callable[[OSError], None],
) -> None:
    """Accept connections until cancelled, or until `take` raises.

    `take` gets each socket and its peer's IP address, and owns the socket from then on. `failed`
    gets the error of each failed accept.
    """
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    while True:
        try:
            accepted, peername = await loop.sock_accept(listening)
        except OSError as error:
            failed(error)
            await asyncio.sleep(_PAUSE)
        else:
            take(accepted, peer_address(peername))

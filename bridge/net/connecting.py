"""Opens TCP connections by host name (RFC 8305, Happy Eyeballs)."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Final

import aiohappyeyeballs

_ATTEMPT_DELAY: Final = 0.25  # seconds before the next address is tried in parallel


async def connect(host: str, port: int) -> socket.socket:
    """Return a socket connected to the first of a host's addresses that accepts.

    Raises OSError if none does. `create_connection` would resolve the name in libuv's pool of two
    threads (see `bridge.net.loop`), and wait for a dead address (IPv6 in many networks) before it
    tries the next.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not addresses:
        raise OSError("the host has no address")
    try:
        made = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_ATTEMPT_DELAY
        )
    except RuntimeError as error:  # what uvloop raises for some failures
        raise OSError(str(error)) from None
    # The kernel, too, probes whether the peer is still there.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return made


def connect_problem(error: OSError) -> str:
    """Return a short reason why a connection failed, without an address in it."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'protocol error'})"
    if isinstance(error, ConnectionResetError) and not error.args:  # asyncio's, from a handshake
        return "the mail server hung up before TLS began: it may know none, or none newer than 1.1"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio replaces the system's text by its own
    return error.strerror or type(error).__name__

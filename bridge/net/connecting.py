"""Connects to a server by its name (RFC 8305, Happy Eyeballs)."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Final

import aiohappyeyeballs

_HEAD_START: Final = 0.25  # seconds that an address has before the next one is tried beside it


async def connected(host: str, port: int) -> socket.socket:
    """Give a socket that is connected to whichever of a host's addresses takes us first.

    Raises OSError if none does. Not left to `create_connection`: that would look the name up where
    everybody's look-ups stand in one line (`bridge.net.loop`), and wait for an address that is dead
    (IPv6 in many a network) instead of trying the next.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not addresses:
        raise OSError("the host has no address")
    try:
        made = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_HEAD_START)
    except RuntimeError as error:  # uvloop's word for some of them
        raise OSError(str(error)) from None
    # Let the kernel find out, too, that the other side is gone.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return made


def why_not(error: OSError) -> str:
    """Say in a few words why there is no connection, without an address in them."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'protocol error'})"
    if isinstance(error, ConnectionResetError) and not error.args:  # asyncio's, of a handshake
        return "the mail server hung up before TLS began: it may know none, or none newer than 1.1"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio puts a text of its own in its place
    return error.strerror or type(error).__name__

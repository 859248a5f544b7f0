"""Connects to a server by its name."""

from __future__ import annotations

import asyncio
import socket


async def connected(host: str, port: int) -> socket.socket:
    """Give a socket that is connected to the first of a host's addresses that takes us.

    Raises OSError, of the last address, if none does. Not left to `create_connection`: that would
    look the name up where everybody's look-ups stand in one line (`bridge.loop`).
    """
    loop = asyncio.get_running_loop()
    trouble = OSError("the host has no address")
    for family, kind, protocol, _, place in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        try:
            return await _connected(socket.socket(family, kind, protocol), place)
        except OSError as error:
            trouble = error
    raise trouble


async def _connected(made: socket.socket, place: tuple[str | int | bytes, ...]) -> socket.socket:
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, place)
    except BaseException:
        made.close()
        raise
    return made

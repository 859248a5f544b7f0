"""Accepts connections that speak TLS from the first byte.

`create_server(ssl=…)` would tell us of a peer only after the handshake: any number of them could
be under way, uncounted. So a place is taken at accept, and the handshake comes after.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from bridge.net.listening import peer_address
from bridge.sources.smtp.connection import LINGER, SmtpConnection
from bridge.sources.smtp.shared import Desk

_PAUSE: Final = 1.0  # after accept failed: out of descriptors, most likely


async def serve(
    listening: socket.socket, desk: Desk, new_session: Callable[[], SmtpConnection]
) -> None:
    """Accept until cancelled; handshakes that are still under way then end too."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as handshakes:
        while True:
            try:
                accepted, peername = await loop.sock_accept(listening)
            except OSError as error:
                desk.log.warning("smtp.accept_failed", error=error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            admitted = False
            try:
                session = new_session()
                session.peer = peer_address(peername)
                admitted = session.take_place()
            finally:
                if not admitted:
                    accepted.close()
            if admitted:
                handshakes.create_task(_shake_hands(accepted, desk, session))


async def _shake_hands(accepted: socket.socket, desk: Desk, session: SmtpConnection) -> None:
    assert desk.tls is not None
    try:
        # The loop's own timeout does not end the wait when the peer resets the connection.
        async with asyncio.timeout(desk.idle_timeout):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session, accepted, ssl=desk.tls, ssl_shutdown_timeout=LINGER
            )
    except OSError:
        desk.log.warning("smtp.tls_failed", peer=session.peer)
        session.give_place_back()
        accepted.close()
    except BaseException:
        session.give_place_back()
        accepted.close()
        raise

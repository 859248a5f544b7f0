"""Accepts connections that speak TLS from the first byte.

`create_server(ssl=…)` reports a peer only after the handshake: any number of handshakes could run
uncounted. So a connection is admitted at accept, and the handshake comes after.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from bridge.net.listening import peer_address
from bridge.sources.smtp.connection import LINGER, SmtpConnection
from bridge.sources.smtp.shared import SharedState

_PAUSE: Final = 1.0  # seconds after accept failed: most likely out of descriptors


async def serve(
    listening: socket.socket, shared: SharedState, new_session: Callable[[], SmtpConnection]
) -> None:
    """Accept until cancelled, which also ends handshakes in progress."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as handshakes:
        while True:
            try:
                accepted, peername = await loop.sock_accept(listening)
            except OSError as error:
                shared.log.warning("smtp.accept_failed", error=error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            admitted = False
            try:
                session = new_session()
                session.peer = peer_address(peername)
                admitted = session.admit()
            finally:
                if not admitted:
                    accepted.close()
            if admitted:
                session.handshake = handshakes.create_task(_shake_hands(accepted, shared, session))


async def _shake_hands(
    accepted: socket.socket, shared: SharedState, session: SmtpConnection
) -> None:
    assert shared.tls is not None
    try:
        # The loop's own timeout doesn't end the wait when the peer resets the connection.
        async with asyncio.timeout(shared.patience):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session, accepted, ssl=shared.tls, ssl_shutdown_timeout=LINGER
            )
    except OSError:
        shared.log.warning("smtp.tls_failed", peer=session.peer)
        session.release()
        accepted.close()
    except BaseException:
        session.release()
        accepted.close()
        raise
    finally:
        session.handshake = None

"""Accepts connections that speak TLS from the first byte: each is admitted before its handshake."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from bridge.net.accepting import accept
from bridge.shortage import noted
from bridge.sources.smtp.connection import LINGER, SmtpConnection
from bridge.sources.smtp.shared import SharedState


async def serve(
    listening: socket.socket, shared: SharedState, new_session: Callable[[], SmtpConnection]
) -> None:
    """Accept until cancelled, which also ends handshakes in progress."""
    async with asyncio.TaskGroup() as handshakes:

        def take(accepted: socket.socket, peer: str | None) -> None:
            admitted = False
            try:
                session = new_session()
                session.peer = peer
                admitted = session.admit()
            finally:
                if not admitted:
                    accepted.close()
            if admitted:
                shaking = handshakes.create_task(_shake_hands(accepted, shared, session))
                session.handshake = shaking
                shaking.add_done_callback(partial(_shaken, accepted, session))

        def failed(error: OSError) -> None:
            shared.log.warning("smtp.accept_failed", error=noted(error) or error.strerror)

        await accept(listening, take, failed)


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
    except Exception:
        session.release()
        accepted.close()
        raise
    finally:
        session.handshake = None


def _shaken(accepted: socket.socket, session: SmtpConnection, shaking: asyncio.Task[None]) -> None:
    """Give everything back if it was cancelled, even before it began: then it did nothing at all.

    Many are accepted in one turn of the loop, and the last may get the place of the first.
    """
    if shaking.cancelled():
        session.handshake = None
        session.release()
        accepted.close()

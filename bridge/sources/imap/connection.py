"""One IMAP connection without the commands: connecting, deadlines, IDLE and the end.

Every command has a deadline, and every error is one of ours. The workarounds for aioimaplib's
protocol are in `protocol`. After ImapUnavailable a connection is only good for `close`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Final, Self

from aioimaplib import aioimaplib

from bridge.errors import ImapError, ImapRefused, ImapUnavailable
from bridge.net.connecting import connect, connect_problem
from bridge.sources.imap.liveness import Heartbeat
from bridge.sources.imap.protocol import MendedProtocol, Reply
from bridge.sources.imap.replies import checked

_IN_REV2: Final = {"IDLE", "MOVE", "SASL-IR", "UIDPLUS"}
_GOODBYE: Final = 2.0  # seconds for LOGOUT


class ImapConnection:
    """One connection to a mail server, made by `connect`; one command runs at a time.

    Raises ImapRefused where the server says no, ImapUnavailable for what may pass by itself.
    """

    def __init__(self, protocol: MendedProtocol, deadline: float, heartbeat: Heartbeat) -> None:
        self._protocol = protocol
        self._deadline = deadline
        self._heartbeat = heartbeat
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        deadline: float,
        *,
        max_literal: int,
        heartbeat: Heartbeat | None = None,
    ) -> Self:
        """Connect and wait for the greeting.

        `deadline` is in seconds, for this and for each command; `max_literal` limits the bytes of
        one mail. Each command beats `heartbeat` and announces how long it may take.
        """
        loop = asyncio.get_running_loop()
        protocol = MendedProtocol(loop, max_literal)
        client = cls(protocol, deadline, heartbeat or Heartbeat())
        client._heartbeat.beat(deadline)
        try:
            async with asyncio.timeout(deadline):
                await loop.create_connection(
                    lambda: protocol,
                    sock=await connect(host, port),
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
                await protocol.greeted.wait()
        except TimeoutError:
            client.close()
            raise ImapUnavailable(f"no greeting within {deadline:g} s") from None
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
            raise ImapRefused(f"the mail server's certificate is not trusted: {reason}") from None
        except (OSError, ssl.SSLError) as error:
            raise ImapUnavailable(f"cannot connect: {connect_problem(error)}") from None
        except UnicodeError:
            raise ImapRefused("cannot connect: the host name is not valid") from None
        except asyncio.CancelledError:
            client.close()
            raise
        if protocol.lost is not None:
            raise type(protocol.lost)(str(protocol.lost))
        return client

    @property
    def pushed(self) -> bool:
        """Whether the server announced new mail since the last search began."""
        return self._protocol.pushed.is_set()

    def has(self, capability: str) -> bool:
        """Whether the server has a capability; IMAP4rev2 includes those that we use."""
        capabilities = self._protocol.capabilities
        return capability in capabilities or (
            capability in _IN_REV2 and "IMAP4REV2" in capabilities
        )

    def wake(self) -> None:
        """Make a running `idle` return, as if mail had arrived."""
        self._protocol.pushed.set()

    async def idle(self, seconds: float) -> bool:
        """Wait for a push; False after `seconds` without one."""
        if self.pushed:
            return True
        async with self._one_at_a_time:
            self._heartbeat.beat(seconds + 2 * self._deadline)
            return await self._idle(seconds)

    async def _idle(self, seconds: float) -> bool:
        protocol = self._protocol
        reply = protocol.begin(self._command("IDLE"))
        usable = False
        try:
            if not await _first(protocol.continued, reply, self._deadline):
                raise ImapUnavailable(f"no answer to IDLE within {self._deadline:g} s")
            if not reply.done():
                # An EXISTS in the same segment as the "+" has set the event already.
                await _first(protocol.pushed, reply, seconds)
            ended_by_server = reply.done()
            if not ended_by_server:
                protocol.send_line(b"DONE")
                if not await _first(None, reply, self._deadline):
                    raise ImapUnavailable(f"no end of IDLE within {self._deadline:g} s")
            checked("IDLE", reply.result())
            usable = True
        except ImapRefused:
            usable = True  # the connection is as good as before
            raise
        finally:
            if not usable:
                protocol.fail(ImapUnavailable("IDLE was abandoned"))
            protocol.finish()
        if ended_by_server:
            # Starting again at once would be a busy loop.
            raise ImapRefused("the mail server ended IDLE by itself")
        return self.pushed

    async def logout(self) -> None:
        """Log out if the server answers soon, and close."""
        try:
            self._protocol.state = aioimaplib.LOGOUT
            async with asyncio.timeout(min(_GOODBYE, self._deadline)):
                await self._run("LOGOUT")
        except (ImapError, TimeoutError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self._protocol.fail(ImapUnavailable("the connection is closed"))

    def _command(self, name: str, *words: str, prefix: str = "") -> aioimaplib.Command:
        try:
            return aioimaplib.Command(
                name, self._protocol.new_tag(), *words, prefix=prefix, loop=self._protocol.loop
            )
        except ValueError:
            raise ImapRefused("IMAP cannot express a line break in a string") from None

    async def _run(self, name: str, *words: str) -> Reply:
        command = self._command(name, *words)
        return await self._ask(lambda: self._protocol.execute(command))

    async def _ask(
        self, command: Callable[[], Coroutine[None, None, Reply]], deadline: float | None = None
    ) -> Reply:
        """Run a command within its deadline; missing it breaks the connection."""
        seconds = self._deadline if deadline is None else deadline
        async with self._one_at_a_time:
            self._heartbeat.beat(seconds)
            try:
                async with asyncio.timeout(seconds):
                    return await command()
            except TimeoutError:
                raise ImapUnavailable(f"no answer within {seconds:g} s") from None


async def _first(event: asyncio.Event | None, reply: asyncio.Future[Reply], seconds: float) -> bool:
    """Wait for whichever comes first; False if neither came in time."""
    happened = None if event is None else asyncio.ensure_future(event.wait())
    waiting: set[asyncio.Future[object]] = {reply}  # type: ignore[arg-type]
    if happened is not None:
        waiting.add(happened)  # type: ignore[arg-type]
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if happened is not None:
            happened.cancel()
    return bool(done)

"""One SMTP dialogue: commands and DATA.

aiosmtpd parses MAIL and RCPT and keeps the envelope. The command loop and DATA are ours: there it
aborts slow uploads, loses commits, keeps unbounded bodies in memory and sends peers the text of
exceptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from bridge.model import Arrival, Envelope
from bridge.net.limits import Limit, network_of
from bridge.sources.smtp.connection import Phase
from bridge.sources.smtp.incoming import IncomingMail
from bridge.sources.smtp.reading import ReadingConnection
from bridge.sources.smtp.shared import SharedState
from bridge.sources.smtp.syntax import NULL_SENDER, ReceivedHeader, read_path

# Those that are offered, and their methods' names. So AUTH, HELP and EXPN of aiosmtpd are not.
COMMANDS: Final = {
    name: f"smtp_{name}"
    for name in (
        "DATA", "EHLO", "HELO", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY",
    )
}  # fmt: skip
_GROUPED: Final = ("MAIL", "RCPT", "RSET")  # RFC 2920: only their replies may be grouped
_WEB: Final = (b" HTTP/1.0", b" HTTP/1.1", b" HTTP/2.0")

MAX_COMMANDS: Final = 1000  # since the last stored mail
MAX_MISTAKES: Final = 20  # unknown and malformed commands, and wrong recipients, since then


class SmtpSession(ReadingConnection):
    """The dialogue on one connection, from the greeting to the end."""

    def __init__(
        self,
        shared: SharedState,
        listener: str,
        common: Mapping[str, object],
        loop: asyncio.AbstractEventLoop,
        *,
        implicit_tls: bool,
    ) -> None:
        super().__init__(shared, common, loop, implicit_tls=implicit_tls)
        self._listener = listener
        self._commands = 0  # since the last stored mail

    # Commands: none but STARTTLS, and RCPT with a wrong guess, waits for anything

    async def _obey(self, line: bytes | None) -> None:
        """Obey a command; None is one that is too long."""
        if line is None:
            name, argument = "", None
        else:
            word, _, rest = line.partition(b" ")
            name = word.upper().decode("ascii", "replace")
            argument = rest.strip().decode("utf-8", "surrogateescape") or None
        self._grouped = name in _GROUPED
        self._commands += 1
        method = COMMANDS.get(name)
        if refusal := self._refusal(line, name):
            self.hang_up(refusal)
        elif line is None:
            await self.push("500 5.5.2 Line too long")
        elif b"\r" in line:
            await self.push("500 5.5.2 Bare CR in a command")
        elif method is None:
            await self.push("502 5.5.1 Not a command here" if line else "500 5.5.2 Empty line")
        else:
            self._reset_timeout()
            await getattr(self, method)(argument)

    def _refusal(self, line: bytes | None, name: str) -> str | None:
        """Return the reply that ends the session, if a limit is reached."""
        assert self.envelope is not None
        if line is not None and line.endswith(_WEB):
            # A browser can be made to send us SMTP commands in the body of a POST.
            self._shared.log.warning("smtp.http", peer=self.peer)
            return "421 4.7.0 This is not a web server"
        if name == "BDAT":  # what follows is a mail's text, and no line of it may be obeyed
            return "502 5.5.1 CHUNKING is not offered: use DATA"
        if self._commands > MAX_COMMANDS or self._mistakes >= MAX_MISTAKES:
            self._shared.log.warning(
                "smtp.too_many_commands", peer=self.peer, mistakes=self._mistakes
            )
            return "421 4.7.0 Too many commands without a mail"
        if name == "RCPT" and self._shared.bars_guesses_of(self.peer):
            self._shared.no_room(Limit.RECIPIENTS, self.peer)
            return "421 4.7.1 Too many unknown recipients, try again later"
        if self.envelope.mail_from is None:  # a mail that has begun may be finished
            if self.loop.time() >= self._began + self._shared.session_timeout:
                return "421 4.4.2 The session lasted too long, begin a new one"
            if self._shared.draining:
                return "421 4.3.2 Shutting down, try again later"
        return None

    async def smtp_EHLO(self, hostname: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Reply with our extensions: in one reply, and only those in effect."""
        if not hostname:
            await self.push("501 5.5.4 Syntax: EHLO hostname")
            return
        assert self.session is not None
        self._forget_mail()
        self.session.extended_smtp = True
        self.session.host_name = hostname
        lines = [self.hostname, f"SIZE {self._shared.max_message}", "8BITMIME", "SMTPUTF8"]
        lines += ["PIPELINING", "ENHANCEDSTATUSCODES"]
        if self._shared.tls is not None and not self._tls_on:
            lines.append("STARTTLS")
        *first, last = lines
        self._say("".join(f"250-{line}\r\n" for line in first) + f"250 {last}")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802
        """Reply the same for every address, so as not to disclose which ones exist."""
        await self.push("252 2.5.0 Send some mail and see")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
        """Say goodbye and close."""
        await self.push("221 2.0.0 Bye")
        self._close()

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Parse an address with our own grammar.

        The standard library's parser, which aiosmtpd calls, raises IndexError on `<`, accepts
        comments as addresses, and passes bytes that no store can hold.
        """
        return read_path(arg) or (None, None)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        """Parse `SIZE=1 BODY=8BITMIME`; non-ASCII digits would make aiosmtpd raise."""
        if not all(each.isascii() for each in params):
            return None
        return super()._getparams(params)

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
        """Start TLS and discard everything received in plain text."""
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif self._tls_on:
            await self.push("503 5.5.1 TLS is on already")
        elif self._shared.tls is None:
            await self.push("454 4.7.0 TLS is not available")
        else:
            self._replies += b"220 2.0.0 Go ahead\r\n"
            self._flush()
            # Pipelined commands could be injected by anybody: obeyed after the handshake, they
            # would count as received under TLS (CVE-2011-0411). Nothing can arrive in between:
            # nothing is waited for before the TLS layer takes over the connection.
            self._unread.clear()
            await self._start_tls()

    # DATA

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Receive a mail: 250 only once it is stored; in every other case the peer keeps it."""
        if await self.check_helo_needed():
            return
        assert self.envelope is not None
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 No recipient was accepted before")
        elif limit := self._shared.budget.spent(network_of(self.peer)):
            self._forget_mail()
            self._shared.no_room(limit, self.peer)
            await self.push("452 4.3.1 Too much mail at the moment, try again later")
        else:
            self._phase = Phase.DATA
            self._mail = IncomingMail(self._shared, self.peer)
            self._say("354 End with <CR><LF>.<CR><LF>")

    async def _end_mail(self, mail: IncomingMail) -> None:
        """Commit a mail, in a task that outlives the connection; or tell why not."""
        if mail.refusal:
            await self._reply_to(mail, mail.refusal)
        else:
            self._phase = Phase.COMMIT
            self._task = self.loop.create_task(self._commit(mail))
            self._shared.commits.add(self._task)  # the loop itself keeps only a weak reference

    async def _commit(self, mail: IncomingMail) -> None:
        assert self._task is not None
        mail_id = self._shared.new_id()
        try:
            # Nothing but the arrival has the bytes now, and it goes with the commit.
            reply = await self._shared.commit(self._arrival(mail, mail_id), mail_id)
        except Exception as error:  # noqa: BLE001 - a bug; the store's errors are replies
            reply = self._bug(error)
        finally:
            self._shared.commits.discard(self._task)
            mail.close()
        await self._wait_for(self._guarded(self._reply_to(mail, reply)))

    async def _reply_to(self, mail: IncomingMail, reply: str) -> None:
        """Forget a mail and tell what became of it."""
        mail.close()
        self._phase = Phase.TALK
        self._forget_mail()
        if self.transport is None:
            return  # the connection was lost during the commit
        self._reset_timeout()
        self.pace.next_window(self.loop.time())
        if reply.startswith("250"):
            self._commands = self._mistakes = 0
        await self.push(reply)
        if self._shared.draining:
            self.finish()

    def _arrival(self, mail: IncomingMail, mail_id: str) -> Arrival:
        assert self.envelope is not None
        assert self.session is not None
        at = self._shared.clock()
        sender = self.envelope.mail_from
        received = ReceivedHeader(
            greeting=self.session.host_name or "",
            peer=self.peer,
            hostname=self.hostname,
            extended=self.session.extended_smtp,
            tls=self._tls_on,
            utf8=bool(self.envelope.smtp_utf8),
            id=mail_id,
            at=at,
        )
        envelope = Envelope(
            peer=self.peer,
            sender="" if sender in (None, NULL_SENDER) else sender,
            recipients=tuple(self.envelope.rcpt_tos),
        )
        raw = mail.take(received.to_bytes(mail.line_end))
        return Arrival(envelope, self._listener, raw, at)

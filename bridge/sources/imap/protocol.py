"""aioimaplib's protocol, mended where it loses pushes, hangs, recurses or lets a stranger answer.

Commands, tags and states are aioimaplib's; what comes from the server is read here. One command
runs at a time, and a connection on which anything went wrong is never used again: whoever gives
up on a command (deadline, cancellation) breaks the connection, so no late reply can be taken for
the answer to another command.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aioimaplib import aioimaplib

from bridge.errors import ImapError, ImapTooBig, ImapUnavailable
from bridge.sources.imap.wire import Assembler, OverLimit, Response

_EXISTS: Final = re.compile(rb"\* (\d+) EXISTS\b", re.IGNORECASE)
_STATUS: Final = re.compile(rb"(\S+) (OK|NO|BAD)(?: |\Z)(.*)", re.IGNORECASE | re.DOTALL)
_GREETING: Final = re.compile(rb"\* (OK|PREAUTH|BYE)\b ?(.*)", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(r"\[([A-Z][A-Z0-9-]*)(?: ([^\]]*))?\] ?", re.IGNORECASE)
_CAPABILITY: Final = b"* CAPABILITY "
# What one command may bring beside the literals: FETCH lines, one long SEARCH.
_MORE: Final = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Reply:
    """How a command ended: OK, NO or BAD, the code in brackets, and all that came before."""

    status: str
    code: str
    argument: str
    text: str
    untagged: Sequence[Response] = ()

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status == "OK"


class MendedProtocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """One connection. `most` is the greatest literal that is taken from the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        # At DEBUG it prints tokens, and mails with the texts in them.
        library_log = logging.getLogger("aioimaplib.aioimaplib")
        library_log.setLevel(max(library_log.level, logging.WARNING))
        super().__init__(loop)
        self.greeted = asyncio.Event()  # or lost
        self.continued = asyncio.Event()  # the server said "+"
        self.pushed = asyncio.Event()  # EXISTS was heard, whatever was going on at that moment
        self.lost: ImapError | None = None
        self._assembler = Assembler(most)
        self._most = most + _MORE
        self._tag = b""
        self._idling = False
        self._reply: asyncio.Future[Reply] | None = None
        self._untagged: list[Response] = []
        self._taken = 0
        self._answers: deque[bytes] = deque()

    @property
    def broken(self) -> bool:
        """Whether the connection is of no more use; `lost` says why."""
        return self.lost is not None

    # From the connection

    def data_received(self, data: bytes) -> None:
        """Read in a loop: aioimaplib recurses once a line, and dies at 1,500 of them.

        Responses are cut out whole, literals included, before anyone looks at them: so an empty
        literal, a line that looks like a tagged reply inside a FETCH, or a reply to an unknown
        tag ends neither in the wrong place nor in an exception that nobody hears.
        """
        try:
            for response in self._assembler.feed(data):
                self._take(response)
        except OverLimit as error:
            # Cut off at the announcement: not a byte of it is kept.
            self.fail(ImapTooBig(f"the mail server began to send {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """End what is pending: aioimaplib would leave it waiting for ever."""
        self.fail(ImapUnavailable("the mail server closed the connection"))

    def fail(self, error: ImapError) -> None:
        """Break the connection, and tell whoever waits; a second time does nothing."""
        if self.lost is not None:
            return
        self.lost = error
        self.greeted.set()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(_again(error))
        if self.transport is not None:
            self.transport.abort()

    def _take(self, response: Response) -> None:
        line = response[0]
        if self.broken:
            return  # what is left of the segment that broke it
        if not self.greeted.is_set():
            self._greet(line)
        elif line.startswith(b"* "):
            self._take_untagged(response)
        elif line.startswith(b"+"):
            self._continue()
        elif line:
            self._end(line)

    def _greet(self, line: bytes) -> None:
        found = _GREETING.match(line)
        if found is None:
            self.fail(ImapUnavailable("this is no IMAP server"))
        elif found[1].upper() == b"BYE":
            self.fail(ImapUnavailable("the mail server does not want us now (BYE)"))
        else:
            preauth = found[1].upper() == b"PREAUTH"
            self.state = aioimaplib.AUTH if preauth else aioimaplib.NONAUTH
            self._learn(_reply(b"OK", found[2], ()))
            self.greeted.set()

    def _take_untagged(self, response: Response) -> None:
        line = response[0]
        if _EXISTS.match(line):
            # Heard here it cannot be lost, whether it comes with the "+" of IDLE, in the middle
            # of a SEARCH, or while nothing is going on.
            self.pushed.set()
        elif line[: len(_CAPABILITY)].upper() == _CAPABILITY:
            self.capabilities = set(line.decode("ascii", "replace").upper().split()[2:])
        elif line[:6].upper() == b"* BYE " and self.state != aioimaplib.LOGOUT:
            # It hangs up by itself as a rule, but not every server does so soon.
            self.fail(ImapUnavailable("the mail server said BYE"))
            return
        if self._reply is None or self._idling:
            return  # IDLE's lines say nothing that a search does not say better
        self._taken += sum(map(len, response))
        if self._taken > self._most:
            self.fail(ImapTooBig(f"the mail server sent more than {self._most} bytes"))
        self._untagged.append(response)

    def _continue(self) -> None:
        self.continued.set()
        if self._reply is not None and self._tag and self._answers:
            self.transport.write(self._answers.popleft() + b"\r\n")

    def _end(self, line: bytes) -> None:
        found = _STATUS.fullmatch(line)
        if found is None or found[1] != self._tag or self._reply is None or self._reply.done():
            self.fail(ImapUnavailable("the mail server answered what nobody asked"))
            return
        reply = _reply(found[2], found[3], tuple(self._untagged))
        self._learn(reply)
        self._reply.set_result(reply)

    def _learn(self, reply: Reply) -> None:
        if reply.code == "CAPABILITY":
            self.capabilities = set(reply.argument.upper().split())

    # To the connection

    async def execute(
        self,
        command: aioimaplib.Command,
        scrub: str | None = None,
        answers: Sequence[bytes] = (),
    ) -> Reply:
        """Send a command and wait for its end; whoever stops waiting breaks the connection."""
        reply = self.begin(command, answers)
        try:
            return await reply
        except asyncio.CancelledError:
            self.fail(ImapUnavailable("a command was given up"))
            raise
        finally:
            self.finish()

    def begin(
        self, command: aioimaplib.Command, answers: Sequence[bytes] = ()
    ) -> asyncio.Future[Reply]:
        """Send a command; `answers` are sent one each time the server asks (`+`).

        `finish` must be called when its reply has come, or nobody wants it any more.
        """
        if self.lost is not None:
            raise _again(self.lost)
        assert self._reply is None, "one command at a time"
        self._tag = command.tag.encode()
        self._idling = command.name == "IDLE"
        self._answers = deque(answers)
        self._untagged, self._taken = [], 0
        self.continued.clear()
        self._reply = self.loop.create_future()
        # Not aioimaplib's `send`, which logs what it sends.
        self.transport.write(f"{command}\r\n".encode())
        return self._reply

    def finish(self) -> None:
        """Be ready for the next command."""
        if self._reply is not None and not self._reply.cancel() and not self._reply.cancelled():
            self._reply.exception()  # else asyncio tells of one that came when nobody waited
        self._reply = None
        self._untagged = []
        self.continued.clear()

    def say(self, line: bytes) -> None:
        """Send a line that is no command: DONE."""
        self.transport.write(line + b"\r\n")


def _reply(status: bytes, rest: bytes, untagged: Sequence[Response]) -> Reply:
    text = rest.decode("utf-8", "replace")
    code = _CODE.match(text)
    return Reply(
        status=status.decode().upper(),
        code=code[1].upper() if code else "",
        argument=(code[2] or "") if code else "",
        text=text[code.end() :] if code else text,
        untagged=untagged,
    )


def _again(error: ImapError) -> ImapError:
    """Make the error anew, for one that is raised twice collects the stacks of both."""
    return type(error)(str(error))

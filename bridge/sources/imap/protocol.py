"""aioimaplib's protocol, fixed where it loses pushes, hangs, recurses or accepts unknown tags.

Commands, tags and states are aioimaplib's; what the server sends is parsed here. One command runs
at a time, and a connection on which anything failed is never used again: abandoning a command
(deadline, cancellation) breaks the connection, so a late reply cannot be taken for the reply to
another command.
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
# Bytes that one command may return beside the literals: FETCH lines, one long SEARCH.
_MORE: Final = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a command: OK, NO or BAD, the response code, and the untagged responses."""

    status: str
    code: str
    argument: str
    text: str
    untagged: Sequence[Response] = ()

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.status == "OK"


class MendedProtocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """One connection. `most` is the largest literal, in bytes, accepted from the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        # At DEBUG it logs tokens and whole mails.
        library_log = logging.getLogger("aioimaplib.aioimaplib")
        library_log.setLevel(max(library_log.level, logging.WARNING))
        super().__init__(loop)
        self.greeted = asyncio.Event()  # or lost
        self.continued = asyncio.Event()  # the server said "+"
        self.pushed = asyncio.Event()  # EXISTS was received, in whatever state
        self.lost: ImapError | None = None  # why the connection is broken
        self._assembler = Assembler(most)
        self._most = most + _MORE
        self._tag = b""
        self._idling = False
        self._reply: asyncio.Future[Reply] | None = None
        self._untagged: list[Response] = []
        self._received = 0
        self._answers: deque[bytes] = deque()

    # From the connection

    def data_received(self, data: bytes) -> None:
        """Parse in a loop: aioimaplib recurses once per line, and fails at 1,500 of them.

        Responses are assembled whole, literals included, before they are interpreted: so neither
        an empty literal, nor a line inside a FETCH that looks like a tagged reply, nor a reply
        with an unknown tag can be misread or raise where nobody catches.
        """
        try:
            for response in self._assembler.feed(data):
                self._take(response)
        except OverLimit as error:
            # Aborted at the announcement: not a byte of it is kept.
            self.fail(ImapTooBig(f"the mail server began to send {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the pending command: aioimaplib would leave it waiting for ever."""
        self.fail(ImapUnavailable("the mail server closed the connection"))

    def fail(self, error: ImapError) -> None:
        """Abort the connection and fail the pending command; idempotent."""
        if self.lost is not None:
            return
        self.lost = error
        self.greeted.set()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(_copy_of(error))
        if self.transport is not None:
            self.transport.abort()

    def _take(self, response: Response) -> None:
        line = response[0]
        if self.lost is not None:
            return  # the rest of the segment that broke it
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
            self.fail(ImapUnavailable("this is not an IMAP server"))
        elif found[1].upper() == b"BYE":
            self.fail(ImapUnavailable("the mail server refuses connections now (BYE)"))
        else:
            preauth = found[1].upper() == b"PREAUTH"
            self.state = aioimaplib.AUTH if preauth else aioimaplib.NONAUTH
            self._update_capabilities(_reply(b"OK", found[2], ()))
            self.greeted.set()

    def _take_untagged(self, response: Response) -> None:
        line = response[0]
        if _EXISTS.match(line):
            # Noted here it cannot be lost, whether it comes with the "+" of IDLE, in the middle
            # of a SEARCH, or while no command is running.
            self.pushed.set()
        elif line[: len(_CAPABILITY)].upper() == _CAPABILITY:
            self.capabilities = set(line.decode("ascii", "replace").upper().split()[2:])
        elif line[:6].upper() == b"* BYE " and self.state != aioimaplib.LOGOUT:
            # Most servers close the connection then, but not all do so soon.
            self.fail(ImapUnavailable("the mail server said BYE"))
            return
        if self._reply is None or self._idling:
            return  # the next search says more than IDLE's responses
        self._received += sum(map(len, response))
        if self._received > self._most:
            self.fail(ImapTooBig(f"the mail server sent more than {self._most} bytes"))
        self._untagged.append(response)

    def _continue(self) -> None:
        self.continued.set()
        if self._reply is not None and self._tag and self._answers:
            self.transport.write(self._answers.popleft() + b"\r\n")

    def _end(self, line: bytes) -> None:
        found = _STATUS.fullmatch(line)
        if found is None or found[1] != self._tag or self._reply is None or self._reply.done():
            self.fail(ImapUnavailable("the mail server sent a reply that no command waits for"))
            return
        reply = _reply(found[2], found[3], tuple(self._untagged))
        self._update_capabilities(reply)
        self._reply.set_result(reply)

    def _update_capabilities(self, reply: Reply) -> None:
        if reply.code == "CAPABILITY":
            self.capabilities = set(reply.argument.upper().split())

    # To the connection

    async def execute(
        self,
        command: aioimaplib.Command,
        scrub: str | None = None,
        answers: Sequence[bytes] = (),
    ) -> Reply:
        """Send a command and wait for its reply; cancelling breaks the connection."""
        reply = self.begin(command, answers)
        try:
            return await reply
        except asyncio.CancelledError:
            self.fail(ImapUnavailable("a command was abandoned"))
            raise
        finally:
            self.finish()

    def begin(
        self, command: aioimaplib.Command, answers: Sequence[bytes] = ()
    ) -> asyncio.Future[Reply]:
        """Send a command; one of `answers` is sent for each continuation request (`+`).

        Call `finish` after its reply, or when abandoning it.
        """
        if self.lost is not None:
            raise _copy_of(self.lost)
        assert self._reply is None, "one command at a time"
        self._tag = command.tag.encode()
        self._idling = command.name == "IDLE"
        self._answers = deque(answers)
        self._untagged, self._received = [], 0
        self.continued.clear()
        self._reply = self.loop.create_future()
        # Not aioimaplib's `send`, which logs what it sends.
        self.transport.write(f"{command}\r\n".encode())
        return self._reply

    def finish(self) -> None:
        """Make ready for the next command."""
        if self._reply is not None and not self._reply.cancel() and not self._reply.cancelled():
            self._reply.exception()  # else asyncio warns that it was never retrieved
        self._reply = None
        self._untagged = []
        self.continued.clear()

    def send_line(self, line: bytes) -> None:
        """Send a line that is not a command: DONE."""
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


def _copy_of(error: ImapError) -> ImapError:
    """Copy an error: one that is raised twice would collect the traceback of both."""
    return type(error)(str(error))

"""The two ends of the bench: senders of mails and posts, and a webhook receiver, all cheap.

They share one process and one clock, so that the time from the 250 to the POST needs no
agreement between clocks. Each is a bare asyncio Protocol with prebuilt bytes: a few dozen
microseconds a message, so that what is measured is the program in the middle.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import re
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast
from zoneinfo import ZoneInfo

MAILBOX: Final = "sms@bridge.test"
ENVELOPE_FROM: Final = "smsin@agiletelecom.com"
_EHLO: Final = b"EHLO bench.example\r\n"
_MAIL: Final = f"MAIL FROM:<{ENVELOPE_FROM}>\r\n".encode()
_RCPT: Final = f"RCPT TO:<{MAILBOX}>\r\n".encode()
_DATA: Final = b"DATA\r\n"
_QUIT: Final = b"QUIT\r\n"
_WEBHOOK_ID: Final = re.compile(rb"\r\nwebhook-id: *([^\s]+)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_ROME: Final = ZoneInfo("Europe/Rome")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail ready for the wire: dot-stuffed, with its final dot."""

    text: str  # the SMS's words, distinct in a run
    wire: bytes


def mails(count: int, run: str) -> list[Mail]:
    """Build distinct mails of about 1.2 kB, laid out as Agile Telecom sends them.

    `run` keeps Message-IDs and texts of one round apart from those of all others.
    """
    # Nothing checks this signature; it is there because a real mail carries one of this size.
    signature = base64.b64encode(os.urandom(256)).decode()
    folded = "\r\n\t".join(signature[at : at + 70] for at in range(0, len(signature), 70))
    now = datetime.now(_ROME)
    made = []
    for number in range(count):
        text = f"Round {run}, message {number:06d}: see you at the station at half past seven"
        moment = now + timedelta(milliseconds=10 * number)
        stamp = moment.strftime("%a, %d %b %Y %H:%M:%S %z")
        sender = f"+39330{number % 10_000_000:07d}"
        mail = (
            "Received: from mx2.agiletelecom.com (mx2.agiletelecom.com [192.0.2.25])\r\n"
            f"\tby relay.example (Postfix) with ESMTPS id {number:010X}\r\n"
            f"\tfor <{MAILBOX}>; {stamp}\r\n"
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=agiletelecom.com;\r\n"
            "\ts=mail; h=from:to:subject:date:message-id:mime-version:content-type;\r\n"
            f"\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b={folded}\r\n"
            f"Message-ID: <{run}.{number}@agiletelecom.com>\r\n"
            f"Date: {stamp}\r\n"
            "From: Agile Telecom <smsin@agiletelecom.com>\r\n"
            f"To: {MAILBOX}\r\n"
            "Subject: Agile Telecom -- SMS received\r\n"
            "MIME-Version: 1.0\r\n"
            'Content-Type: text/plain; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: 8bit\r\n"
            "\r\n"
            f"From: {sender}\r\n"
            "To: +393331234333\r\n"
            f"Date/Time: {moment.strftime('%Y%m%d%H%M%S')}\r\n"
            f"Body: {text}\r\n"
            ".\r\n"
        )
        made.append(Mail(text, mail.encode()))
    return made


def short_mails(count: int, run: str) -> list[Mail]:
    """Build distinct mails of about 0.4 kB: as those above, without what relays have added."""
    made = []
    for mail in mails(count, run):
        signed = mail.wire.index(b"DKIM-Signature:")
        made.append(Mail(mail.text, mail.wire[mail.wire.index(b"Message-ID:", signed) :]))
    return made


class Refused(Exception):
    """The server did not take a mail: the figures of this round would mean nothing."""


class Stream:
    """The mails that wait to be sent, the senders that wait for mails, and the times of the 250s.

    `reuse` keeps a connection for all mails of a sender; without it each mail has its own.
    `sender` speaks the protocol: SMTP, or for posts `Poster`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        reuse: bool,
        sender: Callable[[Stream, Mail | None], Sender | Poster] | None = None,
    ) -> None:
        self.address = address
        self.reuse = reuse
        self.sender = sender or Sender
        self.accepted: dict[str, float] = {}  # text → when its 250 came
        self.pipelined = False
        self.failure: Exception | None = None
        self._waiting: deque[Mail] = deque()
        self._idle: list[Sender | Poster] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.Transport] = set()
        self._target = 0
        self._done = asyncio.Event()

    async def open(self, senders: int) -> None:
        """Start the senders; with `reuse` their connections are made and greeted first."""
        for _ in range(senders):
            if self.reuse:
                await self._connect(None)
            else:
                self._idle.append(self.sender(self, None))

    def put(self, mail: Mail) -> None:
        """Send a mail as soon as a sender is free."""
        self._target += 1
        if self._idle:
            self._idle.pop().take(mail)
        else:
            self._waiting.append(mail)

    async def finished(self, timeout: float) -> None:
        """Wait until every mail that was put has its 250."""
        if len(self.accepted) < self._target and self.failure is None:
            self._done.clear()
            async with asyncio.timeout(timeout):
                await self._done.wait()
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """Hang up."""
        for task in self._connecting:
            task.cancel()
        for transport in self._transports:
            transport.abort()
        await asyncio.sleep(0)

    def next(self, sender: Sender | Poster) -> Mail | None:
        """Give a free sender its next mail, or let it wait for one."""
        if self._waiting:
            return self._waiting.popleft()
        self._idle.append(sender)
        return None

    def took(self, mail: Mail) -> None:
        """Stamp a 250."""
        self.accepted[mail.text] = time.perf_counter()
        if len(self.accepted) >= self._target:
            self._done.set()

    def failed(self, error: Exception) -> None:
        """Keep the first failure and end the round."""
        self.failure = self.failure or error
        self._done.set()

    def connect(self, mail: Mail) -> None:
        """Open a connection for one mail."""
        task = asyncio.get_running_loop().create_task(self._connect(mail))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, mail: Mail | None) -> None:
        loop = asyncio.get_running_loop()
        sender = self.sender(self, mail)
        try:
            transport, _ = await loop.create_connection(lambda: sender, *self.address)
        except OSError as error:
            self.failed(error)
            return
        self._transports.add(transport)
        if mail is None:
            await sender.ready.wait()

    def lost(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._transports.discard(transport)


class Poster(asyncio.Protocol):
    """One HTTP client, as a provider is one: a post at a time, and a 200 for each."""

    _transport: asyncio.Transport

    def __init__(self, stream: Stream, post: Mail | None) -> None:
        self._stream = stream
        self._post = post
        self._buffer = b""
        self._connected = self._done = False
        self.ready = asyncio.Event()

    def take(self, post: Mail) -> None:
        """Send a post; on a connection of its own unless connections are kept."""
        if self._connected:
            self._post = post
            self._transport.write(post.wire)
        else:
            self._stream.connect(post)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._connected = True
        self.ready.set()
        if self._post is not None:
            self._transport.write(self._post.wire)
        else:
            self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, as a failure if something is under way."""
        self._stream.lost(self._transport)
        if not self._done and self._post is not None:
            self._stream.failed(exc or Refused("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, end + 2) if end >= 0 else None
        if self._done or length is None or len(self._buffer) < end + 4 + int(length[1]):
            return
        if self._buffer[9:12] != b"200":
            self._done = True
            self._stream.failed(Refused(f"the server answered {self._buffer[:60]!r}"))
            self._transport.abort()
            return
        self._buffer = b""
        assert self._post is not None
        self._stream.took(self._post)
        if self._stream.reuse:
            self._rest()
        else:
            self._done = True
            self._transport.close()
            fresh = Poster(self._stream, None)
            post = self._stream.next(fresh)
            if post is not None:
                fresh.take(post)

    def _rest(self) -> None:
        self._post = self._stream.next(self)
        if self._post is not None:
            self._transport.write(self._post.wire)


class Sender(asyncio.Protocol):
    """One SMTP client, as Postfix would speak: it pipelines only where that is offered."""

    _transport: asyncio.Transport
    may_pipeline = True

    def __init__(self, stream: Stream, mail: Mail | None) -> None:
        self._stream = stream
        self._mail = mail
        self._buffer = b""
        self._expected = (b"220", b"250")  # the codes of the replies that are still to come
        self._step = 0
        self._pipelines = False
        self._greeted = False
        self._quit = False
        self.ready = asyncio.Event()

    def take(self, mail: Mail) -> None:
        """Send a mail; on a connection of its own unless connections are kept."""
        if self._greeted:
            self._mail = mail
            self._begin()
        else:
            self._stream.connect(mail)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are not of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, as a failure if something is under way."""
        self._stream.lost(self._transport)
        if not self._quit:
            self._stream.failed(exc or Refused("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        lines = (self._buffer + data).split(b"\r\n")
        self._buffer = lines.pop()
        for line in lines:
            if line[4:].upper() == b"PIPELINING":
                self._pipelines = self.may_pipeline
            if line[3:4] != b"-":
                self._reply(line)

    def _reply(self, line: bytes) -> None:
        if self._quit:
            return
        if line[:3] != self._expected[self._step]:
            self._quit = True
            self._stream.failed(Refused(f"the server answered {line.decode()!r}"))
            self._transport.abort()
            return
        self._step += 1
        if self._greeted:
            self._advance()
        elif self._step == 1:
            self._transport.write(_EHLO)
        else:
            self._greeted = True
            self._stream.pipelined = self._pipelines
            self.ready.set()
            if self._mail is not None:
                self._begin()
            else:
                self._rest()

    def _begin(self) -> None:
        self._expected = (b"250", b"250", b"354", b"250")
        self._step = 0
        self._transport.write(_MAIL + _RCPT + _DATA if self._pipelines else _MAIL)

    def _advance(self) -> None:
        assert self._mail is not None
        if self._step == 3:
            self._transport.write(self._mail.wire)
        elif self._step == 4:
            self._stream.took(self._mail)
            if self._stream.reuse:
                self._rest()
            else:
                # As Postfix does: say QUIT and don't wait for the answer.
                self._quit = True
                self._transport.write(_QUIT)
                self._transport.close()
                fresh = self._stream.sender(self._stream, None)
                mail = self._stream.next(fresh)
                if mail is not None:
                    fresh.take(mail)
        elif not self._pipelines:
            self._transport.write(_RCPT if self._step == 1 else _DATA)

    def _rest(self) -> None:
        self._mail = self._stream.next(self)
        if self._mail is not None:
            self._begin()


class SlowSender(Sender):
    """One that waits for each reply, as simple programs do."""

    may_pipeline = False


@dataclass(frozen=True, slots=True)
class Webhook:
    """A POST as it came, with its time."""

    at: float
    head: bytes
    body: bytes

    def headers(self) -> dict[str, str]:
        """Read the header lines, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}

    def text(self) -> str:
        """Return the SMS's words."""
        return str(json.loads(self.body)["data"]["body"])


class Receiver:
    """Takes webhooks and answers 204; keeps each with its time, and looks at them afterwards."""

    def __init__(self) -> None:
        self.webhooks: list[Webhook] = []
        self.ids: set[bytes] = set()
        self.port = 0
        self._target = 0
        self._all = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Say where webhooks are posted to."""
        return f"http://127.0.0.1:{self.port}/hooks/sms"

    async def open(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Inbox(self), "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def expect(self, count: int) -> None:
        """Forget what came and wait for this many distinct messages."""
        self.webhooks.clear()
        self.ids.clear()
        self._target = count
        self._all.clear()

    def came(self, webhook: Webhook) -> None:
        """Keep a webhook."""
        self.webhooks.append(webhook)
        found = _WEBHOOK_ID.search(webhook.head)
        if found is not None:
            self.ids.add(found[1])
            if len(self.ids) == self._target:
                self._all.set()

    async def all(self, timeout: float) -> None:
        """Wait until as many distinct messages came as expected."""
        async with asyncio.timeout(timeout):
            await self._all.wait()

    def check(self, sent: Sequence[Mail], secret: str, sample: int = 100) -> None:
        """Hold what came against what was sent, and a sample against `standardwebhooks`."""
        from standardwebhooks import Webhook as Verifier  # not needed on the measured way

        verifier = Verifier(secret)
        texts = {webhook.text() for webhook in self.webhooks}
        missing = {mail.text for mail in sent} - texts
        if missing:
            raise Refused(f"{len(missing)} messages of {len(sent)} never arrived")
        step = max(1, len(self.webhooks) // sample)
        for webhook in self.webhooks[::step]:
            verifier.verify(webhook.body, webhook.headers())


class _Inbox(asyncio.Protocol):
    """One connection to the receiver: just enough HTTP/1.1."""

    _transport: asyncio.Transport

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length is not None else 0)
            if len(data) < whole:
                break
            self._receiver.came(Webhook(time.perf_counter(), head, data[end + 4 : whole]))
            self._transport.write(_ANSWER)
            data = data[whole:]
        self._buffer = data


@contextmanager
def without_pauses() -> Iterator[None]:
    """Keep Python's collector out of a measured stretch of this process."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def own_cpu() -> float:
    """Return the processor seconds that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

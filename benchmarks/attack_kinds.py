"""What hostile peers do to a daemon: each attack, and how its harm is counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.servers.daemon import MAILBOX, Daemon
from tests.servers.receiver import Receiver

SECONDS: Final = 4.0  # an attack goes on for so long
STRANGER: Final = "x@open.test"  # a recipient that is taken and proves nothing
_BIG: Final = 10_000_000  # bytes; a little less than the default of max_message
_AGILE: Final = b"From: smsin@agiletelecom.com\r\n"
_EIGHTH: Final = 8 * 1024**2  # bytes of the memory for mails that are being received
_ID: Final = "mx.kitchen.example"

CONFIG: Final = f"""
[store]
url = "sqlite:///FOLDER/bridge.db"
[smtp]
listen = ["127.0.0.1:0"]
recipients = ["{MAILBOX}", "@open.test"]
[http]
listen = "127.0.0.1:0"
[log]
format = "json"

[[providers]]
name = "agile"
time_zone = "Europe/Rome"
[providers.trust]
recipients = ["{MAILBOX}"]

[[providers]]
name = "several"
senders = ["sms@several.example"]
[providers.trust]
recipients = ["{MAILBOX}"]
[providers.template]
recipient = '^[a-z]+@open\\.test$'
from = {{ label = "From" }}
to = {{ label = "To" }}
body = {{ label = "Text" }}
split = '^-{{5,}}$'

[[providers]]
name = "stamped"
preset = "agile"
time_zone = "Europe/Rome"
senders = ["sms@stamped.example"]
[providers.trust.authserv_id]
id = "{_ID}"
spf = ["stamped.example"]
networks = ["127.0.0.0/8"]

[[endpoints]]
name = "crm"
url = "URL"
secret = "SECRET"
"""


class NoAttack(Exception):
    """An attack was none: what it would have to get past was not there."""


class Client:
    """One SMTP connection, from an address of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, to: tuple[str, int], come_from: str) -> AsyncIterator[Self]:
        """Connect and be greeted."""
        client = cls(*await asyncio.open_connection(*to, local_addr=(come_from, 0)))
        try:
            await client.code()
            await client.ask(b"EHLO client.example")
            yield client
        finally:
            client.writer.transport.abort()

    async def code(self) -> int:
        """Read one answer."""
        while True:
            line = await self.reader.readline()
            if not line:
                raise ConnectionResetError
            if line[3:4] != b"-":
                return int(line[:3])

    async def ask(self, line: bytes) -> int:
        """Send a line and read its answer."""
        self.writer.write(line + b"\r\n")
        return await self.code()

    async def begin(self, recipient: str = STRANGER) -> int:
        """Go up to DATA; return the answer to it, or to what was refused before."""
        for line in (b"MAIL FROM:<a@client.example>", b"RCPT TO:<%b>" % recipient.encode()):
            if (code := await self.ask(line)) != 250:
                return code
        return await self.ask(b"DATA")

    async def mail(self, raw: bytes, recipient: str = STRANGER) -> int:
        """Send a mail."""
        if (code := await self.begin(recipient)) != 354:
            return code
        self.writer.write(raw.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        await self.writer.drain()
        return await self.code()


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon under attack, and the receiver of its webhooks."""

    daemon: Daemon
    receiver: Receiver
    folder: Path

    @contextlib.asynccontextmanager
    async def connection(self, number: int = 0) -> AsyncIterator[Client]:
        """Connect to its SMTP as one of the attackers."""
        async with Client.connected(self.daemon.smtp, f"127.0.1.{number + 1}") as client:
            yield client

    async def settled(self) -> None:
        """Send one believed mail, whose webhook comes after those of all others."""
        number = time.monotonic_ns()
        async with self.connection() as client:
            await client.mail(sms(f"settled {number}"), MAILBOX)
        async with asyncio.timeout(20):
            while f"settled {number}" not in self.texts():
                await asyncio.sleep(0.02)

    def texts(self) -> list[str]:
        """Return the texts of all webhooks, without line ends that earlier versions kept."""
        return [each.text.strip() for each in self.receiver.all()]


def sms(text: str, sender: str = "smsin@agiletelecom.com", headers: str = "") -> bytes:
    """Make a mail as Agile Telecom's."""
    return (
        f"{headers}From: {sender}\r\nTo: {MAILBOX}\r\nMessage-ID: <{text.replace(' ', '.')}@x>\r\n"
        "Subject: SMS\r\n\r\nFrom: +393301234567\r\nTo: +393331234333\r\n"
        f"Date/Time: 20260408143052\r\nBody: {text}\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Attack:
    """`run` returns attempts and harm, in `unit`; None: the harm is done to others' mail.

    `most` is how much harm is none. With `mail`, the attack is that one, in six connections.
    """

    name: str
    unit: str
    most: float = 0
    run: Callable[[Target], Awaitable[tuple[int, float | None]]] | None = None
    mail: bytes | None = None


async def bomb(target: Target, raw: bytes) -> tuple[int, float | None]:
    """Send the same mail in six connections, again and again."""
    until = time.monotonic() + SECONDS
    sent = 0

    async def again(number: int) -> None:
        nonlocal sent
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(2 * SECONDS), target.connection(number) as client:
                    sent += 1
                    await client.mail(raw)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(again(number))
    return sent, None


async def _nothing(_target: Target) -> tuple[int, float | None]:
    await asyncio.sleep(SECONDS)
    return 0, None


async def _held(
    target: Target, peers: int, each: int, hold: Callable[[Client], Awaitable[None]]
) -> tuple[int, float | None]:
    """Hold connections of some peers, which come back at once when they are cut off."""
    until = time.monotonic() + SECONDS
    made = 0

    async def again(number: int) -> None:
        nonlocal made
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with (
                    asyncio.timeout(until - time.monotonic()),
                    target.connection(number % peers) as client,
                ):
                    made += 1
                    await hold(client)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for number in range(peers * each):
            group.create_task(again(number))
    return made, None


async def _stay_in_data(client: Client) -> None:
    if await client.begin() != 354:
        await asyncio.sleep(1)
        return
    # Together they leave nothing.
    client.writer.write((b"x" * 998 + b"\r\n") * 8_388 + b"x" * (_EIGHTH - 8_388_000))
    await client.writer.drain()
    await client.code()


async def _big_mails_that_do_not_end(target: Target) -> tuple[int, float | None]:
    return await _held(target, 1, 8, _stay_in_data)


async def _chat(client: Client) -> None:
    while True:
        await client.ask(b"NOOP")
        await asyncio.sleep(1)


async def _all_places(target: Target) -> tuple[int, float | None]:
    return await _held(target, 4, 50, _chat)


async def _fill_the_disk(target: Target) -> tuple[int, float | None]:
    content = b"Subject: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * 9_000
    before = _size(target.folder)
    for number in range(31):
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(SECONDS), target.connection() as client:
                await client.mail(b"Message-ID: <%d@x>\r\n" % number + content)
    return 31, (_size(target.folder) - before) / 1e6


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


async def _guess(target: Target) -> tuple[int, float | None]:
    until = time.monotonic() + SECONDS
    answered = 0

    async def again(number: int) -> None:
        nonlocal answered
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with (
                    asyncio.timeout(until - time.monotonic()),
                    target.connection() as client,
                ):
                    await client.ask(b"MAIL FROM:<a@client.example>")
                    for guess in itertools.count():
                        line = b"RCPT TO:<sms-%d-%d@bridge.test>\r\n" % (number, guess)
                        client.writer.write(line * 50)
                        for _ in range(50):
                            code = await client.code()
                            answered += code == 550

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(again(number))
    return answered, answered / SECONDS


async def _half_requests(target: Target) -> tuple[int, float | None]:
    unanswered = 0
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(80):
            _, writer = await asyncio.open_connection(*target.daemon.http)
            stack.callback(writer.transport.abort)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        for _ in range(4):
            try:
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection(*target.daemon.http)
                    stack.callback(writer.transport.abort)
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    unanswered += not (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            except (OSError, TimeoutError):
                unanswered += 1
    return 80, unanswered


async def _typed_separator(target: Target) -> tuple[int, float | None]:
    """Text a second message in the provider's layout, as a person may: no mail is forged."""
    layout = "From: {}\r\nTo: 2\r\nText: {}\r\n"
    typed = "hi\r\n-----\r\n" + layout.format("MYBANK", "call 0900")
    head = "From: sms@several.example\r\nTo: any@open.test\r\nMessage-ID: <1@x>\r\n"
    date = "Date: Wed, 08 Apr 2026 12:30:52 +0000\r\n\r\n"
    async with target.connection() as client:
        await client.mail((head + date + layout.format("+39330", typed)).encode(), MAILBOX)
    await target.settled()
    if not any(each.data["from"] == "+39330" for each in target.receiver.all()):
        raise NoAttack("not even the honest message was read")
    forged = [each.data for each in target.receiver.all() if each.data["from"] == "MYBANK"]
    return 1, sum(not any("split" in str(said) for said in each["warnings"]) for each in forged)


def _stamped(text: str, by: str) -> bytes:
    results = f"Authentication-Results: {by}; spf=pass smtp.mailfrom=sms@stamped.example\r\n"
    return sms(text, "sms@stamped.example", results)


def _forgeries() -> Iterator[bytes]:
    """Make mails that only look believable."""
    spellings = (
        f'"{_ID}"', f"(x) {_ID}", f"(a(b)) {_ID}", '"mx.k\\itchen.example"', f'"\\{_ID}"',
        _ID.replace("k", "\u212a"), f"{_ID}.", f"x {_ID}", f"\x00{_ID}",
    )  # fmt: skip
    for number, spelled in enumerate(spellings):
        yield _stamped(f"forged {number}", spelled)
    for number, sender in enumerate((
        "smsin@agiletelecom.com", '"smsin@agiletelecom.com" <a@b.example>',
        "smsin@agiletelecom.com, a@b.example", "smsin@agiletelecom.com <a@b.example>",
        f"smsin@agiletelecom.com\r\nX-Original-To: {MAILBOX}",
        f"smsin@agiletelecom.com\r\nDelivered-To: {MAILBOX}",
    ), 100):  # fmt: skip
        yield sms(f"forged {number}", sender)


async def _forge(target: Target) -> tuple[int, float | None]:
    attempts = list(_forgeries())
    for raw in (_stamped("genuine", _ID), *attempts):
        async with target.connection() as client:
            await client.mail(raw)
    await target.settled()
    if "genuine" not in target.texts():
        raise NoAttack("not even what the server itself stamped is believed")
    return len(attempts), sum(text.startswith("forged") for text in target.texts())


async def _smuggle(target: Target) -> tuple[int, float | None]:
    """Hide a second mail, to the secret address, behind what only some servers take for an end."""
    ends = [b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\x00\r\n", b"\r\x00\n"]
    attempts = 0
    for number, (front, behind) in enumerate(itertools.product(ends, ends)):
        if b"\r\n.\r\n" in front + b"." + behind:  # an end for everybody
            continue
        attempts += 1
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1), target.connection() as client:
                await client.begin()
                client.writer.write(
                    b"Subject: x\r\n\r\nx" + front + b"." + behind
                    + b"MAIL FROM:<a@b.example>\r\nRCPT TO:<%b>\r\nDATA\r\n" % MAILBOX.encode()
                    + sms(f"smuggled {number}") + b"\r\n.\r\n"
                )  # fmt: skip
                await client.code()
    for line in (b"NOOP\nMAIL FROM:<a@b.example>", b"NOOP\n\rMAIL FROM:<a@b.example>"):
        attempts += 1
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1), target.connection() as client:
                await client.ask(line)
                await client.ask(b"RCPT TO:<%b>" % MAILBOX.encode())
                if await client.ask(b"DATA") == 354:
                    await client.mail(sms(f"smuggled by {line!r}"))
    await target.settled()
    return attempts, sum(text.startswith("smuggled") for text in target.texts())


def _filled(head: bytes, unit: bytes) -> bytes:
    return (_AGILE + head + unit * (_BIG // len(unit)))[:_BIG]


def _multipart(boundary: bytes) -> bytes:
    return b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n--%b\r\n' % (boundary, boundary)


_TYPE: Final = b"Content-Type: text/plain; charset="
LATE: Final = "others' mails refused"
ATTACKS: Final = (
    Attack("nothing", LATE, run=_nothing),
    Attack(
        "62 KB of To for a recipient's pattern", LATE,
        mail=b"From: sms@several.example\r\nTo: " + b"a" * 62_000 + b"\r\n\r\nx\r\n",
    ),
    Attack(
        "10 MB of hyphens in 20 multiparts", LATE,
        mail=_filled(b"".join(_multipart(b"%c" % each) for each in range(97, 117)), b"-\n"),
    ),
    Attack(
        "10 MB of HTML in 77 parts", LATE,
        mail=_filled(
            _multipart(b"b"), b"--b\r\nContent-Type: text/html\r\n\r\n" + b"<a>" * 43_000 + b"\r\n"
        ),
    ),
    Attack(
        "10 MB of flowed line ends", LATE,
        mail=_filled(b"Content-Type: text/plain; format=flowed\r\n\r\n", b"\r\n"),
    ),
    Attack(
        "10 MB of quoted-printable blanks", LATE,
        mail=_filled(
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
            b"=" + b" " * 60_000 + b"x\r\n",
        ),
    ),
    Attack(
        "10 MB of iso-2022-jp", LATE,
        mail=_filled(_TYPE + b"iso-2022-jp\r\n\r\n", b"a" * 70 + b"\r\n"),
    ),
    Attack("10 MB of CRLF and dots", LATE, mail=_filled(b"\r\n", b"\r\n.")),
    Attack("10 MB of labels", LATE, mail=_filled(b"\r\n", b"From: \r\n")),
    Attack("8 big mails that don't end, of 1 peer", LATE, run=_big_mails_that_do_not_end),
    Attack("200 slow connections of 4 peers", LATE, run=_all_places),
    Attack("31 mails of 9 MB, of 1 peer", "MB kept", 140, run=_fill_the_disk),
    Attack("guesses at a secret recipient", "answered/s", 60, run=_guess),
    Attack("80 half requests for /healthz", "of 4 unanswered", run=_half_requests),
    Attack("a separator typed into an SMS", "forged without warning", run=_typed_separator),
    Attack("From, To and results of a stranger", "believed", run=_forge),
    Attack("ends of mail and of line", "smuggled", run=_smuggle),
)  # fmt: skip

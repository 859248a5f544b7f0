"""Commands that relays read in another way, guessed recipients, bare LF, and costly mails."""

from __future__ import annotations

import asyncio
import time

import pytest

from bridge import mail, metrics
from bridge.model import Email
from bridge.sources.smtp.data import DataStream
from tests.conftest import Line
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, Taken, stored

SECRET = b"RCPT TO:<sms-5e0c2b61@bridge.example>"


@pytest.mark.parametrize("line_end", [b"\n", b"\n\r", b"\x00\n"])
async def test_a_bare_lf_ends_no_command(
    start: Start, connect: Connect, taken: Taken, line_end: bytes
) -> None:
    """The session ends there: what a relay takes for one line must not be several for us."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    rest = b"RCPT TO:<c@d>\r\nDATA\r\nhi\r\n.\r\n"
    await peer.send(b"MAIL FROM:<a@b>" + line_end + rest)
    assert await peer.rest() == b"500 5.5.2 Lines must end with CRLF, goodbye\r\n"
    assert taken.arrivals == []


@pytest.mark.parametrize("command", [b"NOOP\rQUIT", b"NOOP\r", b"\rNOOP", b"MAIL FROM:<a@b>\r"])
async def test_a_bare_cr_is_no_part_of_a_command(
    start: Start, connect: Connect, command: bytes
) -> None:
    """It is a syntax error, and the session goes on."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    assert await peer.codes(command, b"MAIL FROM:<a@b>") == ["500", "250"]


async def test_the_250_tells_a_stranger_nothing(
    start: Start, connect: Connect, taken: Taken, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the id of our Received header, and not how many mails came before."""
    peer = await connect(await start(new_id=lambda: "5e0c2b61a9d34f70"))
    await peer.greet()
    for _ in range(2):
        await peer.begin_mail()
        assert await peer.ask(MAIL + b".") == "250 2.0.0 Stored as 5e0c2b61a9d34f70"
    assert b"ESMTP id 5e0c2b61a9d34f70;" in taken.arrivals[1].raw


async def test_a_session_of_wrong_recipients_ends(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """Wrong recipients are mistakes: after twenty the connection is closed."""
    source = await start(recipients=("sms-5e0c2b61@bridge.example",))
    peer = await connect(source)
    await peer.greet()
    await peer.ask(b"MAIL FROM:<a@b>")
    guesses = [b"RCPT TO:<sms-%d@bridge.example>" % number for number in range(20)]
    assert set(await peer.codes(*guesses)) == {"550"}
    assert (await peer.ask(SECRET)).startswith("421 4.7.0")
    assert await peer.rest() == b""


GUESS = b"RCPT TO:<guess@bridge.example>"
SECRETS = ("sms-5e0c2b61@bridge.example",)


@pytest.mark.unhurried
async def test_guessing_on_new_connections_is_slow(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """A network gets an answer to a wrong guess each second."""
    source = await start(recipients=SECRETS)
    loop = asyncio.get_running_loop()
    answered = 0
    while loop.time() < 300:
        peer = await connect(source)
        await peer.greet()
        assert await peer.codes(b"MAIL FROM:<a@b>", *[GUESS] * 15) == ["250", *["550"] * 15]
        answered += 15
        peer.reset()
    assert 250 < answered < 350


@pytest.mark.unhurried
async def test_guessing_without_waiting_for_answers_is_barred(
    start: Start, connect: Connect, taken: Taken, lines: list[Line]
) -> None:
    """Who leaves before a late answer still owes it; then not even the right guess is answered."""
    source = await start(recipients=SECRETS)

    async def guess_and_go() -> None:
        peer = await connect(source)
        await peer.greet()
        assert await peer.codes(b"MAIL FROM:<a@b>") == ["250"]
        await peer.send(GUESS + b"\r\n")
        await asyncio.sleep(0.01)
        peer.reset()

    peer = await connect(source)
    await peer.greet()
    await peer.ask(b"MAIL FROM:<a@b>")
    while not source._shared.bars_guesses_of("127.0.0.1"):
        await guess_and_go()
    assert await peer.ask(SECRET) == "421 4.7.1 Too many unknown recipients, try again later"
    assert await peer.rest() == b""
    assert metrics.SMTP_TURNED_AWAY.labels("recipients")._value.get() > 0
    await asyncio.sleep(60)
    peer = await connect(source)
    await peer.greet()
    await peer.ask(b"MAIL FROM:<a@b>")
    assert await peer.codes(SECRET, b"DATA", MAIL + b".") == ["250", "354", "250"]
    # Now the network is known. It may be a relay: guesses behind it must not stop its mail.
    for _ in range(40):
        await guess_and_go()
    peer = await connect(source)
    await peer.greet()
    await peer.ask(b"MAIL FROM:<a@b>")
    assert await peer.codes(SECRET, b"DATA", MAIL + b".") == ["250", "354", "250"]
    assert len(taken.arrivals) == 2


async def test_a_mail_with_bare_lf_is_read(start: Start, connect: Connect, taken: Taken) -> None:
    """Our Received header has its line ends; it isn't one long line; and only CRLF ends it."""
    peer = await connect(await start(max_line=5000))
    await peer.greet()
    await peer.begin_mail()
    content = MAIL.replace(b"\r\n", b"\n") + b"text\n.\nmore\n" * 1000
    assert await peer.ask(content + b"\r\n.") == stored()
    (arrival,) = taken.arrivals
    assert arrival.raw.endswith(b"\n" + content + b"\r\n")
    assert arrival.raw.startswith(b"Received: from client.example ([127.0.0.1])\n\tby ")
    email = mail.decode(arrival.raw)
    assert isinstance(email, Email)
    assert email.sender == "smsin@agiletelecom.com"
    assert email.sender_defect is None


async def test_a_mail_with_both_line_ends_in_its_headers_is_not_believed(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """As ever: two programs would see different headers in it."""
    peer = await connect(await start())
    await peer.greet()
    for content in (
        b"Subject: x\nFrom: a@b.example\r\n\r\nx\r\n",
        b"Subject: x\r\nFrom: a@b.example\n\r\nx\r\n",
    ):
        await peer.begin_mail()
        await peer.ask(content + b".")
        email = mail.decode(taken.arrivals[-1].raw)
        assert isinstance(email, Email)
        assert email.sender is None


@pytest.mark.parametrize(
    "piece", [b"\r\n.", b"\r\n.x", b"\r\n", b"\n", b"\r", b".", b"x" * 998 + b"\r\n", b"\r\n.\r"]
)
def test_the_worst_content_costs_little(piece: bytes) -> None:
    """Ten megabytes take a quarter of a second of processor time, no step more than 50 ms."""
    whole = (piece * (10 * 1024**2 // len(piece)))[: 10 * 1024**2] + b"x"
    chunks = [whole[place : place + 65536] for place in range(0, len(whole), 65536)]
    stream = DataStream()
    longest = 0.0
    began = last = time.thread_time()
    for chunk in chunks:
        stream.feed(chunk)
        longest = max(longest, time.thread_time() - last)
        last = time.thread_time()
    stream.feed(b"\r\n.\r\n")
    stream.has_line_over(65536)
    stream.content(b"Received: x" + stream.line_end)
    longest = max(longest, time.thread_time() - last)
    assert longest < 0.05
    assert time.thread_time() - began < 0.25

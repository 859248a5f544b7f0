"""However the network cuts what a peer sends, and whenever it comes, it means the same."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from collections.abc import Iterable
from typing import cast

import pytest

from bridge.model import Arrival, Receipt
from bridge.net.limits import Guesses, Pace
from bridge.sources.smtp.incoming import IncomingMail
from bridge.sources.smtp.session import MAX_COMMANDS, SmtpSession
from bridge.sources.smtp.source import SmtpSource
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, Peer, Taken, stored

# Two mails, the second pipelined behind the first one's end; dots, NULs, false ends of all kinds.
FIRST = b"\x00..\r\n..x\r\r\n.\n\r\n\n.\r\n.\r.\r\n"
SECOND = b"hi\r\n"
TALK = (
    b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + FIRST + b".\r\n"
    b"mail from:<e@f> SIZE=9\r\nNONSENSE \x00\xff\r\nRCPT TO:<g@h>\r\nDATA\r\n" + SECOND + b".\r\n"
    b"QUIT\r\nNOOP\r\n"
)  # fmt: skip
PLACES = range(1, len(TALK))
READ_AT_ONCE = 256 * 1024  # bytes that an event loop may give at most


def session_of(source: SmtpSource) -> SmtpSession:
    """Give the only session, to which bytes can be given exactly as cut here."""
    (session,) = source._shared.sessions
    return cast("SmtpSession", session)


async def said_to(source: SmtpSource, peer: Peer, pieces: Iterable[bytes]) -> bytes:
    """Let pieces arrive one by one, other things in between; return all replies."""
    session = session_of(source)
    for piece in pieces:
        session.data_received(piece)
        await asyncio.sleep(0)
    return await peer.rest()


async def test_whatever_the_cut_it_is_the_same_talk(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """Cut in two at each place, and into single bytes: the same replies, the same two mails."""
    source = await start(new_id=lambda: "0" * 16)
    whole = await said_to(source, await connect(source), [TALK])
    assert [line[:3] for line in whole.splitlines() if line[3:4] == b" "] == [
        b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"502", b"250", b"354", b"250",
        b"221",
    ]  # fmt: skip
    assert taken.contents == [FIRST.replace(b"\r\n.", b"\r\n"), SECOND]
    cuts = [[TALK[:place], TALK[place:]] for place in PLACES]
    for pieces in [*cuts, [TALK[place : place + 1] for place in range(len(TALK))]]:
        taken.arrivals.clear()
        assert await said_to(source, await connect(source), pieces) == whole, pieces
        assert taken.contents == [FIRST.replace(b"\r\n.", b"\r\n"), SECOND], pieces


async def test_what_is_pipelined_behind_a_mail_waits_for_its_commit(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """However much it is, it stays with the sender: no reply, and no memory of ours."""
    gate = asyncio.Event()

    async def accept(arrival: Arrival) -> Receipt:
        await gate.wait()
        return await taken(arrival)

    source = await start(accept)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    session = session_of(source)
    sending = asyncio.create_task(_flood(peer, MAIL + b".\r\n" + b"NOOP\r\n" * 5_000_000))
    most = 0
    try:
        for _ in range(200):
            await asyncio.sleep(0.001)
            most = max(most, len(session._unread))
        assert not sending.done()
        assert not cast("asyncio.Transport", session.transport).is_reading()
        assert 0 < most <= READ_AT_ONCE + 2 * 16 * 1024
        assert session._commands == 4  # EHLO and those of the mail
    finally:
        gate.set()
    await peer.rest()
    await sending
    assert session._commands == MAX_COMMANDS + 1  # and there it ended, with most of it unread
    assert len(taken.arrivals) == 1


async def _flood(peer: Peer, data: bytes) -> None:
    try:
        peer.writer.write(data)
        await peer.writer.drain()
    except ConnectionError:
        pass


async def test_nobody_is_obeyed_who_does_not_read_the_replies(
    start: Start, connect: Connect
) -> None:
    """While what we wrote lies unsent, commands wait; then they are obeyed in order."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    session = session_of(source)
    session.pause_writing()
    await peer.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    async with asyncio.timeout(PATIENCE):
        while not session._unread:
            await asyncio.sleep(0)
    assert session._commands == 1
    session.resume_writing()
    assert [(await peer.reply())[:3] for _ in range(2)] == ["250", "250"]
    assert session._commands == 3


async def test_what_came_first_is_read_first(start: Start, connect: Connect, taken: Taken) -> None:
    """A piece that comes the moment others may be read again is read behind them."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    session = session_of(source)
    session.pause_writing()
    session.data_received(b"one\r\n")
    session.resume_writing()
    session.data_received(b"two\r\n.\r\n")
    assert await peer.reply() == stored()
    assert taken.contents == [b"one\r\ntwo\r\n"]


async def test_a_bug_after_the_commit_ends_nothing(
    start: Start,
    connect: Connect,
    taken: Taken,
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mail is stored, its sender keeps it and sends it again, and the session goes on."""
    source = await start()

    def broken(*_: object) -> object:
        raise RuntimeError("secret words")

    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    with monkeypatch.context() as patched:
        patched.setattr(Pace, "next_window", broken)
        assert await peer.ask(MAIL + b".") == "451 4.3.0 An error of ours, try again later"
    assert [line["event"] for line in lines] == ["smtp.bug"]
    lines.clear()
    assert await peer.codes(b"NOOP") == ["250"]
    assert len(taken.arrivals) == 1


async def test_a_big_piece_gives_the_others_a_turn(start: Start, connect: Connect) -> None:
    """The next one is read a turn later, so that a fast sender does not have the loop alone."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    session = session_of(source)
    transport = cast("asyncio.Transport", session.transport)
    session.data_received(b"x\r\n" * 30_000)
    assert not transport.is_reading()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.is_reading()
    assert (await peer.ask(b".")).startswith("250")


@pytest.mark.unhurried
async def test_commands_behind_one_that_waits_come_after_it(start: Start, connect: Connect) -> None:
    """A wrong guess is answered late, and what was pipelined behind it is not answered before."""
    source = await start(recipients=("sms@bridge.example",))
    source._shared.guesses = Guesses(0, 2.0)
    peer = await connect(source)
    await peer.greet()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await peer.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<sms@bridge.example>\r\nNOOP\r\n")
    peer.writer.write_eof()
    said = [(await peer.reply())[:7] for _ in range(4)]
    assert said == ["250 2.0", "550 5.1", "250 2.0", "250 2.0"]
    assert loop.time() - began > 1.9
    assert await peer.rest() == b""


@pytest.mark.unhurried
async def test_who_leaves_while_a_command_waits_leaves_nothing(
    start: Start, connect: Connect
) -> None:
    """The wait ends with the connection."""
    source = await start(recipients=("sms@bridge.example",))
    source._shared.guesses = Guesses(0, 9.0)
    peer = await connect(source)
    await peer.greet()
    await peer.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    session = session_of(source)
    async with asyncio.timeout(PATIENCE):
        while session._task is None:
            await asyncio.sleep(0)
    waiting = session._task
    peer.reset()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not source._shared.sessions


async def test_commands_behind_starttls_are_discarded_even_after_a_commit(
    start: Start,
    connect: Connect,
    taken: Taken,
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
) -> None:
    """What waited with STARTTLS behind a mail's commit came in the clear: it counts for nothing."""
    source = await start(**tls_settings)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    injected = b"EHLO evil\r\nMAIL FROM:<e@f>\r\nRCPT TO:<c@d>\r\nDATA\r\nevil\r\n.\r\n"
    await peer.send(MAIL + b".\r\nSTARTTLS\r\n" + injected)
    assert await peer.reply() == stored()
    assert (await peer.reply()).startswith("220")
    async with asyncio.timeout(PATIENCE):
        await peer.writer.start_tls(trusting, server_hostname="127.0.0.1")
    assert await peer.codes(b"NOOP", b"MAIL FROM:<a@b>") == ["250", "503"]
    assert len(taken.arrivals) == 1


async def test_nothing_said_in_the_clear_gets_between_220_and_the_handshake(
    start: Start,
    connect: Connect,
    lines: list[Line],
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
) -> None:
    """Once STARTTLS is obeyed only TLS is read: a command there spoils the handshake."""
    source = await start(**tls_settings)
    peer = await connect(source)
    await peer.greet()
    session = session_of(source)
    session.data_received(b"STARTTLS\r\n")
    await peer.send(b"EHLO evil\r\n")
    assert (await peer.reply()).startswith("220")
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on who notices first
        async with asyncio.timeout(PATIENCE):
            await peer.writer.start_tls(trusting, server_hostname="127.0.0.1")
    async with asyncio.timeout(PATIENCE):
        await source._shared.empty.wait()
    assert session._commands == 2
    assert [line["event"] for line in lines] == ["smtp.tls_failed"]


async def test_tls_does_not_begin_while_replies_lie_unsent(
    start: Start,
    connect: Connect,
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
) -> None:
    """Of replies that are read later only the TLS layer would be told, which knows of none."""
    source = await start(**tls_settings)
    peer = await connect(source)
    await peer.greet()
    session = session_of(source)
    wire = cast("asyncio.Transport", session.transport)
    cast("asyncio.Transport", peer.writer.transport).pause_reading()
    wire.set_write_buffer_limits(high=1 << 28)
    while not wire.get_write_buffer_size():
        wire.write(b"250 " + b"x" * 50_000 + b"\r\n")
    # So that the next reply is the one that is too many.
    unsent = wire.get_write_buffer_size()
    wire.set_write_buffer_limits(high=unsent, low=unsent - 1)
    session.data_received(b"STARTTLS\r\n")
    cast("asyncio.Transport", peer.writer.transport).resume_reading()
    while (said := await peer.reply()).startswith("250 x"):
        pass
    assert said == "454 4.7.0 Read the replies first"
    assert (await peer.ask(b"STARTTLS")).startswith("220")
    async with asyncio.timeout(PATIENCE):
        await peer.writer.start_tls(trusting, server_hostname="127.0.0.1")
    assert await peer.codes(b"EHLO x", b"NOOP") == ["250", "250"]


async def test_what_came_before_the_end_of_input_is_obeyed(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """Even when the end comes the moment the peer has read our replies, before the rest goes on."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    session = session_of(source)
    session.pause_writing()
    session.data_received(MAIL + b".\r\nNOOP\r\n")
    session.resume_writing()
    session.eof_received()
    assert await peer.reply() == stored()
    assert (await peer.reply()).startswith("250")
    assert await peer.rest() == b""
    assert taken.contents == [MAIL]


async def test_a_bug_within_a_mail_ends_the_session(
    start: Start,
    connect: Connect,
    taken: Taken,
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the mail ends is not known any more: no line of it may become a command."""
    source = await start()

    def broken(*_: object) -> object:
        raise RuntimeError("secret words")

    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    monkeypatch.setattr(IncomingMail, "feed", broken)
    await peer.send(b"x\r\nMAIL FROM:<e@f>\r\n")
    assert await peer.rest() == b"451 4.3.0 An error of ours, try again later\r\n"
    assert [line["event"] for line in lines] == ["smtp.bug"]
    lines.clear()
    assert taken.arrivals == []


async def test_a_connection_leaves_no_cycle(start: Start, connect: Connect) -> None:
    """When it is over its session is gone at once, and waits for no collector."""
    source = await start()
    gc.collect()
    gc.disable()
    try:
        for end in (b"QUIT\r\n", b"", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf a mail"):
            peer = await connect(source)
            await peer.greet()
            await peer.begin_mail()
            assert (await peer.ask(MAIL + b".")).startswith("250")
            gone = weakref.ref(session_of(source))
            await peer.send(end)
            if end == b"QUIT\r\n":
                await peer.rest()
            else:
                peer.reset()
            async with asyncio.timeout(PATIENCE):
                await source._shared.empty.wait()
                while gone() is not None:
                    await asyncio.sleep(0.001)
    finally:
        gc.enable()

"""What a peer may not take of us: size, memory, time, connections."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from pathlib import Path

import pytest

from bridge import metrics
from bridge.config.settings import SmtpSettings
from bridge.net.limits import SMALL, Budget, Share
from bridge.sources.smtp.source import SmtpSource
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, Peer, Taken, pinned_time
from tests.sources.smtp.test_commit import Gate

MIB = 1024**2


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


async def flood(peer: Peer, piece: bytes, pieces: int) -> None:
    """Send until all is sent or the other side has had enough."""
    try:
        for _ in range(pieces):
            peer.writer.write(piece)
            await peer.writer.drain()
    except ConnectionError:
        pass


def fill(budget: Budget) -> list[Share]:
    """Fill a budget with small mails of other peers."""
    shares: list[Share] = []
    while room := budget._most - budget.used:
        shares.append(budget.share(f"peer {len(shares)}"))
        assert shares[-1].grow(min(room, SMALL))
    return shares


async def test_a_mail_of_the_greatest_size_is_taken(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """The limit counts the mail's own bytes, not the doubled dots nor the end."""
    source = await start(max_message=3000)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    assert (await peer.ask(b"..\r\n" * 1000 + b".")).startswith("250")
    assert taken.contents == [b".\r\n" * 1000]


async def test_a_mail_over_the_size_is_refused_at_its_end(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """One byte more gets 552, and the session goes on."""
    source = await start(max_message=3000)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    assert await peer.ask(b"x" * 2999 + b"\r\n.") == "552 5.3.4 The mail is bigger than 3000 bytes"
    await peer.begin_mail()
    assert (await peer.ask(b"x" * 100_000 + b"\r\n.")).startswith("552 5.3.4")
    await peer.begin_mail()
    assert (await peer.ask(MAIL + b".")).startswith("250")
    assert taken.contents == [MAIL]


async def test_a_declared_size_over_the_limit_is_refused_before_it_is_sent(
    start: Start, connect: Connect
) -> None:
    """SIZE= in MAIL saves the transfer."""
    source = await start(max_message=3000)
    peer = await connect(source)
    await peer.greet()
    assert await peer.codes(b"MAIL FROM:<a@b> SIZE=3001", b"MAIL FROM:<a@b> SIZE=3000") == [
        "552", "250",
    ]  # fmt: skip


@pytest.mark.parametrize("piece", [b"x" * 65536, b"x\r\n" * 21845, b"\r\n.x" * 16384])
async def test_sixty_megabytes_do_not_grow_the_process(
    start: Start, connect: Connect, taken: Taken, piece: bytes
) -> None:
    """A stream over the limit, with lines or without, is not kept and is cut off."""
    source = await start(max_message=4 * MIB)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    before = resident()
    await flood(peer, piece, 60 * MIB // len(piece))
    async with asyncio.timeout(PATIENCE):
        await source._shared.empty.wait()
    assert resident() - before < 24 * MIB
    assert taken.arrivals == []


async def test_a_long_line_is_refused(start: Start, connect: Connect, taken: Taken) -> None:
    """max_line is allowed, a byte more is 552; 1,001 bytes are nothing special."""
    source = await start(max_line=5000)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    assert (await peer.ask(b"x" * 5000 + b"\r\n.")).startswith("250")
    await peer.begin_mail()
    assert (await peer.ask(b"x" * 5001 + b"\r\n.")).startswith("552 5.3.4 A line is longer")
    assert len(taken.arrivals) == 1


async def test_recipients_over_the_limit_are_deferred(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """452 for those too many; the mail goes to the others, and the sender sends it again."""
    source = await start(max_recipients=2)
    peer = await connect(source)
    await peer.greet()
    assert await peer.codes(
        b"MAIL FROM:<a@b>", b"RCPT TO:<1@d>", b"RCPT TO:<2@d>", b"RCPT TO:<3@d>", b"DATA", b"."
    ) == ["250", "250", "250", "452", "354", "250"]
    assert taken.arrivals[0].recipients == ("1@d", "2@d")


async def test_the_memory_budget_is_over_all_connections(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """Mails that are being committed count; who finds no room is told to try again."""
    gate = Gate()
    source = await start(gate, memory=3000, max_message=1500)
    first, second, third = [await connect(source) for _ in range(3)]
    for peer in (first, second, third):
        await peer.greet()
        await peer.begin_mail()
    content = b"x" * 1400 + b"\r\n.\r\n"
    await first.send(content)
    await second.send(content)
    async with asyncio.timeout(PATIENCE):
        while len(source._commits) < 2:
            await asyncio.sleep(0.01)
    assert await third.ask(content[:-2]) == "452 4.3.1 Too much mail at the moment, try again later"
    gate.opened.set()
    assert (await first.reply()).startswith("250")
    assert (await second.reply()).startswith("250")
    await third.begin_mail()
    assert (await third.ask(content[:-2])).startswith("250")
    assert [line["event"] for line in lines] == ["smtp.no_room"]


async def test_a_spent_budget_is_told_before_the_mail_is_sent(
    start: Start, connect: Connect
) -> None:
    """With nothing left, DATA itself is deferred."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    shares = fill(source._shared.budget)
    assert await peer.codes(b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA") == ["250", "250", "452"]
    for share in shares:
        share.close()
    await peer.begin_mail()
    assert (await peer.ask(b".")).startswith("250")


async def test_connections_are_limited_in_all(start: Start, connect: Connect) -> None:
    """One too many hears 421 and is closed; when one leaves, the next is welcome."""
    source = await start(max_connections=2)
    one, two = await connect(source), await connect(source)
    await one.greet()
    await two.greet()
    three = await connect(source)
    assert await three.reply() == "421 4.7.0 Too many connections, try again later"
    assert await three.rest() == b""
    await one.ask(b"QUIT")
    await one.rest()
    four = await connect(source)
    await four.greet()


async def test_a_flood_of_connections_is_one_line(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """The limit for each peer holds, the log stays short, and the gauge is right."""
    source = await start(max_connections_per_peer=1)
    first = await connect(source)
    await first.greet()
    for _ in range(100):
        peer = await connect(source)
        assert (await peer.reply()).startswith("421 4.7.0")
    assert [line["event"] for line in lines] == ["smtp.no_room"]
    assert metrics.REGISTRY.get_sample_value("smsbridge_smtp_connections") == 1


@pytest.mark.unhurried
async def test_an_idle_peer_is_sent_away(start: Start, connect: Connect) -> None:
    """Who says nothing, or nothing that counts, hears 421."""
    source = await start(idle_timeout=0.2)
    silent, busy = await connect(source), await connect(source)
    await silent.greet()
    await busy.greet()
    for _ in range(6):
        await asyncio.sleep(0.05)
        assert (await busy.ask(b"NOOP")).startswith("250")
    assert await silent.rest() == b"421 4.4.2 Nothing came for too long\r\n"


@pytest.mark.unhurried
async def test_a_slow_mail_is_taken_and_a_stalled_one_is_not(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """Bytes that come in re-arm the idle timer; a mail may take far longer than it."""
    source = await start(idle_timeout=0.3)
    slow, stalled = await connect(source), await connect(source)
    for peer in (slow, stalled):
        await peer.greet()
        await peer.begin_mail()
    await stalled.send(b"hi\n.\n")  # bare LF: the end never comes
    for _ in range(12):
        await asyncio.sleep(0.05)
        await slow.send(b"xxxxx\r\n")
    assert (await slow.ask(b".")).startswith("250")
    assert await stalled.rest() == (
        b"421 4.4.2 Nothing came for too long; lines must end with CRLF\r\n"
    )
    assert taken.contents == [b"xxxxx\r\n" * 12]


@pytest.mark.unhurried
async def test_a_long_session_ends_between_two_mails(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """After session_timeout a mail that has begun may end; the next command hears 421."""
    source = await start(session_timeout=0.2, idle_timeout=5)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    await asyncio.sleep(0.3)
    assert (await peer.ask(MAIL + b".")).startswith("250")
    assert (await peer.ask(b"MAIL FROM:<a@b>")).startswith("421 4.4.2")
    assert await peer.rest() == b""
    assert len(taken.arrivals) == 1


@pytest.mark.unhurried
async def test_a_peer_that_drips_is_cut_off_in_the_end(
    start: Start, connect: Connect, taken: Taken
) -> None:
    """A mail that comes byte by byte ends with the session's deadline and one idle timeout."""
    source = await start(session_timeout=0.3, idle_timeout=0.3)
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while source._shared.sessions and loop.time() - began < 5:
        await flood(peer, b"x", 1)
        await asyncio.sleep(0.02)
    assert loop.time() - began < 2
    assert taken.arrivals == []


@pytest.mark.unhurried
async def test_a_peer_that_does_not_read_is_cut_off(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies that nobody reads fill the buffers; the goodbye too, and then it is cut."""
    monkeypatch.setattr("bridge.sources.smtp.connection.LINGER", 0.1)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted ones inherit it
    listening.setblocking(False)
    settings = SmtpSettings(listen=("systemd:smtp",), idle_timeout=0.3)
    source = SmtpSource(settings, taken, {"smtp": (listening,)}, clock=pinned_time)
    run = asyncio.create_task(source.run())
    await source.listening.wait()
    loop = asyncio.get_running_loop()
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.setblocking(False)
        await loop.sock_connect(silent, listening.getsockname())
        await loop.sock_sendall(silent, b"EHLO x\r\n" * 999)
        async with asyncio.timeout(PATIENCE):
            while not source._shared.sessions:
                await asyncio.sleep(0.01)
            await source._shared.empty.wait()
    run.cancel()
    await asyncio.wait([run])


async def test_a_mail_that_is_refused_is_not_kept(start: Start, connect: Connect) -> None:
    """Once the budget refused a mail, the rest of it is read and thrown away."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    shares = fill(source._shared.budget)
    for share in shares[-3:]:
        share.close()
    tracemalloc.start()  # not the resident size: what earlier tests freed would be used again
    try:
        await flood(peer, b"x" * 65534 + b"\r\n", 9 * MIB // 65536)
        assert tracemalloc.get_traced_memory()[0] < 3 * MIB
    finally:
        tracemalloc.stop()
    assert (await peer.ask(b".")).startswith("452 4.3.1")
    for share in shares:
        share.close()

"""A few peers that take all they can get keep no other peer's mail out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from bridge import metrics
from bridge.sources.smtp.source import SmtpSource
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, Peer, Taken

pytestmark = pytest.mark.unhurried

GOOD = "127.0.0.99"
MIB = 1024**2
CUT_OFF = {"smtp.no_room", "smtp.idle", "smtp.too_many_commands", "smtp.session_too_long"}

Attack = Callable[[Peer], Awaitable[None]]


def turned_away(limit: str) -> float:
    return metrics.SMTP_TURNED_AWAY.labels(limit)._value.get()


@asynccontextmanager
async def flood(
    source: SmtpSource, addresses: Iterable[str], attack: Attack
) -> AsyncIterator[None]:
    """Run an attack from each address, which comes back at once whenever it is cut off."""

    async def again(address: str) -> None:
        while True:
            peer = await Peer.connect(source.addresses[0], come_from=address)
            try:
                await attack(peer)
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.01)
            finally:
                peer.reset()

    tasks = [asyncio.create_task(again(address)) for address in addresses]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        async with asyncio.timeout(PATIENCE):
            await source._shared.empty.wait()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


async def read_on(peer: Peer) -> None:
    """Read what comes, so that the end of the connection is noticed."""
    if peer.reader.at_eof():
        raise ConnectionResetError
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            if not await peer.reader.read(4096):
                raise ConnectionResetError


async def hold_a_place(peer: Peer) -> None:
    """Say something harmless each second, for ever."""
    await peer.send(b"EHLO x\r\n")
    while True:
        await read_on(peer)
        await peer.send(b"NOOP\r\n")


async def deliver(source: SmtpSource, content: bytes = MAIL, address: str = GOOD) -> str:
    """Send one mail as a careful server does, and return the reply."""
    peer = await Peer.connect(source.addresses[0], come_from=address)
    try:
        if not (greeting := await peer.reply()).startswith("220"):
            return greeting
        for command in (b"EHLO good.example", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>"):
            if not (reply := await peer.ask(command)).startswith("250"):
                return reply
        if not (reply := await peer.ask(b"DATA")).startswith("354"):
            return reply
        return await peer.ask(content + b".")
    finally:
        peer.reset()


def refused(replies: Iterable[str]) -> list[str]:
    return [reply for reply in replies if not reply.startswith("250")]


async def test_slow_connections_of_four_addresses(
    start: Start, taken: Taken, lines: list[Line]
) -> None:
    """They take all 200 places; each of 78 good mails is stored at the first try."""
    source = await start()
    addresses = [f"127.0.0.{2 + number}" for number in range(4)]
    evicted = turned_away("evicted")
    async with flood(source, addresses * 50, hold_a_place):
        await until(lambda: len(source._shared.limiter) == 200)
        assert refused([await deliver(source) for _ in range(78)]) == []
        staying = await Peer.connect(source.addresses[0], come_from=GOOD)  # who lost it comes back
        await until(lambda: source.report().problem is not None)
        staying.reset()
    assert len(taken.arrivals) == 78
    assert turned_away("evicted") > evicted
    assert {line["event"] for line in lines} <= CUT_OFF


async def test_strangers_with_one_connection_each(
    start: Start, taken: Taken, lines: list[Line]
) -> None:
    """They take no place from each other, but a peer whose mail was believed gets one."""
    source = await start(max_connections=20)
    assert refused([await deliver(source)]) == []
    await until(lambda: not source._shared.sessions)
    async with flood(source, [f"127.0.1.{number + 1}" for number in range(30)], hold_a_place):
        await until(lambda: len(source._shared.limiter) == 20)
        assert (await deliver(source, address="127.0.0.98")).startswith("421 4.7.0")
        assert refused([await deliver(source) for _ in range(30)]) == []
        assert "turning peers away for want of room" in (source.report().problem or "")
    assert len(taken.arrivals) == 31
    assert {line["event"] for line in lines} <= CUT_OFF


async def test_eight_big_mails_of_one_address(
    start: Start, taken: Taken, lines: list[Line]
) -> None:
    """Eight connections inside DATA hold a part of the memory; all other mails fit."""
    source = await start()
    holding = 0

    async def hold_memory(peer: Peer) -> None:
        nonlocal holding
        await peer.greet()
        await peer.begin_mail()
        for _ in range(8 * 16):
            await peer.send(b"x" * 65534 + b"\r\n")
        holding += 1
        while True:
            await peer.send(b"x" * 126 + b"\r\n")
            await asyncio.sleep(1)

    async with flood(source, ["127.0.0.2"] * 8, hold_memory):
        await until(lambda: holding >= 8)
        line = b"x" * 998 + b"\r\n"
        contents = [MAIL, line * 30, line * 1000, line * 9000] * 5
        replies = [await deliver(source, content) for content in contents]
        assert refused(replies) == []
        assert source._shared.budget.used > 0
        assert source.report().problem is None  # only the attacker was refused
    assert len(taken.arrivals) == 20
    assert turned_away("memory_per_peer")
    assert {line["event"] for line in lines} <= CUT_OFF


async def test_many_big_mails_leave_room_for_small_ones(
    start: Start, taken: Taken, lines: list[Line]
) -> None:
    """With the memory full of many peers' big mails, an SMS still fits; and health says so."""
    source = await start(memory=4 * MIB, max_message=MIB)

    async def hold_memory(peer: Peer) -> None:
        await peer.greet()
        await peer.begin_mail()
        for _ in range(14):
            await peer.send(b"x" * 65534 + b"\r\n")
        while True:
            await peer.send(b"x" * 126 + b"\r\n")
            await asyncio.sleep(1)

    addresses = [f"127.0.1.{number + 1}" for number in range(8)]
    async with flood(source, addresses, hold_memory):
        await until(lambda: source.report().problem is not None)
        assert source._shared.budget.used > 2 * MIB
        assert refused([await deliver(source) for _ in range(20)]) == []
    assert len(taken.arrivals) == 20
    assert {line["event"] for line in lines} <= CUT_OFF


async def test_a_slow_mail_is_cut_off(start: Start, connect: Connect, lines: list[Line]) -> None:
    """A byte a second re-arms the idle timer; it is less than the slowest line sends."""
    source = await start()
    peer = await connect(source)
    await peer.greet()
    await peer.begin_mail()
    rest = asyncio.create_task(peer.rest())
    while not rest.done():
        with contextlib.suppress(ConnectionError):
            await peer.send(b"x")
        await asyncio.sleep(1)
    assert rest.result() == b"421 4.4.2 Too slow, try again later\r\n"
    loop = asyncio.get_running_loop()
    assert loop.time() < 100  # the session itself may last 600 s
    assert [line["limit"] for line in lines] == ["rate"]


async def test_patience_shrinks_as_places_do(
    start: Start, connect: Connect, lines: list[Line]
) -> None:
    """An idle peer may stay for a minute while there is room, and for seconds without."""
    source = await start(max_connections=8)
    loop = asyncio.get_running_loop()
    peers = [await connect(source) for _ in range(8)]
    for peer in peers:
        await peer.greet()
    began = loop.time()
    await peers[0].rest()
    assert loop.time() - began < 20
    for peer in peers[4:]:
        peer.reset()
    alone = await connect(source)
    await until(lambda: len(source._shared.sessions) <= 2)
    await alone.greet()
    began = loop.time()
    await alone.rest()
    assert 55 < loop.time() - began < 65
    assert {line["event"] for line in lines} == {"smtp.idle"}

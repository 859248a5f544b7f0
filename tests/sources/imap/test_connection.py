"""A connection is renewed, kept alive and given up in time, and loses nothing when it breaks."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.errors import ImapUnavailable
from bridge.model import Arrival
from bridge.sources.imap import source
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.open import open_read_only
from tests.servers.scripted_imap import SECRET, USER, ScriptedImap, Session, scripted_imap
from tests.sources.imap.parts import Ledger, make_source, running, settings


@pytest.fixture
async def server() -> AsyncIterator[ScriptedImap]:
    async with scripted_imap() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short: 0.1 s is most of what these tests would take."""
    monkeypatch.setattr("bridge.sources.imap.source._LONGEST_PAUSE", 0.1)


def logins(server: ScriptedImap) -> int:
    return sum(words.startswith("LOGIN") for words in server.heard)


@pytest.mark.unhurried
async def test_a_commit_that_is_under_way_is_not_begun_again(
    server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next connection waits for the commits of the one that broke, and reads none of them."""
    monkeypatch.setattr("bridge.sources.imap.windows.WINDOW", 1)
    begun: list[bytes] = []
    again, opened = asyncio.Event(), asyncio.Event()

    async def gate(arrival: Arrival) -> None:
        if arrival.raw in begun:
            again.set()
        begun.append(arrival.raw)
        await opened.wait()

    async def break_at_the_second(session: Session, tag: str, words: str) -> str:
        if words.startswith("2 (UID BODY") and logins(server) == 1:
            session.writer.transport.abort()
        return await session.do_uid_fetch(words)

    server.instead["UID FETCH"] = break_at_the_second
    server.add(b"a")
    server.add(b"b")
    ledger = Ledger(before=gate)
    async with running(make_source(ledger, server.port)):
        await server.until_heard("UID FETCH 2 (UID BODY")
        try:
            # Longer than the pause before the next connection: it must not have begun.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(again.wait(), 0.4)
            assert logins(server) == 1
        finally:
            opened.set()
        await ledger.until_at(2)
    assert begun == [b"a", b"b"]
    assert logins(server) == 2


@pytest.mark.unhurried
async def test_idle_is_renewed_before_a_firewall_cuts_it(
    server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where polls are hours apart, IDLE ends and begins again all the same, many times an hour."""
    assert source._RENEW < 300
    monkeypatch.setattr(source, "_RENEW", 0.05)
    async with running(make_source(Ledger(), server.port, poll=7200)):
        await server.until_heard("idling", 3)
        assert logins(server) == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_the_kernel_looks_after_the_connection(certificates: Path, secure: bool) -> None:
    """TCP keep-alive is on, with TLS and without: a server that is gone is found out."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificates / "one.pem", certificates / "one.key")
    trusting = ssl.create_default_context(cafile=certificates / "one.pem")
    async with scripted_imap(ours if secure else None) as server:
        tls = trusting if secure else None
        client = await ImapClient.connect("127.0.0.1", server.port, tls, 5, max_literal=100)
        try:
            known = client._protocol.transport.get_extra_info("socket")
            with socket.socket(fileno=os.dup(known.fileno())) as connection:  # asked of the kernel
                assert connection.getpeername() == ("127.0.0.1", server.port)
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        finally:
            await client.logout()


# A big mail over a thin line

BIG = 1000  # bytes


async def drip(session: Session, tag: str, words: str) -> str:
    """Send a body in ten drops, over 0.4 s in all."""
    if "BODY" not in words:
        return await session.do_uid_fetch(words)
    session.writer.write(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % BIG)
    for _ in range(10):
        session.writer.write(b"x" * (BIG // 10))
        await asyncio.sleep(0.04)
        if session.writer.is_closing():
            raise ConnectionError("nobody listens any more")
    session.say(")")
    return "OK done"


@pytest.mark.unhurried
async def test_a_big_mail_may_come_slowly(
    server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has more time than `timeout`, as much as its size calls for, on the first connection."""
    monkeypatch.setattr("bridge.sources.imap.client._SLOWEST", BIG / 5)  # 5 s for it
    server.add(b"x" * BIG)
    server.instead["UID FETCH"] = drip
    async with open_read_only(settings(server.port, timeout=0.2)) as look:
        assert await look.fetch_raw(1) == b"x" * BIG
    ledger = Ledger()
    async with running(make_source(ledger, server.port, timeout=0.2)):
        await ledger.until_at(1)
    assert ledger.raws == [b"x" * BIG]
    assert logins(server) == 2  # one each


@pytest.mark.unhurried
async def test_a_mail_that_comes_too_slowly_is_given_up(
    server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who drips does not hold the connection for ever: there is a floor."""
    monkeypatch.setattr("bridge.sources.imap.client._SLOWEST", BIG * 10)  # 0.1 s for it
    server.add(b"x" * BIG)
    server.instead["UID FETCH"] = drip
    client = await ImapClient.connect("127.0.0.1", server.port, None, 0.2, max_literal=BIG)
    await client.login(USER, SECRET)
    with pytest.raises(ImapUnavailable, match=r"no answer within 0\.3 s"):
        await client.fetch_raw(1, BIG)
    assert client._protocol.lost is not None

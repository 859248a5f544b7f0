"""Connecting to a server by its name: whichever of its addresses takes us."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from bridge.net.connecting import connect
from bridge.net.loop import Address, Loop
from tests.patience import PATIENCE


def _address(family: int, host: str, port: int) -> Address:
    kind, proto = socket.SOCK_STREAM, socket.IPPROTO_TCP
    return socket.AddressFamily(family), kind, proto, "", (host, port)


def _connect(addresses: Sequence[Address]) -> tuple[str, int]:
    """Connect to a name that has these addresses; return the peer."""

    async def reached() -> tuple[str, int]:
        async with asyncio.timeout(PATIENCE):
            with await connect("imap.bridge.test", 143) as made:
                assert not made.getblocking()
                host, port = made.getpeername()
                return host, port

    with asyncio.Runner(loop_factory=lambda: Loop(lambda *_: list(addresses))) as runner:
        return runner.run(reached())


def test_the_first_address_that_takes_us() -> None:
    """An address that refuses is passed over."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        refusing = _address(socket.AF_INET, *deaf.getsockname())
        taking = _address(socket.AF_INET, *server.getsockname())
        assert _connect([refusing, taking, refusing]) == server.getsockname()


def test_an_address_that_leads_nowhere_holds_nobody_up() -> None:
    """A server that never answers a SYN, as behind a broken IPv6, costs a quarter of a second.

    Its own connecting would end after two minutes, which is longer than the patience here.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        ExitStack() as filling,
    ):
        for _ in range(3):  # what is waiting to be accepted fills the line
            one = filling.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        dead = _address(socket.AF_INET, *full.getsockname())
        taking = _address(socket.AF_INET, *server.getsockname())
        began = time.monotonic()
        assert _connect([dead, taking]) == server.getsockname()
        assert time.monotonic() - began > 0.2


def test_no_address_takes_us() -> None:
    """Where all refuse, their error is raised."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        refusing = _address(socket.AF_INET, *deaf.getsockname())
        with pytest.raises(ConnectionRefusedError):
            _connect([refusing, refusing])


def test_a_name_without_addresses() -> None:
    """A name that stands for no address at all is an OSError, too."""
    with pytest.raises(OSError, match="no address"):
        _connect([])

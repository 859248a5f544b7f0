"""Connecting to a server by its name: one address after the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

import pytest

from bridge.loop import Address, Loop
from bridge.sources.connect import connected

_PATIENCE: Final = 10.0


def _address(family: int, host: str, port: int) -> Address:
    kind, proto = socket.SOCK_STREAM, socket.IPPROTO_TCP
    return socket.AddressFamily(family), kind, proto, "", (host, port)


def _connect(addresses: Sequence[Address]) -> tuple[str, int]:
    """Connect to a name that has these addresses; return the peer."""

    async def connect() -> tuple[str, int]:
        async with asyncio.timeout(_PATIENCE):
            with await connected("imap.bridge.test", 143) as made:
                assert not made.getblocking()
                host, port = made.getpeername()
                return host, port

    with asyncio.Runner(loop_factory=lambda: Loop(lambda *_: list(addresses))) as runner:
        return runner.run(connect())


def test_the_first_address_that_takes_us() -> None:
    """An address that refuses is passed over."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        refusing = _address(socket.AF_INET, *deaf.getsockname())
        taking = _address(socket.AF_INET, *server.getsockname())
        assert _connect([refusing, taking, refusing]) == server.getsockname()


def test_no_address_takes_us() -> None:
    """Where all refuse, the last one's error is raised."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        refusing = _address(socket.AF_INET, *deaf.getsockname())
        with pytest.raises(ConnectionRefusedError):
            _connect([refusing, refusing])


def test_a_name_without_addresses() -> None:
    """A name that stands for no address at all is an OSError, too."""
    with pytest.raises(OSError, match="no address"):
        _connect([])

"""The daemon's event loop: a name that hangs is waited for by those alone who need it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Final

import pytest

from bridge.net.loop import Address, Host, Loop, Port
from tests.patience import PATIENCE

_FOUND: Final[Address] = (
    socket.AF_INET,
    socket.SOCK_STREAM,
    socket.IPPROTO_TCP,
    "",
    ("127.0.0.1", 80),
)


class Names:
    """A system whose names that begin with `dead` hang until `release`, and then fail."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: list[threading.Thread] = []
        self.hangs = threading.Event()
        self.release = threading.Event()

    def __call__(
        self, host: Host, port: Port, family: int, kind: int, proto: int, flags: int
    ) -> list[Address]:
        assert isinstance(host, str)
        self.asked.append(host)
        self.threads.append(threading.current_thread())
        if host.startswith("dead"):
            self.hangs.set()
            assert self.release.wait(PATIENCE)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server")
        return [_FOUND]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the daemon's loop, and let no thread outlive the test."""
        with asyncio.Runner(loop_factory=lambda: Loop(self)) as runner:
            runner.run(_in_time(work))
        self.release.set()
        for thread in self.threads:
            thread.join(PATIENCE)


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await work


@pytest.fixture
def names() -> Names:
    return Names()


def _ask(name: str) -> asyncio.Task[Any]:
    return asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo(name, 80))


def test_names_that_hang_hold_up_no_other_name(names: Names) -> None:
    """Any number of look-ups may hang, another name is found at once."""

    async def work() -> None:
        dead = [_ask(f"dead-{number}.test") for number in range(40)]
        assert await _ask("good.test") == [_FOUND]
        assert not any(each.done() for each in dead)

    names.run(work())


def test_an_ip_address_is_connected_to_without_asking(names: Names) -> None:
    """A socket is connected to an IP address, of either family, while look-ups hang."""

    async def work() -> None:
        _ask("dead.test")
        loop = asyncio.get_running_loop()
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with (
                socket.create_server((address, 0), family=family) as server,
                socket.socket(family) as client,
            ):
                client.setblocking(False)
                await loop.sock_connect(client, server.getsockname()[:2])

    names.run(work())
    assert names.asked == ["dead.test"]


def test_who_gives_up_leaves_the_look_up_to_the_others(names: Names) -> None:
    """However often a name is tried and given up, one thread asks, and who is left is told."""

    async def work() -> None:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await _ask("dead.test")
        others = [_ask("dead.test") for _ in range(2)]
        await asyncio.sleep(0)
        names.release.set()
        for each in others:
            with pytest.raises(socket.gaierror):
                await each

    names.run(work())
    assert names.asked == ["dead.test"]


def test_a_failure_that_nobody_waits_for_is_no_complaint(
    names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    """A look-up that fails after all have given up is forgotten, and the next one asks anew."""

    async def work() -> None:
        given_up = _ask("dead.test")
        await asyncio.to_thread(names.hangs.wait)
        given_up.cancel()
        names.release.set()
        await asyncio.to_thread(names.threads[0].join)
        gc.collect()
        assert caplog.records == []
        with pytest.raises(socket.gaierror):
            await _ask("dead.test")

    names.run(work())
    assert names.asked == ["dead.test"] * 2


def test_each_answer_is_asked_for_anew(names: Names) -> None:
    """Nothing is remembered here: a host that moves is found at its new place."""

    async def work() -> None:
        for _ in range(3):
            assert await _ask("good.test") == [_FOUND]

    names.run(work())
    assert names.asked == ["good.test"] * 3


def test_the_loop_ends_while_a_look_up_hangs(names: Names) -> None:
    """The loop closes without waiting for it, and its late end disturbs nobody."""

    async def work() -> None:
        _ask("dead.test")
        await asyncio.to_thread(names.hangs.wait)

    names.run(work())
    assert names.threads[0].daemon
    assert not names.threads[0].is_alive()


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "a..test"])
def test_what_is_no_name_is_not_known(name: str) -> None:
    """What cannot be written as a name is an OSError as every other unknown name is."""

    async def work() -> None:
        with pytest.raises(OSError, match="not a host's name"):
            await _ask(name)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(_in_time(work()))

"""Runs each test of a source on both event loops, and finds what it left behind."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from bridge import logs
from bridge.config.settings import SmtpSettings
from bridge.sources.smtp.source import SmtpSource
from tests.certificates import self_signed
from tests.conftest import Line
from tests.loops import pytest_asyncio_loop_factories
from tests.patience import PATIENCE
from tests.sources.peer import Accept, Peer, Taken, make_source

__all__ = ["pytest_asyncio_loop_factories"]

Start = Callable[..., Coroutine[None, None, SmtpSource]]
Connect = Callable[..., Coroutine[None, None, Peer]]


@pytest.fixture
def lines(lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """Give our log lines from warnings on."""
    monkeypatch.setattr(logs._output, "level", logging.WARNING)
    return lines


@pytest.fixture(autouse=True)
def no_stack(lines: list[Line], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves a stack in one of our lines, or any word of a library.

    A test that wants a stack clears the list.
    """
    caplog.set_level(logging.WARNING)
    yield
    assert [line for line in lines if "stack" in line] == []
    assert caplog.records == []


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
async def start(taken: Taken) -> AsyncIterator[Start]:
    """Start sources on free ports; at the end nothing may be left of them."""
    running: list[tuple[SmtpSource, asyncio.Task[None]]] = []

    async def begin(  # type: ignore[no-untyped-def]
        accept: Accept = taken,
        *,
        memory: int | None = None,
        new_id: Callable[[], str] | None = None,
        **settings: object,
    ):
        options = {"listen": ("127.0.0.1:0",), "hostname": "bridge.example"} | settings
        given = {"memory": memory, "new_id": new_id}
        more = {name: value for name, value in given.items() if value is not None}
        source = make_source(SmtpSettings.model_validate(options), accept, **more)
        running.append((source, asyncio.create_task(source.run())))
        async with asyncio.timeout(PATIENCE):
            await source.listening.wait()
        return source

    yield begin
    for source, run in running:
        await source.drain(PATIENCE)
        run.cancel()
        await asyncio.wait([run])
        assert source._shared.sessions == set()
        assert len(source._shared.limiter) == 0
        assert source._shared.budget.used == 0
        assert source._commits == set()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    peers: list[Peer] = []

    async def to(source: SmtpSource, **options: ssl.SSLContext) -> Peer:
        peers.append(await Peer.connect(source.addresses[0], **options))
        return peers[-1]

    yield to
    for peer in peers:
        peer.reset()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two certificates with their keys, `one.pem` + `one.key` and `two.pem` + `two.key`."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        self_signed(folder, name)
    return folder


@pytest.fixture
def tls_settings(certificates: Path) -> dict[str, object]:
    return {"tls_certificate": certificates / "one.pem", "tls_key": certificates / "one.key"}


@pytest.fixture
def trusting(certificates: Path) -> ssl.SSLContext:
    """Give a client's context that believes certificate one."""
    return ssl.create_default_context(cafile=certificates / "one.pem")

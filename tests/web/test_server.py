"""The web server answers the truth about health, and nothing makes it hang or talk too much."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge import metrics
from bridge.errors import ListenError, StoreUnavailable
from bridge.formats import sms_received
from bridge.model import Report
from bridge.net.limits import HTTP_LIMITS, HttpLimits
from bridge.process import Process
from bridge.web import Health, WebServer, pages
from tests.patience import PATIENCE


async def nothing() -> None:
    """Refresh nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@asynccontextmanager
async def serving(
    health: Health,
    refresh: Callable[[], Awaitable[None]] = nothing,
    listen: str = "127.0.0.1:0",
    limits: HttpLimits = HTTP_LIMITS,
) -> AsyncIterator[tuple[str, int]]:
    """Run a server on a free port; give its address."""
    web = WebServer(listen, health, refresh, limits=limits)
    await web.start()
    try:
        yield web.addresses[0]
    finally:
        await web.stop()


@asynccontextmanager
async def connected(
    address: tuple[str, int],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect, and close properly, which the server may have done already."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(PATIENCE):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def send(address: tuple[str, int], request: bytes) -> Answer:
    """Send raw bytes, read until the server closes, and take the answer apart."""
    async with connected(address) as (reader, writer):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    first, *rest = head.decode().rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in rest)}
    return Answer(int(first.split()[1]), headers, body.decode())


async def get(address: tuple[str, int], path: str) -> Answer:
    return await send(
        address, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )


async def test_healthy_is_200_and_sick_is_503_with_sentences() -> None:
    """/healthz follows the conditions, both ways."""
    health = Health()
    async with serving(health) as address:
        answer = await get(address, "/healthz")
        process = Process.named(os.getpid())
        assert process is not None
        own = {"pid": process.pid, "started": process.started}
        reload = {"count": 0, "ok": True, "changed": [], "needs_restart": []}
        assert (answer.status, json.loads(answer.body)) == (
            200,
            {"ok": True, "problems": [], "process": own, "reload": reload, "sources": {}},
        )
        health.show("imap.inbox", lambda: Report("connected", details={"lag_seconds": 1.5}))
        assert health.bad("store", "the database is locked")
        assert not health.bad("store", "the database is still locked")
        answer = await get(address, "/healthz")
        assert answer.status == 503
        assert json.loads(answer.body) == {
            "ok": False,
            "problems": ["store: the database is still locked"],
            "process": own,
            "reload": reload,
            "sources": {"imap.inbox": {"state": "connected", "lag_seconds": 1.5}},
        }
        assert health.good("store")
        assert not health.good("store")
        assert (await get(address, "/healthz")).status == 200


def test_parts_of_a_condition_are_good_and_bad_by_themselves() -> None:
    """One mailbox that is well again doesn't hide another one's trouble."""
    health = Health()
    assert health.bad("source", "a is away", "a")
    assert health.bad("source", "b is away", "b")
    assert not health.bad("source", "a is still away", "a")
    assert health.good("source", "a")
    assert not health.good("source", "a")
    assert health.problems == ("source: b is away",)


async def test_ready_from_start_to_drain() -> None:
    """/readyz is 503 before the start, 200 while running even if sick, 503 while draining."""
    health = Health()
    async with serving(health) as address:
        assert (await get(address, "/readyz")).status == 503
        health.start()
        health.bad("store", "full")
        assert (await get(address, "/readyz")).status == 200
        health.drain()
        answer = await get(address, "/readyz")
        assert (answer.status, "draining" in answer.body) == (503, True)


async def test_the_schema_of_the_webhook_is_served() -> None:
    """Receivers can fetch the schema that the bodies are validated against."""
    async with serving(Health()) as address:
        answer = await get(address, "/schemas/sms.received.json")
    assert answer.status == 200
    assert json.loads(answer.body) == json.loads(sms_received.schema())


async def test_metrics_are_refreshed_before_each_scrape() -> None:
    """/metrics asks for fresh gauges, then serves prometheus' text."""

    async def refresh() -> None:
        metrics.FREE_BYTES.set(12345)

    async with serving(Health(), refresh) as address:
        answer = await get(address, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }
    assert samples["smsbridge_free_bytes"] == 12345
    assert samples["smsbridge_store_up"] == 1
    assert "process_resident_memory_bytes" in samples


async def test_metrics_survive_a_store_that_is_away() -> None:
    """A store that fails turns STORE_UP to 0 and leaves the counters served."""

    async def refresh() -> None:
        raise StoreUnavailable("the database is locked")

    async with serving(Health(), refresh) as address:
        answer = await get(address, "/metrics")
    assert answer.status == 200
    assert "smsbridge_store_up 0.0" in answer.body


@pytest.mark.unhurried
async def test_metrics_do_not_wait_for_a_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes of a store that hangs are answered at the deadline and share one refresh."""
    monkeypatch.setattr(pages, "_REFRESH_SECONDS", 0.05)
    calls = 0
    go = asyncio.Event()

    async def refresh() -> None:
        nonlocal calls
        calls += 1
        await go.wait()

    async with serving(Health(), refresh) as address:
        answers = await asyncio.gather(*(get(address, "/metrics") for _ in range(3)))
        assert all("smsbridge_store_up 0.0" in answer.body for answer in answers)
        assert calls == 1
        go.set()
        assert "smsbridge_store_up 1.0" in (await get(address, "/metrics")).body


async def test_a_bug_is_a_500_that_tells_nothing() -> None:
    """An unforeseen exception of a page becomes a 500 without its text, and the server lives."""

    async def refresh() -> None:
        raise KeyError("+393301234567")

    async with serving(Health(), refresh) as address:
        answer = await get(address, "/metrics")
        assert answer.status == 500
        assert "393301234567" not in answer.body
        assert "KeyError" not in answer.body
        assert (await get(address, "/healthz")).status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 400),
    ],
)
async def test_bad_requests_are_refused_without_a_word_too_many(
    request_: bytes, status: int
) -> None:
    """Wrong paths, other protocols and oversized heads get a status, and no version of anything."""
    async with serving(Health()) as address:
        answer = await send(address, request_)
    assert answer.status == status
    assert answer.headers["server"] == "smsbridge"
    assert "aiohttp" not in answer.body
    assert "aaaa" not in answer.body


async def test_a_dripping_client_is_cut() -> None:
    """A connection that never finishes its request ends at the deadline."""
    limits = HttpLimits(first_seconds=0.05, seconds=0.05, closing_seconds=0.05)
    async with serving(Health(), limits=limits) as address, connected(address) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
        assert await reader.read() == b""


async def test_connections_are_limited() -> None:
    """One connection more than allowed is closed at once; afterwards there is room again."""
    async with serving(Health(), limits=HttpLimits(connections=1)) as address:
        async with connected(address) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"{}}")
            async with connected(address) as (turned_away, _):
                assert await turned_away.read() == b""
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert await reader.read()
        assert (await get(address, "/healthz")).status == 200


async def test_an_empty_address_is_no_server() -> None:
    """An empty address starts nothing and stops without complaint."""
    web = WebServer("", Health(), nothing)
    await web.start()
    assert web.addresses == ()
    await web.stop()


async def test_an_address_that_is_taken_is_told() -> None:
    """A port in use is a ListenError that names it, and leaves nothing behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        web = WebServer(listen, Health(), nothing)
        with pytest.raises(ListenError, match=f"http.listen: cannot listen on {listen}: .*in use"):
            await web.start()
        assert web.addresses == ()


async def test_a_socket_of_systemd_is_served() -> None:
    """The address systemd:NAME serves the socket that was handed over, or says it was not."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    address = sock.getsockname()
    web = WebServer("systemd:http", Health(), nothing, {"http": (sock,)})
    await web.start()
    assert (await get(address, "/healthz")).status == 200
    await web.stop()
    web = WebServer("systemd:http", Health(), nothing)
    with pytest.raises(ListenError, match="no socket named 'http'"):
        await web.start()


async def test_ipv6_is_served() -> None:
    """[::1]:0 listens on IPv6."""
    async with serving(Health(), listen="[::1]:0") as address:
        assert address[0] == "::1"
        assert (await get(address, "/healthz")).status == 200


async def test_stop_ends_open_connections() -> None:
    """A client that keeps its connection open does not hold up the shutdown."""
    web = WebServer("127.0.0.1:0", Health(), nothing)
    await web.start()
    async with connected(web.addresses[0]) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"{}}")
        await web.stop()
        assert await reader.read() == b""

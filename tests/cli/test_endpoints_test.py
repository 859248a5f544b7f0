"""`smsbridge endpoints test`: what it finds in receivers that verify, and in those that don't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from bridge.delivery.endpoint import Endpoint
from bridge.net.tls import client_context
from bridge.operations.endpoint_test import examine
from bridge.signing import SCHEMES
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from tests.cli.conftest import Ran
from tests.delivery import servers
from tests.patience import PATIENCE
from tests.servers.daemon import Config
from tests.servers.ports import steady_port
from tests.servers.receiver import Answer, Exchange, Receiver, status, taken

Smsbridge = Callable[..., Ran]
SECRET = generate_secret()
ALL = ["valid", "prompt", "repeated", "slow", "cut off", "wrong secret", "tampered", "stale"]


async def verifying(exchange: Exchange) -> None:
    """Take what the receiver's library verifies, and nothing else."""
    await (taken if exchange.webhook.verified else status(401))(exchange)


def once() -> Answer:
    """Take each id once only, and what is wrong not at all."""
    seen: set[str] = set()

    async def answer(exchange: Exchange) -> None:
        new = exchange.webhook.id not in seen
        seen.add(exchange.webhook.id)
        await (verifying if new else status(409))(exchange)

    return answer


RECEIVERS: dict[str, tuple[Answer, set[str]]] = {
    "right": (verifying, set()),
    "verifies nothing": (taken, {"wrong secret", "tampered", "stale"}),
    "takes each once": (once(), {"repeated"}),
}


@pytest.mark.parametrize("name", RECEIVERS)
def test_each_mistake_is_found_and_no_other(
    smsbridge: Smsbridge, tmp_path: Path, name: str
) -> None:
    """Every receiver gets the same requests, marked as pings; what is wrong has advice."""
    answer, wrong = RECEIVERS[name]
    with Receiver(SECRET, answer) as receiver:
        config = Config(
            {"crm": receiver.url}, SECRET, extra={"crm": [f'timeout = "{2 * PATIENCE}s"']}
        ).write(tmp_path)
        ran = smsbridge("endpoints", "test", "crm", "-c", config, "--json")
        assert [each["name"] for each in ran.document["checks"]] == ALL
        assert {each["name"] for each in ran.document["checks"] if not each["ok"]} == wrong
        assert all((each["advice"] is None) is each["ok"] for each in ran.document["checks"])
        assert (ran.code, ran.document["ok"]) == (1 if wrong else 0, not wrong)
        assert {json.loads(each.body)["type"] for each in receiver.all()} == {"smsbridge.ping"}
        sent = [each.verified for each in receiver.all()]
        assert sent == [True, True, True, False, False, False]
        if name == "verifies nothing":
            shown = smsbridge("endpoints", "test", "crm", "-c", config)
            assert "anybody can forge messages" in shown.out
            assert "good: answered 204" in shown.out


def test_a_receiver_that_is_not_there_is_told(smsbridge: Smsbridge, tmp_path: Path) -> None:
    """Nobody looks at the secret of a receiver that does not run."""
    config = Config({"crm": f"http://127.0.0.1:{steady_port()}/"}, SECRET).write(tmp_path)
    ran = smsbridge("endpoints", "test", "crm", "-c", config, "--json")
    (check,) = ran.document["checks"]
    assert check["advice"].startswith("Nothing answered")


@pytest.mark.unhurried
async def test_one_that_works_before_it_answers_is_told() -> None:
    """More than half of the timeout is too close to it; half is not."""
    work = 0.0

    async def after_work(request: servers.Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(work)
        await servers.says(200)(request, writer)

    async with servers.receiver(after_work) as server:
        crm = Endpoint("crm", httpx.URL(server.url), (parse_secret(SECRET),), 1, 3600.0)
        for work in (1900.0, 1700.0):
            found = await examine(crm, client_context(), "t", lambda: datetime.now(UTC))
            valid, prompt, *_ = found["checks"]
            assert (valid["ok"], prompt["ok"]) == (True, work < 1800.0)


Serve = Callable[[asyncio.StreamReader], Awaitable[bool]]


async def whole(reader: asyncio.StreamReader) -> bool:
    """Read as HTTP says: the head, and then as many bytes as it promises."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
    return True


async def at_once(reader: asyncio.StreamReader) -> bool:
    """Read what is there, and refuse what isn't whole."""
    return (await reader.read(65536)).endswith(b"}")


async def head_alone(reader: asyncio.StreamReader) -> bool:
    """Look at the head, and take the body for granted."""
    await reader.readuntil(b"\r\n\r\n")
    return True


async def impatient(reader: asyncio.StreamReader) -> bool:
    """Wait for a second in all."""
    try:
        async with asyncio.timeout(1):
            return await whole(reader)
    except TimeoutError:
        return False


@pytest.mark.unhurried
@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (whole, set()),
        (at_once, {"slow"}),
        (head_alone, {"cut off"}),
        (impatient, {"slow"}),
    ],
)
async def test_requests_that_come_in_pieces_are_read_to_their_end(
    read: Serve, wrong: set[str]
) -> None:
    """A receiver waits for the rest of a slow one, and takes none whose rest doesn't come."""
    body = b"HTTP/1.1 %b X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(body % (b"204" if await read(reader) else b"400"))
        except (OSError, EOFError):
            pass  # it broke off
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        unsigned = SCHEMES["none"]
        crm = Endpoint("crm", httpx.URL(f"http://{host}:{port}/"), (), 1, 20.0, scheme=unsigned)
        found = await examine(crm, client_context(), "t", lambda: datetime.now(UTC))
    finally:
        server.close()
    checks = {each["name"]: each for each in found["checks"]}
    assert list(checks) == ["valid", "prompt", "repeated", "slow", "cut off"]
    assert {name for name, each in checks.items() if not each["ok"]} == wrong
    assert checks["slow"]["expected"]
    assert not checks["cut off"]["expected"]


def test_nothing_is_concluded_from_a_receiver_that_takes_nothing(
    smsbridge: Smsbridge, tmp_path: Path
) -> None:
    """One that refuses all would look safe: only the valid request is sent."""
    with Receiver(generate_secret(), verifying) as receiver:
        config = Config({"crm": receiver.url}, SECRET).write(tmp_path)
        ran = smsbridge("endpoints", "test", "crm", "-c", config, "--json")
        (check,) = ran.document["checks"]
        assert (ran.code, check["name"], check["ok"], check["status"]) == (1, "valid", False, 401)
        assert len(receiver.all()) == 1


@pytest.mark.parametrize(
    ("extra", "secret", "expected"),
    [
        (['scheme = "hex"'], "a secret of sixteen", ["wrong secret", "tampered"]),
        (['scheme = "stripe"'], "a secret of sixteen", ["wrong secret", "tampered", "stale"]),
        (['scheme = "none"'], None, []),
    ],
)
def test_only_what_the_scheme_can_show_is_asked(
    smsbridge: Smsbridge, tmp_path: Path, extra: list[str], secret: str | None, expected: list[str]
) -> None:
    """A signature without a time cannot be stale, and without one nothing can be forged."""
    with Receiver(SECRET) as receiver:
        config = Config({"crm": receiver.url}, secret or "NONE", extra={"crm": extra}).write(
            tmp_path
        )
        if secret is None:
            config.write_text(config.read_text().replace('secret = "NONE"\n', ""))
        ran = smsbridge("endpoints", "test", "crm", "-c", config, "--json")
        assert [each["name"] for each in ran.document["checks"]] == [*ALL[:5], *expected]

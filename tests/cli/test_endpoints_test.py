"""`smsbridge endpoints test`: what it finds in receivers that verify, and in those that don't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from bridge.delivery.endpoint import Endpoint
from bridge.net.tls import client_context
from bridge.operations.endpoint_test import examine
from bridge.signing.standard_webhooks import generate_secret, parse_secret
from tests.cli.conftest import Ran
from tests.delivery import servers
from tests.patience import PATIENCE
from tests.servers.daemon import Config
from tests.servers.receiver import Answer, Exchange, Receiver, status, taken

Smsbridge = Callable[..., Ran]
SECRET = generate_secret()
ALL = ["valid", "prompt", "repeated", "wrong secret", "tampered", "stale"]


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
        assert sent == [True, True, False, False, False]
        if name == "verifies nothing":
            shown = smsbridge("endpoints", "test", "crm", "-c", config)
            assert "anybody can forge messages" in shown.out
            assert "good: answered 204" in shown.out


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
        assert [each["name"] for each in ran.document["checks"]] == [*ALL[:3], *expected]

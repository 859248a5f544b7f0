"""A declared provider's posts through the real listener into a real store."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bridge import app
from tests.providers.posts.everyone import fixture, signed
from tests.providers.posts.signers import Keys
from tests.sources.posts.lines import Line, running, settings

TOKEN = "0123456789abcdef-token"
PROVIDERS = f"""
[[providers]]
name = "bandwidth"
post = {{ token = "{TOKEN}", username = "smsbridge", password = "the secret of the console" }}
[[providers]]
name = "telnyx"
post = {{ token = "{TOKEN}", secret = "{Keys().public}" }}
[[providers]]
name = "httpsms"
post = {{ token = "{TOKEN}", secret = "the secret of the console", networks = ["203.0.113.0/24"] }}
[[providers]]
name = "acme"
[providers.post]
token = "{TOKEN}"
template.from = {{ json = "$.from" }}
template.to = {{ json = "$.to" }}
template.body = {{ json = "$.text" }}
template.id = {{ json = "$.nr" }}
template.answer = {{ type = "application/json", body = '{{"code":0,"nr":"{{id}}"}}' }}
"""


async def send(line: Line, name: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await line.client.post(f"/in/{name}/{TOKEN}", content=body, headers=headers)


async def test_a_password_is_checked_and_never_stored(tmp_path: Path) -> None:
    """401 without it; what is stored can be read again without it, and has several messages."""
    post = signed("bandwidth")
    async with running(settings(tmp_path, PROVIDERS)) as line:
        plain = {"content-type": "application/json"}
        assert (await send(line, "bandwidth", post.body, plain)).status_code == 401
        assert (await send(line, "bandwidth", post.body, dict(post.headers))).status_code == 200
        stored = [await line.raw(number) for number in (1, 2)]
        for raw in stored:
            assert b"uthorization" not in raw
            assert post.headers["authorization"].partition(" ")[2].encode() not in raw
        again = await line.read_again(1)
        assert [each.message.sms.body for each in again.messages] == ["one", ""]
        trust = again.messages[0].message.trust
        assert trust is not None
        assert (trust.by, "basic auth" in trust.detail) == ("token", True)


async def test_a_signature_is_stored_and_checked_again(tmp_path: Path) -> None:
    """Telnyx's headers, which have no X-, are kept."""
    genuine = signed("telnyx", at=app.now())
    async with running(settings(tmp_path, PROVIDERS)) as line:
        headers = dict(genuine.headers)
        forged = genuine.body.replace(b"0b1c-77", b"0b1c-78")
        assert (await send(line, "telnyx", forged, headers)).status_code == 401
        assert (await send(line, "telnyx", genuine.body, headers)).status_code == 200
        assert b"telnyx-signature-ed25519: " in await line.raw(1)
        trust = (await line.read_again(1)).messages[0].message.trust
        assert trust is not None
        assert trust.by == "signature"


async def test_networks_are_those_behind_the_proxy(tmp_path: Path) -> None:
    """The address that the named proxy saw counts; httpSMS sends no content type."""
    genuine = signed("httpsms", at=app.now())
    async with running(settings(tmp_path, PROVIDERS)) as line:
        for address, status in (("198.51.100.7", 401), ("203.0.113.7", 200)):
            headers = {**genuine.headers, "x-forwarded-for": address}
            answer = await send(line, "httpsms", genuine.body, headers)
            assert answer.status_code == status, address
        assert b"earer" not in await line.raw(1)
        unsigned = {"x-forwarded-for": "203.0.113.7"}
        answer = await send(line, "httpsms", fixture("httpsms").body, unsigned)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"from": "+15550100", "to": "+15550101", "text": "hi", "nr": 17}',
         b'{"code":0,"nr":"17"}'),
        (b"unreadable, and stored", b'{"code":0,"nr":""}'),
    ],
)  # fmt: skip
async def test_the_declared_answer(tmp_path: Path, body: bytes, answer: bytes) -> None:
    """In the provider's words and with its id, once it is stored."""
    async with running(settings(tmp_path, PROVIDERS)) as line:
        found = await send(line, "acme", body, {"content-type": "application/json"})
        assert (found.status_code, found.content) == (200, answer)
        assert found.headers["content-type"] == "application/json"
        assert (await line.raw(1)).endswith(body)

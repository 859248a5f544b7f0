"""How an endpoint is authenticated to, and it to us: headers, logins, TLS, proxies."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe
from pydantic import ValidationError

from bridge.config.endpoints import EndpointSettings
from bridge.config.settings import DeliverySettings
from bridge.delivery.attempt import attempt
from bridge.delivery.endpoint import Endpoint
from bridge.delivery.transport import open_transport
from bridge.errors import ConfigError
from bridge.model import Claim, Outcome
from tests.certificates import self_signed
from tests.delivery.servers import closed_port, receiver, says

MakeClaim = Callable[..., Claim]
SECRET = "hunter2-hunter2-hunter2"


def settings(**more: Any) -> EndpointSettings:
    table = {"name": "crm", "url": "https://crm.internal/", "secret": SECRET, "scheme": "hex"}
    return EndpointSettings.model_validate(table | more)


def build(**more: Any) -> Endpoint:
    return Endpoint.from_settings(0, settings(**more), DeliverySettings())


async def send(endpoint: Endpoint, claim: Claim, tls: ssl.SSLContext) -> Outcome:
    async with open_transport(endpoint, tls) as transport:
        return await attempt(transport, endpoint, claim, lambda: datetime.now(UTC))


async def test_headers_and_token_are_sent_beside_the_signature(
    claim_of: MakeClaim, tls: ssl.SSLContext
) -> None:
    """Static headers and the bearer token go out with every request, and the signature holds."""
    async with receiver(says(200)) as server:
        endpoint = build(
            url=server.url, scheme="stripe", headers={"X-Tenant": "acme", "X-Key": "k3y"},
            bearer="t0ken",
        )  # fmt: skip
        assert (await send(endpoint, claim_of(7), tls)).status == 200
        [request] = server.requests
    assert request.headers["x-tenant"] == "acme"
    assert request.headers["x-key"] == "k3y"
    assert request.headers["authorization"] == "Bearer t0ken"
    assert (request.headers["webhook-id"], request.headers["webhook-attempt"]) == ("msg_7", "1")
    stripe.WebhookSignature.verify_header(
        request.body.decode(), request.headers["stripe-signature"], SECRET, tolerance=300
    )
    for hidden in ("t0ken", "k3y", "acme", SECRET):
        assert hidden not in repr(endpoint)


async def test_basic_authentication_takes_a_password_from_anywhere(
    claim_of: MakeClaim, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password can be a secret of any kind, and hold any character."""
    monkeypatch.setenv("CRM_PASSWORD", "pass:wörd")
    async with receiver(says(200)) as server:
        endpoint = build(url=server.url, username="bridge", password={"env": "CRM_PASSWORD"})
        await send(endpoint, claim_of(), tls)
        [request] = server.requests
    login = request.headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(login).decode() == "bridge:pass:wörd"
    assert "wörd" not in repr(endpoint)


def server_side(folder: Path, *, client: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if client is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / f"{client}.pem")
    return context


async def test_an_own_ca_is_trusted_and_no_other(
    claim_of: MakeClaim, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """A server with a certificate from the configured CA gets the webhook; another one doesn't."""
    self_signed(tmp_path, "server")
    self_signed(tmp_path, "other")
    async with receiver(says(200), server_side(tmp_path)) as server:
        good = build(url=server.url, tls_ca=tmp_path / "server.pem")
        assert (await send(good, claim_of(), tls)).status == 200
        bad = await send(build(url=server.url, tls_ca=tmp_path / "other.pem"), claim_of(), tls)
        assert (bad.status, bad.error) == (None, "tls")
        assert len(server.requests) == 1


async def test_mutual_tls(claim_of: MakeClaim, tls: ssl.SSLContext, tmp_path: Path) -> None:
    """A server that asks for our certificate gets it; without one nothing is delivered."""
    self_signed(tmp_path, "server")
    self_signed(tmp_path, "client")
    async with receiver(says(200), server_side(tmp_path, client="client")) as server:
        own = {"tls_certificate": tmp_path / "client.pem", "tls_key": tmp_path / "client.key"}
        ours = build(url=server.url, tls_ca=tmp_path / "server.pem", **own)
        assert (await send(ours, claim_of(), tls)).status == 200
        refused = await send(build(url=server.url, tls_ca=tmp_path / "server.pem"), claim_of(), tls)
        assert refused.status is None
        assert refused.error in {"tls", "protocol"}
        assert len(server.requests) == 1


async def test_a_proxy_is_used(claim_of: MakeClaim, tls: ssl.SSLContext) -> None:
    """The request goes to the configured proxy, with its login, and to nobody else."""
    async with receiver(says(200)) as proxy:
        where = proxy.url.removesuffix("/hook").replace("http://", "http://me:pr0xy@")
        endpoint = build(url="http://crm.invalid/hook?a=%2F", proxy=where)
        assert (await send(endpoint, claim_of(), tls)).status == 200
        [request] = proxy.requests
    assert request.line == "POST http://crm.invalid/hook?a=%2F HTTP/1.1"
    assert request.headers["proxy-authorization"] == "Basic bWU6cHIweHk="
    assert "pr0xy" not in repr(endpoint)
    assert "pr0xy" not in repr(settings(proxy=where))


async def test_a_proxy_that_refuses_is_named(claim_of: MakeClaim, tls: ssl.SSLContext) -> None:
    """A proxy that won't connect us, or isn't there, is told apart from the endpoint."""
    async with receiver(says(403)) as proxy:
        endpoint = build(url="https://crm.invalid/", proxy=proxy.url.removesuffix("/hook"))
        outcome = await send(endpoint, claim_of(), tls)
        assert proxy.requests[0].line == "CONNECT crm.invalid:443 HTTP/1.1"
        assert "x-signature" not in proxy.requests[0].headers
    assert (outcome.error, outcome.detail) == ("connect", "the proxy answered 403")
    endpoint = build(url="http://crm.invalid/", proxy=f"http://127.0.0.1:{closed_port()}")
    outcome = await send(endpoint, claim_of(), tls)
    assert outcome.error == "connect"
    assert outcome.detail == "no connection to the proxy: Connection refused"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"headers": {"Content-Type": "x"}}, "Content-Type is set by smsbridge"),
        ({"headers": {"WebHook-Id": "x"}}, "WebHook-Id is set by smsbridge"),
        ({"headers": {"Host": "x"}}, "Host is set by smsbridge"),
        ({"headers": {"X-A": "x", "x-a": "y"}}, "x-a is there twice"),
        ({"headers": {"X A": "x"}}, "must be a header's name"),
        ({"headers": {"X-A": "hunter\r\n2"}}, "no line break"),
        ({"headers": {"X-A": "hunter€2"}}, "ASCII text"),
        ({"scheme_header": "webhook-id"}, "is set by smsbridge"),
        ({"scheme_prefix": "a\nb"}, "must be ASCII text"),
        ({"bearer": "hunter 2"}, "ASCII without spaces"),
        ({"username": "me"}, "belong together"),
        ({"username": "a:b", "password": "hunter2"}, "hold a colon"),
        ({"username": "me", "password": "hunter2", "bearer": "t"}, "bearer and username are the"),
        ({"url": "https://u:hunter2@crm/", "bearer": "t"}, "bearer and a name in the url"),
        ({"headers": {"authorization": "x"}, "bearer": "t"}, "headers.Authorization are the same"),
        ({"tls_key": "k.pem"}, "belong together"),
        ({"url": "http://crm/", "tls_ca": "c.pem"}, "tls_ca has no effect with http://"),
        ({"proxy": "http://proxy.internal/path"}, "more than a host and a port"),
        ({"scheme": "none"}, "leave secret and secrets out"),
        ({"secret": None}, "set secret, or secrets"),
    ],
)
def test_settings_that_contradict_are_refused(more: dict[str, Any], problem: str) -> None:
    """Each mistake is a sentence, which quotes no value that may be secret."""
    with pytest.raises(ValidationError) as caught:
        settings(**more)
    told = " ".join(str(error["ctx"]["error"]) for error in caught.value.errors())
    assert problem in told
    assert "hunter" not in told


@pytest.mark.parametrize(
    ("more", "key", "problem"),
    [
        ({"secret": None, "secrets": (SECRET, SECRET[::-1])}, "secrets", "set secret, not secrets"),
        ({"headers": {"X-Signature": "x"}}, "headers", "X-Signature is the signature's header"),
        ({"scheme": "stripe", "scheme_prefix": ""}, "scheme_prefix", "headers of its own"),
        (
            {"scheme": "timestamped-hex", "scheme_header": "X"},
            "scheme_header",
            "headers of its own",
        ),
        ({"tls_ca": Path("/none.pem")}, "tls_ca", "No such file"),
        (
            {"tls_certificate": Path("/none.pem"), "tls_key": Path("/none.key")},
            "tls_certificate",
            "No such file",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is_tried(
    more: dict[str, Any], key: str, problem: str
) -> None:
    """`check` and `run` refuse it with the key, instead of every attempt failing."""
    with pytest.raises(ConfigError, match=problem) as caught:
        build(**more)
    assert caught.value.key == f"endpoints.0.{key}"


def test_an_endpoint_may_be_unsigned() -> None:
    """The scheme `none` needs no secret."""
    assert build(scheme="none", secret=None).keys == ()

"""Mutual TLS: a provider's posts count only with the certificate that the config names."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridge import app
from bridge.model import Post
from bridge.providers.posts import Client
from bridge.store import queries
from tests.certificates import Authority, self_signed
from tests.sources.posts.lines import Line, running, settings
from tests.sources.posts.test_source import AGILE

TOKEN = "a-token-0123456789"
NAME = "sms.provider.example"
CONFIG = f"""
[store]
min_free = 0
[smtp]
listen = []
[posts]
listen = ["127.0.0.1:0"]
tls_listen = ["127.0.0.1:0"]
tls_certificate = "one.pem"
tls_key = "one.key"
tls_client_ca = "ours.pem"
[[providers]]
name = "agile"
time_zone = "Europe/Rome"
post = {{ token = "{TOKEN}", certificate_names = ["other.example", "SMS.provider.example"] }}
[[providers]]
name = "url_networks"
post = {{ token = "{TOKEN}" }}
"""


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """Make the listener's certificate, and the CA that the config names."""
    self_signed(tmp_path, "one")
    return Authority(tmp_path, "ours")


async def post(line: Line, tls: ssl.SSLContext | None, provider: str = "agile") -> httpx.Response:
    plain, secure = line.source.addresses
    host, port = plain if tls is None else secure
    url = f"{'http' if tls is None else 'https'}://{host}:{port}/in/{provider}/{TOKEN}"
    async with httpx.AsyncClient(verify=tls or True, trust_env=False) as client:
        return await client.post(url, data=AGILE)


@pytest.mark.parametrize(
    ("names", "common", "status"),
    [
        ((x509.DNSName(NAME),), "x", 200),
        ((x509.DNSName("first.example"), x509.DNSName("Other.Example")), "x", 200),
        ((x509.UniformResourceIdentifier(NAME),), "x", 200),
        ((), NAME, 200),
        ((), "client", 401),
        # A name of the subject doesn't count beside those that are made for it.
        ((x509.DNSName("client.example"),), NAME, 401),
        ((x509.DNSName(f"x.{NAME}"),), "x", 401),
        ((x509.DNSName("*.provider.example"),), "x", 401),
        ((x509.DirectoryName(x509.Name([])),), NAME, 401),
        ((x509.DNSName(f"{NAME}\0.evil.example"),), "x", 401),
    ],
)
async def test_the_name_decides(
    tmp_path: Path, ours: Authority, names: Sequence[x509.GeneralName], common: str, status: int
) -> None:
    """One of the certificate's own names must be one of the config's."""
    tls = ours.client("client", *names, common=common)
    async with running(settings(tmp_path, CONFIG, "")) as line:
        answer = await post(line, tls)
        assert answer.status_code == status
        assert answer.content == (b"+OK" if status == 200 else b"")
        if status == 200:
            (row,) = await line.store.read(queries.list_messages)
            assert row.message.trust is not None
            assert row.message.trust.detail.startswith("the client's certificate, the address")


async def test_who_shows_none_is_refused(tmp_path: Path, ours: Authority) -> None:
    """By TLS and without; another provider, which needs none, is not concerned."""
    none = ssl.create_default_context(cafile=tmp_path / "one.pem")
    known = ours.client("client", x509.DNSName("somebody.example"))
    async with running(settings(tmp_path, CONFIG, "")) as line:
        for tls in (none, None):
            assert (await post(line, tls)).status_code == 401
        for tls in (none, None, known):
            assert (await post(line, tls, "url_networks")).status_code == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_that_does_not_hold_ends_the_handshake(
    tmp_path: Path, ours: Authority, version: ssl.TLSVersion
) -> None:
    """Of another CA of the same name, expired, made for servers, or signed by itself."""
    right = x509.DNSName(NAME)
    folder = tmp_path / "strangers"
    folder.mkdir()
    self_signed(folder, "one")
    (folder / "one.pem").write_bytes((tmp_path / "one.pem").read_bytes())
    stranger = Authority(folder, "ours")
    itself = ssl.create_default_context(cafile=tmp_path / "one.pem")
    self_signed(folder, NAME)
    itself.load_cert_chain(folder / f"{NAME}.pem", folder / f"{NAME}.key")
    async with running(settings(tmp_path, CONFIG, "")) as line:
        for tls in (
            stranger.client("client", right),
            ours.client("old", right, until=timedelta(hours=-1)),
            ours.client("server", right, usage=ExtendedKeyUsageOID.SERVER_AUTH),
            itself,
        ):
            tls.minimum_version = tls.maximum_version = version
            with pytest.raises(httpx.TransportError):
                await post(line, tls)
        assert await line.arrivals() == []
        good = ours.client("good", right)
        good.minimum_version = good.maximum_version = version
        assert (await post(line, good)).content == b"+OK"


def test_a_session_does_not_outlive_its_certificate(tmp_path: Path, ours: Authority) -> None:
    """Resumed or kept open, it ends with the certificate of its handshake."""
    admit = app.posts_of(settings(tmp_path, CONFIG, ""))["agile"].admit
    shown = {"subjectAltName": (("DNS", NAME),), "notAfter": "Apr  8 12:30:52 2026 GMT"}
    post = Post("POST", "/in/agile", "", {}, b"")
    end = datetime(2026, 4, 8, 12, 30, 52, tzinfo=UTC)
    assert admit(post, Client(None, shown), end) is None
    later = end + timedelta(seconds=1)
    assert admit(post, Client(None, shown), later) == "the client's certificate has expired"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('tls_client_ca = "ours.pem"', "", "providers.0.post.certificate_names: nothing asks for"),
        (
            'tls_listen = ["127.0.0.1:0"]',
            "",
            "providers.0.post.certificate_names: nothing asks for",
        ),
        ("ours.pem", "one.key", "posts.tls_client_ca: .* holds no PEM certificate"),
        ("ours.pem", "none.pem", "posts.tls_client_ca: .*No such file"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    tmp_path: Path, ours: Authority, old: str, new: str, problem: str
) -> None:
    """At `check`, with the key."""
    found = app.problems(settings(tmp_path, CONFIG.replace(old, new), ""))
    assert any(re.search(problem, str(each)) for each in found), found

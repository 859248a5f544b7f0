"""A mail server whose certificate or TLS is not as it must be gets no password, and says why."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.errors import ImapUnavailable
from bridge.sources.imap.client import ImapClient
from bridge.sources.imap.open import tls_context
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.scripted_imap import SECRET, USER, ScriptedImap, scripted_imap
from tests.sources.imap.parts import Ledger, make_source, running, settings

pytestmark = pytest.mark.processes


_CA = """
[ca]
default_ca = tests
[tests]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
copy_extensions = copy
x509_extensions = leaf
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA in a folder, made with openssl."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, alternative: str, *days: str) -> ssl.SSLContext:
        """Give a server's context with a certificate; `days`: first and last, as YYYYMMDD."""
        stem = self.folder / name
        _openssl(
            "req", "-new", *_KEY, "-subj", f"/CN={name}", "-addext",
            f"subjectAltName={alternative}", "-keyout", f"{stem}.key", "-out", f"{stem}.csr",
        )  # fmt: skip
        first, last = days or ("20200101", "20491231")
        _openssl(
            "ca", "-batch", "-notext", "-config", str(self.folder / "ca.conf"),
            "-cert", str(self.certificate), "-keyfile", str(self.folder / "ca.key"),
            "-startdate", f"{first}000000Z", "-enddate", f"{last}000000Z",
            "-in", f"{stem}.csr", "-out", f"{stem}.pem",
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{stem}.pem", f"{stem}.key")
        return context


def _openssl(*words: str) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "openssl is needed to make certificates: apt-get install openssl"
    done = subprocess.run(
        [openssl, *words], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    (folder / "ca.conf").write_text(_CA.format(folder=folder))
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    _openssl(
        "req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=authority",
        "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"),
    )  # fmt: skip
    return Authority(folder)


HERE = "IP:127.0.0.1,DNS:localhost"
UNTRUSTED = "the mail server's certificate is not trusted: "


def logins(server: ScriptedImap) -> list[str]:
    return [words for words in server.heard if words.startswith(("LOGIN", "AUTHENTICATE"))]


async def test_a_certificate_of_the_pinned_authority_is_believed(authority: Authority) -> None:
    """What the other tests refuse is refused for its fault alone."""
    ledger = Ledger()
    async with scripted_imap(authority.issue("good", HERE)) as server:
        server.add(b"sms")
        source = make_source(ledger, server.port, tls=True, tls_ca=authority.certificate)
        async with running(source):
            await ledger.until_at(1)


@pytest.mark.parametrize(
    ("name", "alternative", "days", "pinned", "why"),
    [
        ("expired", HERE, ("20200101", "20200201"), True, "certificate has expired"),
        ("early", HERE, ("20480101", "20480201"), True, "certificate is not yet valid"),
        ("other", "IP:192.0.2.1,DNS:localhost", (), True, "not valid for '127.0.0.1'"),
        ("stranger", HERE, (), False, "unable to get local issuer certificate"),
    ],
)
async def test_a_certificate_that_is_not_to_be_trusted(
    authority: Authority, lines: list[Line], name: str, alternative: str, days: tuple[str, ...],
    pinned: bool, why: str,
) -> None:  # fmt: skip
    """It is an alarm that says what is wrong with it, and nobody logs in."""
    async with scripted_imap(authority.issue(name, alternative, *days)) as server:
        ca = {"tls_ca": authority.certificate} if pinned else {}
        source = make_source(Ledger(), server.port, tls=True, **ca)
        async with running(source):
            async with asyncio.timeout(PATIENCE):
                while source.status.problem is None:
                    await asyncio.sleep(0)
            trouble = source.report().problem
        assert server.heard == []
    (line,) = (each for each in lines if each["event"] == "imap.refused")
    assert line["level"] == "error"
    assert str(line["detail"]).startswith(UNTRUSTED)
    assert why in str(line["detail"])
    assert trouble == f"imap.inbox: {line['detail']}"
    assert SECRET not in str(lines)


async def test_the_name_is_checked_against_the_host_of_the_config(authority: Authority) -> None:
    """A certificate for the name is good under the name, and only there."""
    async with scripted_imap(authority.issue("named", "DNS:localhost")) as server:
        tls = tls_context(settings(server.port, tls=True, tls_ca=authority.certificate))
        client = await ImapClient.connect("localhost", server.port, tls, 5, max_literal=1)
        await client.login(USER, SECRET)
        await client.logout()
        assert len(logins(server)) == 1


async def test_a_server_that_hangs_up_at_once(authority: Authority) -> None:
    """Where TLS does not even begin the sentence says so, not how the library calls it."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)  # what is left unread would make it a reset
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tls = tls_context(settings(port, tls=True, tls_ca=authority.certificate))
        with pytest.raises(ImapUnavailable, match="hung up before TLS began"):
            await ImapClient.connect("127.0.0.1", port, tls, 5, max_literal=1)


# Versions


@pytest.fixture
def lax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a system whose own defaults allow what is long broken."""
    real = ssl.create_default_context

    def create(**options: object) -> ssl.SSLContext:
        context = real(**options)  # type: ignore[arg-type]
        _allow_old(context)
        return context

    monkeypatch.setattr("bridge.sources.imap.open.ssl.create_default_context", create)


def _allow_old(context: ssl.SSLContext, most: ssl.TLSVersion | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        if most is not None:
            context.maximum_version = most
    context.set_ciphers("ALL:@SECLEVEL=0")


@pytest.mark.usefixtures("lax")
@pytest.mark.parametrize(
    ("most", "good"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_old_tls_is_refused(authority: Authority, most: ssl.TLSVersion, good: bool) -> None:
    """A server that speaks nothing newer than TLS 1.1 is no server: no password goes there."""
    theirs = authority.issue("old", HERE)
    _allow_old(theirs, most)
    async with scripted_imap(theirs) as server:
        tls = tls_context(settings(server.port, tls=True, tls_ca=authority.certificate))
        assert tls is not None

        async def enter(context: ssl.SSLContext) -> None:
            client = await ImapClient.connect("127.0.0.1", server.port, context, 5, max_literal=1)
            await client.login(USER, SECRET)
            await client.logout()

        if good:
            await enter(tls)
            return
        with pytest.raises(ImapUnavailable, match=r"TLS failed|hung up before TLS began"):
            await enter(tls)
        assert logins(server) == []
        _allow_old(tls)  # it is the version alone that stood in the way
        await enter(tls)
        assert len(logins(server)) == 1

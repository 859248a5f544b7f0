"""STARTTLS and implicit TLS, and the certificate that is read again."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from bridge.config.settings import SmtpSettings
from bridge.errors import ConfigError
from bridge.net.tls import server_context
from bridge.sources.smtp.connection import SmtpConnection
from tests.certificates import write_key
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.sources.conftest import Connect, Start
from tests.sources.peer import MAIL, Peer, Taken, make_source


async def upgrade(peer: Peer, trusting: ssl.SSLContext) -> None:
    async with asyncio.timeout(PATIENCE):
        await peer.writer.start_tls(trusting, server_hostname="127.0.0.1")


async def test_starttls_is_offered_once_and_begins_anew(
    start: Start,
    connect: Connect,
    taken: Taken,
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
) -> None:
    """After the handshake nothing said in the clear counts, and the mail is ESMTPS."""
    source = await start(**tls_settings)
    peer = await connect(source)
    await peer.reply()
    assert "STARTTLS" in await peer.ask(b"EHLO clear.example")
    assert (await peer.ask(b"MAIL FROM:<clear@b>")).startswith("250")
    assert (await peer.ask(b"STARTTLS")).startswith("220 2.0.0")
    await upgrade(peer, trusting)
    assert await peer.codes(b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>") == ["503", "503"]
    assert "STARTTLS" not in await peer.ask(b"EHLO tls.example")
    assert await peer.codes(b"STARTTLS") == ["503"]
    await peer.begin_mail()
    assert (await peer.ask(MAIL + b".")).startswith("250")
    assert b"from tls.example ([127.0.0.1])" in taken.arrivals[0].raw
    assert b"with ESMTPS id" in taken.arrivals[0].raw


async def test_commands_before_the_handshake_are_not_obeyed_after_it(
    start: Start,
    connect: Connect,
    taken: Taken,
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
) -> None:
    """What is sent along with STARTTLS is thrown away (CVE-2011-0411)."""
    source = await start(**tls_settings)
    peer = await connect(source)
    await peer.greet()
    await peer.send(
        b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<sms@bridge.example>\r\n"
        b"DATA\r\ninjected\r\n.\r\n"
    )
    assert (await peer.reply()).startswith("220")
    await upgrade(peer, trusting)
    assert await peer.ask(b"NOOP") == "250 OK"  # its own reply, and the first one
    assert await peer.codes(b"MAIL FROM:<a@b>") == ["503"]  # no EHLO was heard
    assert taken.arrivals == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_implicit_tls_takes_mail(
    start: Start,
    taken: Taken,
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
    version: ssl.TLSVersion,
) -> None:
    """tls_listen speaks TLS from the first byte."""
    trusting.minimum_version = trusting.maximum_version = version
    source = await start(tls_listen=("127.0.0.1:0",), **tls_settings)
    peer = await Peer.connect(source.tls_addresses[0], tls=trusting)
    await peer.greet()
    await peer.begin_mail()
    assert (await peer.ask(b"x" * 50_000 + b"\r\n.")).startswith("250")
    assert (await peer.ask(b"QUIT")).startswith("221")
    assert b"with ESMTPS id" in taken.arrivals[0].raw
    assert await peer.rest() == b""
    peer.close()


async def test_old_tls_is_refused(
    start: Start,
    lines: list[Line],
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
) -> None:
    """TLS 1.1 gets no connection."""
    source = await start(tls_listen=("127.0.0.1:0",), **tls_settings)
    assert source._shared.tls is not None
    assert source._shared.tls.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("said", [b"EHLO x\r\n", b"\x16\x03\x01\x00\x05junk!", b""])
async def test_a_failed_handshake_leaves_nothing(
    start: Start,
    lines: list[Line],
    tls_settings: dict[str, object],
    said: bytes,
) -> None:
    """Plain text, junk or nothing where TLS is expected ends the connection, in one line."""
    source = await start(tls_listen=("127.0.0.1:0",), idle_timeout=0.3, **tls_settings)
    peer = await Peer.connect(source.tls_addresses[0])
    await peer.send(said)
    await peer.rest()
    async with asyncio.timeout(PATIENCE):
        await source._shared.empty.wait()
    assert len(lines) == 1
    peer.reset()


@pytest.mark.parametrize("how", ["reset", "close", "junk"])
async def test_a_starttls_that_fails_leaves_nothing(
    start: Start,
    connect: Connect,
    lines: list[Line],
    tls_settings: dict[str, object],
    how: str,
) -> None:
    """However a peer leaves between STARTTLS and its handshake, its place is given back."""
    source = await start(**tls_settings)
    peer = await connect(source)
    await peer.greet()
    assert (await peer.ask(b"STARTTLS")).startswith("220")
    match how:
        case "reset":
            peer.reset()
        case "close":
            peer.close()
        case "junk":
            await peer.send(b"MAIL FROM:<a@b>\r\n" * 10)
    async with asyncio.timeout(PATIENCE):
        await source._shared.empty.wait()
    assert [line["event"] for line in lines] == ["smtp.tls_failed"]


@pytest.mark.unhurried
async def test_a_starttls_that_is_followed_by_silence_leaves_nothing(
    start: Start, connect: Connect, lines: list[Line], tls_settings: dict[str, object]
) -> None:
    """A peer that asks for TLS and then says nothing is cut off when it was idle for too long."""
    source = await start(idle_timeout=0.3, **tls_settings)
    peer = await connect(source)
    await peer.greet()
    assert (await peer.ask(b"STARTTLS")).startswith("220")
    async with asyncio.timeout(1):
        await source._shared.empty.wait()
    assert [line["event"] for line in lines] == ["smtp.tls_failed"]


async def test_handshakes_count_as_connections(
    start: Start, tls_settings: dict[str, object]
) -> None:
    """A peer that never ends its handshake takes one of its own places."""
    source = await start(tls_listen=("127.0.0.1:0",), max_connections_per_peer=2, **tls_settings)
    waiting = [await Peer.connect(source.tls_addresses[0]) for _ in range(2)]
    refused = await Peer.connect(source.tls_addresses[0])
    assert await refused.rest() == b""
    for peer in (*waiting, refused):
        peer.reset()


async def test_a_place_is_given_up_before_the_handshake_began(
    start: Start, lines: list[Line], tls_settings: dict[str, object]
) -> None:
    """Who is sent away in the moment of being accepted leaves nothing, and nor do the others."""
    source = await start(tls_listen=("127.0.0.1:0",), max_connections=2, **tls_settings)
    host, _, port = source.tls_addresses[0].rpartition(":")
    # All are there before the loop accepts the first; the last one gets the first one's place.
    peers = [
        socket.create_connection((host, int(port)), source_address=(come_from, 0))
        for come_from in ("127.0.0.1", "127.0.0.1", "127.0.0.2")
    ]
    async with asyncio.timeout(PATIENCE):
        while not lines:
            await asyncio.sleep(0)
    for peer in peers:
        peer.close()
    async with asyncio.timeout(PATIENCE):
        await source._shared.empty.wait()
    assert lines[0]["limit"] == "evicted"
    assert {line["event"] for line in lines[1:]} <= {"smtp.tls_failed"}


async def test_a_new_certificate_is_used_and_old_sessions_go_on(
    start: Start, connect: Connect, tmp_path: Path, certificates: Path, trusting: ssl.SSLContext
) -> None:
    """After reload_tls new connections see the new certificate; a running one is not disturbed."""
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    _install(certificates, "one", certificate, key)
    source = await start(tls_listen=("127.0.0.1:0",), tls_certificate=certificate, tls_key=key)
    running = await Peer.connect(source.tls_addresses[0], tls=trusting)
    await running.greet()

    _install(certificates, "two", certificate, key)
    source.reload_tls()
    with pytest.raises(ssl.SSLCertVerificationError):
        await Peer.connect(source.tls_addresses[0], tls=trusting)
    newer = ssl.create_default_context(cafile=certificates / "two.pem")
    peer = await Peer.connect(source.tls_addresses[0], tls=newer)
    await peer.greet()
    await running.begin_mail()
    assert (await running.ask(b".")).startswith("250")
    for each in (running, peer):
        each.reset()


async def test_a_bad_certificate_is_told_and_the_old_one_kept(
    start: Start, tmp_path: Path, certificates: Path, trusting: ssl.SSLContext
) -> None:
    """A renewal that went wrong must not take the listener down."""
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    _install(certificates, "one", certificate, key)
    source = await start(tls_listen=("127.0.0.1:0",), tls_certificate=certificate, tls_key=key)
    certificate.write_text("half of a")
    with pytest.raises(ConfigError, match=r"smtp\.tls_certificate"):
        source.reload_tls()
    peer = await Peer.connect(source.tls_addresses[0], tls=trusting)
    await peer.greet()
    peer.reset()


def _install(certificates: Path, name: str, certificate: Path, key: Path) -> None:
    shutil.copy(certificates / f"{name}.pem", certificate)
    shutil.copy(certificates / f"{name}.key", key)  # keeps the mode


def test_each_fault_of_a_certificate_is_a_sentence(tmp_path: Path, certificates: Path) -> None:
    """Missing, mixed up, readable by others, no PEM: each names its key and what to do."""
    good, key = certificates / "one.pem", certificates / "one.key"
    with pytest.raises(ConfigError, match=r"smtp\.tls_key: .*No such file"):
        server_context(good, tmp_path / "none", "smtp")
    with pytest.raises(ConfigError, match="do not belong together"):
        server_context(good, certificates / "two.key", "smtp")
    with pytest.raises(ConfigError, match="not a PEM certificate"):
        server_context(key, key, "smtp")
    public = tmp_path / "public.key"
    shutil.copy(key, public)
    public.chmod(0o644)
    with pytest.raises(ConfigError, match=r"smtp\.tls_key: .*chmod 600"):
        server_context(good, public, "smtp")


def test_an_encrypted_key_is_told_and_no_password_asked_for(
    tmp_path: Path, certificates: Path
) -> None:
    """OpenSSL would wait at the terminal for a password."""
    locked = tmp_path / "locked.key"
    key = ec.generate_private_key(ec.SECP256R1())
    write_key(locked, key, BestAvailableEncryption(b"x"))
    with pytest.raises(ConfigError, match="is encrypted"):
        server_context(certificates / "one.pem", locked, "smtp")


async def test_a_bug_in_the_accept_loop_is_no_silence(
    taken: Taken, tls_settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that ends implicit TLS ends the source, and with it the daemon."""

    def broken(_session: SmtpConnection) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(SmtpConnection, "admit", broken)
    listen = {"listen": (), "tls_listen": ("127.0.0.1:0",), "hostname": "bridge.example"}
    source = make_source(SmtpSettings.model_validate(listen | tls_settings), taken)
    run = asyncio.create_task(source.run())
    await source.listening.wait()
    host, _, port = source.tls_addresses[0].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ExceptionGroup):
            await run
    writer.close()

"""Clients that we did not write: the standard library's and swaks."""

from __future__ import annotations

import asyncio
import os
import shutil
import smtplib
import socket
import ssl
from pathlib import Path

import pytest

from bridge.config.settings import SmtpSettings
from bridge.errors import ConfigError, ListenError
from bridge.sources.smtp.source import SmtpSource
from tests.patience import PATIENCE
from tests.sources.conftest import Start
from tests.sources.peer import MAIL, Peer, Taken, make_source, pinned_time, stored


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


async def swaks(*arguments: str) -> str:
    program = shutil.which("swaks")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("swaks is missing: apt-get install swaks")
        pytest.skip("swaks is not installed")
    running = await asyncio.create_subprocess_exec(
        program, *arguments, "--from", "smsin@agiletelecom.com", "--to", "x@bridge.example",
        "--ehlo", "client.example",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        said, _ = await running.communicate()
    assert running.returncode == 0, said.decode(errors="replace")
    return said.decode(errors="replace")


@pytest.mark.parametrize("mode", ["plain", "starttls", "implicit"])
@pytest.mark.processes
async def test_swaks_delivers(
    start: Start, taken: Taken, tls_settings: dict[str, object], tmp_path: Path, mode: str
) -> None:
    """A mail from swaks arrives as it is in the file, with and without TLS."""
    source = await start(tls_listen=("127.0.0.1:0",), **tls_settings)
    mail = tmp_path / "mail.eml"
    mail.write_bytes(MAIL + b"\r\n.leading dot\r\n..two\r\n")
    address = source.tls_addresses[0] if mode == "implicit" else source.addresses[0]
    tls = {"plain": (), "starttls": ("--tls",), "implicit": ("--tls-on-connect",)}[mode]
    said = await swaks("--server", address, "--data", f"@{mail}", *tls)
    assert stored() in said
    assert taken.contents[0].rstrip() == mail.read_bytes().rstrip()
    expected = b"with ESMTP id" if mode == "plain" else b"with ESMTPS id"
    assert expected in taken.arrivals[0].raw


@pytest.mark.processes
async def test_swaks_pipelines(start: Start, taken: Taken) -> None:
    """Another program's PIPELINING is understood."""
    source = await start()
    await swaks("--server", source.addresses[0], "--pipeline", "--to", "a@b,c@d,e@f")
    assert len(taken.arrivals) == 1


@pytest.mark.parametrize("mode", ["plain", "starttls", "implicit"])
async def test_smtplib_delivers_many_on_one_connection(
    start: Start,
    taken: Taken,
    tls_settings: dict[str, object],
    trusting: ssl.SSLContext,
    mode: str,
) -> None:
    """The standard library's client sends mail after mail, the null sender's and UTF-8 too."""
    source = await start(tls_listen=("127.0.0.1:0",), **tls_settings)

    def send() -> None:
        if mode == "implicit":
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                "127.0.0.1", port(source.tls_addresses[0]), context=trusting, timeout=10
            )
        else:
            client = smtplib.SMTP("127.0.0.1", port(source.addresses[0]), timeout=PATIENCE)
        with client:
            if mode == "starttls":
                client.starttls(context=trusting)
            for _ in range(20):
                client.sendmail("a@b.example", ["x@bridge.example"], MAIL)
            client.sendmail("", ["x@bridge.example"], MAIL)
            client.sendmail("è@b.example", ["x@bridge.example"], MAIL, ["SMTPUTF8"])

    await asyncio.to_thread(send)
    assert taken.contents == [MAIL] * 22
    assert [each.origin.sender for each in taken.arrivals[20:]] == ["", "è@b.example"]


async def test_smtplib_hears_552(start: Start) -> None:
    """An honest client that sends too much learns that it is too much."""
    source = await start(max_message=10_000)

    def send() -> int:
        with smtplib.SMTP("127.0.0.1", port(source.addresses[0]), timeout=PATIENCE) as client:
            client.helo("x")  # so that it does not know of SIZE
            try:
                client.sendmail("a@b", ["c@d"], b"x\r\n" * 100_000)
            except smtplib.SMTPDataError as error:
                return error.smtp_code
        return 0

    assert await asyncio.to_thread(send) == 552


async def test_a_dual_stack_socket_of_systemd_shows_plain_peers(taken: Taken) -> None:
    """Through systemd's usual dual-stack socket an IPv4 peer is IPv4, as trust compares it."""
    handed = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    handed.setblocking(False)
    settings = SmtpSettings(listen=("systemd:smtp",))
    source = SmtpSource(settings, taken, {"smtp": (handed,)}, clock=pinned_time)
    run = asyncio.create_task(source.run())
    await source.listening.wait()
    peer = await Peer.connect(f"127.0.0.1:{port(source.addresses[0])}")
    await peer.greet()
    await peer.begin_mail()
    await peer.codes(b".")
    peer.reset()
    run.cancel()
    await asyncio.wait([run])
    assert (taken.arrivals[0].peer, taken.arrivals[0].source_name) == ("127.0.0.1", "systemd:smtp")


async def test_a_taken_address_ends_run_and_opens_none(taken: Taken) -> None:
    """If one address cannot be had, run raises and the others are closed again."""
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        free = socket.create_server(("127.0.0.1", 0))
        wanted = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        settings = SmtpSettings(listen=(wanted, f"127.0.0.1:{occupied.getsockname()[1]}"))
        source = make_source(settings, taken)
        with pytest.raises(ListenError, match="another program listens there already"):
            await source.run()
        assert not source.listening.is_set()
        with pytest.raises(ConnectionRefusedError):
            await Peer.connect(wanted)


async def test_a_hostname_that_would_break_the_header_is_refused(taken: Taken) -> None:
    """What is no host name must not get into every Received header."""
    with pytest.raises(ConfigError) as raised:
        make_source(SmtpSettings(hostname="a b\r\nc"), taken)
    assert raised.value.key == "smtp.hostname"

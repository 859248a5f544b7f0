"""A signed mail is still believed after SMTP and after a mailbox, and put off without a DNS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.errors import TrustUnavailable
from bridge.model import Arrival, Email, Trust
from bridge.sources.imap import fetch
from bridge.trust.resolver import DnsNames
from tests.conftest import Line
from tests.patience import PATIENCE
from tests.servers.dns import NameServer, Trouble, name_server
from tests.servers.dovecot import PASSWORD, DovecotServer, dovecot
from tests.servers.scripted_imap import scripted_imap
from tests.sources.conftest import Connect, Start
from tests.sources.imap.parts import Ledger, make_source, running
from tests.sources.peer import Taken
from tests.trust.signing import DOMAIN, NAME, Signer, record
from tests.trust.test_dkim import MAIL

__all__ = ["dovecot"]
DOTS = MAIL + b"..two\r\n. \r\n" + "€ è".encode() + b"\r\n"
SIGNED = Signer(canon="simple/simple").sign(DOTS)
POLICY = TrustSettings(dkim=(DOMAIN,))


@pytest.fixture
async def dns() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        server.zone[NAME] = [record()]
        yield server


async def weigh(arrival: Arrival, dns: NameServer) -> object:
    email = mail.decode(arrival.raw)
    assert isinstance(email, Email)
    names = DnsNames(3600, nameservers=["127.0.0.1"], port=dns.port, timeout=PATIENCE)
    return await trust.weigh(arrival, email, POLICY, names)


async def test_after_smtp(start: Start, connect: Connect, taken: Taken, dns: NameServer) -> None:
    """The strictest canonicalization survives our SMTP, doubled dots and all."""
    peer = await connect(await start())
    await peer.greet()
    await peer.begin_mail()
    await peer.send(SIGNED.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert (await peer.reply()).startswith("250")
    assert isinstance(await weigh(taken.arrivals[0], dns), Trust)


async def test_after_a_mailbox(dovecot: DovecotServer, dns: NameServer) -> None:
    """A real mail server that stored the mail gives back what was signed."""
    ledger = Ledger()
    source = make_source(ledger, dovecot.imap_port, username="dkim", password=PASSWORD, start="all")
    await asyncio.to_thread(dovecot.deliver, "dkim", SIGNED)
    run = asyncio.create_task(source.run())
    await ledger.until(lambda: bool(ledger.raws), 20)
    source.stop()
    await run
    assert isinstance(await weigh(ledger.arrivals[0], dns), Trust)


async def test_smtp_says_try_again(
    start: Start, connect: Connect, dns: NameServer, lines: list[Line]
) -> None:
    """While the DNS does not answer, the mail stays with its sender."""
    dns.zone[NAME] = Trouble.SERVFAIL

    async def accept(arrival: Arrival) -> None:
        await weigh(arrival, dns)

    peer = await connect(await start(accept))
    await peer.greet()
    await peer.begin_mail()
    await peer.send(SIGNED.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert (await peer.reply()).startswith("451 4.4.3")
    assert [line["event"] for line in lines] == ["smtp.trust_unavailable"]


async def test_a_mailbox_waits_for_none_but_this_mail(lines: list[Line]) -> None:
    """A mail that is put off stays untouched, and the ones behind it are taken."""
    ledger = Ledger()
    tries = 0

    async def no_dns(arrival: Arrival) -> None:
        nonlocal tries
        if b"first" in arrival.raw:
            tries += 1
            raise TrustUnavailable("dkim: the DNS did not answer")

    ledger.before = no_dns
    async with scripted_imap() as server:
        server.add(b"first")
        server.add(b"second")
        source = make_source(ledger, server.port)
        run = asyncio.create_task(source.run())
        await server.until(lambda: bool(server.mails[2].flags))
        assert ledger.raws == [b"second"]
        assert server.mails[1].flags == set()
        assert ledger.at is None or ledger.at.uid == 0
        source.stop()
        await run
    assert tries == 1
    assert {line["event"] for line in lines} == {"imap.put_off"}


async def test_a_mail_that_is_put_off_for_long_is_trouble(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log tells of it once, /healthz as long as it waits; then it is taken and all is well."""
    monkeypatch.setattr(fetch, "_SOON", 0.01)
    monkeypatch.setattr(fetch, "_AGAIN", 0.2)
    ledger = Ledger()

    async def no_dns(arrival: Arrival) -> None:
        raise TrustUnavailable("dkim: the DNS did not answer")

    ledger.before = no_dns
    async with scripted_imap() as server:
        server.add(b"sms")
        async with running(make_source(ledger, server.port, poll=0.05, idle=False)) as source:
            async with asyncio.timeout(PATIENCE):
                while source.report().problem is None:
                    await asyncio.sleep(0.01)
                assert source.report().problem == (
                    "imap.inbox: 1 mails cannot be taken in yet; the log says which"
                )
                ledger.before = None
                await ledger.until_taken(b"sms")
                while source.report().problem is not None:
                    await asyncio.sleep(0.01)
    assert [line["event"] for line in lines].count("imap.put_off") == 1

"""Keys are asked for seldom, and a DNS that does not answer loses no mail."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bridge.errors import TrustUnavailable
from bridge.model import Trust
from bridge.trust import resolver, verify
from bridge.trust.resolver import DnsNames
from tests.patience import PATIENCE
from tests.servers.dns import NameServer, Trouble, name_server
from tests.trust.conftest import asked_of
from tests.trust.signing import DOMAIN, NAME, record
from tests.trust.test_dkim import GOOD, weigh, why_not


async def test_keys_are_remembered_for_a_while(dns: NameServer):
    """A key is asked for once in its time to live, an hour at most and a minute at least."""
    clock = [0.0]
    names = asked_of(dns, clock=lambda: clock[0])
    dns.ttl = 10**6
    for _ in range(3):
        assert isinstance(await weigh(GOOD, names), Trust)
    assert dns.asked[NAME] == 1
    clock[0] = 3600.0
    dns.ttl = 0
    await weigh(GOOD, names)
    assert dns.asked[NAME] == 2
    clock[0] += 59
    await weigh(GOOD, names)
    assert dns.asked[NAME] == 2
    dns.zone[NAME] = []
    clock[0] += 1
    await why_not(GOOD, names)
    await why_not(GOOD, names)
    assert dns.asked[NAME] == 3


async def test_remembered_names_are_bounded(
    dns: NameServer, names: DnsNames, monkeypatch: pytest.MonkeyPatch
):
    """A stranger who names any number of selectors fills no memory, and pushes out no used key."""
    monkeypatch.setattr(resolver, "_MOST", 64)
    for n in range(100):
        await names.txt(NAME)
        await names.txt(f"s{n}._domainkey.{DOMAIN}")
    assert len(names._known) == 64
    assert dns.asked[NAME] == 1


async def test_an_answer_that_is_too_long_for_udp(dns: NameServer, names: DnsNames):
    """A key beside long records of a wildcard is asked for again by TCP."""
    dns.zone[NAME] = [b"v=other " + b"x" * 2000, record()]
    assert isinstance(await weigh(GOOD, names), Trust)
    assert dns.asked[NAME] == 2


def test_one_loop_after_another():
    """A command asks from a new event loop for each mail."""
    ready, done = threading.Event(), threading.Event()
    servers: list[NameServer] = []

    async def serve() -> None:
        async with name_server() as server:
            server.zone["a.example"] = server.zone["b.example"] = [b"x"]
            servers.append(server)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        names = asked_of(servers[0])
        for name in ("a.example", "b.example", "a.example"):
            assert asyncio.run(names.txt(name)) == [b"x"]
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("name", ["a" * 64 + ".x", "a." * 150 + "x", "..", "a..b"])
async def test_a_name_that_is_none(name: str, names: DnsNames):
    """What the DNS cannot hold has no records."""
    assert await names.txt(name) == ()


@pytest.mark.parametrize("trouble", [Trouble.SERVFAIL, Trouble.SILENCE, Trouble.GARBAGE])
async def test_a_dns_that_does_not_answer_puts_the_mail_off(trouble: Trouble, dns: NameServer):
    """The mail is neither lost nor judged: whoever brought it is to bring it again."""
    dns.zone[NAME] = trouble
    clock = [1000.0]
    names = asked_of(dns, clock=lambda: clock[0], timeout=0.3)
    with pytest.raises(TrustUnavailable, match="DNS did not answer"):
        await weigh(GOOD, names)
    asked = dns.asked.total()
    with pytest.raises(TrustUnavailable):
        await weigh(GOOD, names)
    assert dns.asked.total() == asked  # a queue of mails does not wait one by one
    dns.zone[NAME] = [record()]
    names._timeout = PATIENCE
    clock[0] += 15
    assert isinstance(await weigh(GOOD, names), Trust)


async def test_patience_ends(dns: NameServer):
    """After an hour without an answer, and three tries, the mail goes to quarantine."""
    dns.zone[NAME] = Trouble.SERVFAIL
    clock = [1000.0]
    names = asked_of(dns, clock=lambda: clock[0])
    for wait in (0.0, 3600.0):
        clock[0] += wait
        with pytest.raises(TrustUnavailable):
            await weigh(GOOD, names)
    clock[0] += 60
    assert "reparse this mail" in await why_not(GOOD, names)
    clock[0] += 12 * 3600 + 1  # nobody asked for so long: it begins anew
    with pytest.raises(TrustUnavailable):
        await weigh(GOOD, names)


async def test_a_command_has_no_patience(dns: NameServer):
    """Where nobody comes again by himself, the mail is kept in quarantine at once."""
    dns.zone[NAME] = Trouble.SERVFAIL
    assert "reparse this mail" in await why_not(GOOD, asked_of(dns, patience=0.0))


async def test_other_evidence_needs_no_dns(dns: NameServer):
    """A mail is not put off if another kind of evidence is there."""
    dns.zone[NAME] = Trouble.SILENCE
    result = await weigh(GOOD, asked_of(dns, timeout=0.3), anyone=True)
    assert isinstance(result, Trust)
    assert result.by == "anyone"


async def test_a_text_that_nobody_signed_is_not_hashed(
    names: DnsNames, monkeypatch: pytest.MonkeyPatch
):
    """A stranger who names the provider in a big mail makes us read its headers and no more."""

    def hashed(body: bytes, canon: str, line_end: bytes) -> bytes:
        raise AssertionError

    monkeypatch.setattr(verify, "body_digest", hashed)
    forged = GOOD.replace(b"Subject: ", b"Subject: not ", 1)
    assert "does not fit the headers" in await why_not(forged, names)
    with pytest.raises(AssertionError):
        await weigh(GOOD, names)

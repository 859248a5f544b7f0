"""A signature of the provider's domain is believed if it is valid and covers all that is read."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Reason, Trust, Unreadable
from bridge.trust import dkim, signature, verify
from bridge.trust.resolver import DnsNames
from tests.origins import IMAP
from tests.patience import PATIENCE
from tests.servers.dns import NameServer, Trouble
from tests.trust import signing
from tests.trust.conftest import asked_of
from tests.trust.signing import DOMAIN, ED25519, NAME, SIGNED_HEADERS, Signer, record

NOW = datetime(2026, 4, 8, 12, 31, tzinfo=UTC)
STAMP = int(NOW.timestamp())
OWN = (
    b"From: Agile  <smsin@agiletelecom.com>\r\n"
    b"To: sms@example.com\r\n"
    b"Subject: Agile Telecom\r\n\t--  SMS received\r\n"
    b"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\n"
    b"Message-ID: <1@agiletelecom.com>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain;\r\n charset=utf-8\r\n"
)
BODY = b"From: +391\r\n\r\n.Body:  x \t y \r\n\r\n\r\n"
MAIL = OWN + b"\r\n" + BODY
TRACE = b"Received: from a by b;\r\n\tWed, 08 Apr 2026 12:30:53 +0000\r\nReturn-Path: <x@y>\r\n"


async def weigh(raw: bytes, names: DnsNames, at: datetime = NOW, **more: Any) -> Trust | Unreadable:
    arrival = Arrival(IMAP, "inbox", raw, at)
    email = mail.decode(raw)
    assert isinstance(email, Email)
    policy = TrustSettings.model_validate({"dkim": [DOMAIN]} | more)
    return await trust.weigh(arrival, email, policy, names)


async def why_not(raw: bytes, names: DnsNames, at: datetime = NOW) -> str:
    result = await weigh(raw, names, at)
    assert isinstance(result, Unreadable)
    assert result.reason is Reason.UNTRUSTED
    assert result.detail.startswith("dkim: ")
    return result.detail


@pytest.mark.parametrize("from_", [b"SMS Gateway", b"<>", b""])
async def test_no_signature_speaks_for_a_from_without_an_address(names: DnsNames, from_: bytes):
    """However valid: a domain's key says whose address the From is, and there is none."""
    own = MAIL.replace(b"Agile  <smsin@agiletelecom.com>", from_)
    why = await why_not(Signer().sign(own), names)
    assert why == "dkim: the mail's From names no address that it could speak for"


CANONS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]


@pytest.mark.parametrize("canon", CANONS)
async def test_a_signature_of_a_listed_domain_is_evidence(canon: str, names: DnsNames):
    """Every canonicalization is verified, below the trace headers of the way."""
    result = await weigh(TRACE + Signer(canon=canon).sign(MAIL), names)
    assert isinstance(result, Trust)
    assert (result.by, result.detail) == ("dkim", DOMAIN)
    assert result.covers is not None
    assert {"from", "subject"} <= result.covers
    assert "received" not in result.covers


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b"x", b" \t", b" \r\n\t\r\n", b"a \r\n b\r\n"])
@pytest.mark.parametrize("canon", CANONS)
async def test_bodies_that_end_in_odd_ways(canon: str, body: bytes, names: DnsNames):
    """Empty, blank and unfinished bodies are hashed as the RFC says."""
    assert isinstance(await weigh(Signer(canon=canon).sign(OWN + b"\r\n" + body), names), Trust)


BY_OTHERS: list[Callable[[bytes], bytes]] = [
    *(lambda raw, canon=canon: signing.by_dkimpy(raw, canon) for canon in CANONS),
    *(lambda raw, canon=canon: signing.by_mail_dkim(raw, canon) for canon in ("simple", "relaxed")),
]


@pytest.mark.parametrize("sign", BY_OTHERS)
@pytest.mark.processes
async def test_what_other_programs_sign(sign: Callable[[bytes], bytes], names: DnsNames):
    """Signatures made by dkimpy and by Mail::DKIM are valid here."""
    signed = sign(MAIL)
    assert b"DKIM-Signature" in signed
    now = datetime.now(UTC)  # they stamp the time
    assert isinstance(await weigh(TRACE + signed, names, now), Trust)
    assert "fit the text" in await why_not(TRACE + signed.replace(b"+391", b"+392"), names, now)


@pytest.mark.processes
async def test_sha1_of_an_old_program(names: DnsNames):
    """A signature that opendkim would have made long ago is refused for its hash alone."""
    signed = signing.by_opendkim(MAIL)
    assert b"rsa-sha1" in signed
    assert "algorithm" in await why_not(signed, names, datetime.now(UTC))


async def test_ed25519(dns: NameServer, names: DnsNames):
    """The newer kind of key is verified as well."""
    dns.zone[NAME] = [record(ED25519)]
    assert isinstance(await weigh(Signer(key=ED25519).sign(MAIL), names), Trust)


async def test_a_file_with_bare_line_feeds(names: DnsNames):
    """A mail that was stored with LF line ends is verified as it was on the wire."""
    stored = Signer().sign(MAIL).replace(b"\r\n", b"\n")
    assert isinstance(await weigh(stored, names), Trust)
    assert isinstance(await weigh(b"From x@y Wed Apr  8 2026\n" + stored, names), Trust)


async def test_the_second_signature_may_be_the_good_one(names: DnsNames):
    """A broken or a stranger's signature beside a good one does no harm."""
    broken = Signer(more={"t": "1"}).sign(MAIL).partition(b"From:")[0].replace(b"t=1;", b"t=2;")
    stranger = Signer(domain="evil.example").sign(MAIL).partition(b"From:")[0]
    assert isinstance(await weigh(broken + stranger + Signer().sign(MAIL), names), Trust)


def resign(**more: Any) -> bytes:
    return Signer(**more).sign(MAIL)


GOOD = Signer().sign(MAIL)
EXTRA = OWN + b"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        # What covers too little.
        (resign(length=5), "has l="),
        (resign(length=5) + b"more text\r\n", "has l="),
        (resign(length=0), "has l="),
        (b"Subject: Another\r\n" + GOOD, "2 Subject headers"),
        (GOOD.replace(b"Subject:", b"Subject: Another\r\nSubject:", 1), "2 Subject headers"),
        (b"Content-Type: text/html\r\n" + GOOD, "2 Content-Type headers"),
        (b"Content-Transfer-Encoding: base64\r\n" + GOOD, "not cover the header Content-Transfer"),
        (b"Content-Disposition: attachment\r\n" + GOOD, "not cover the header Content-Disposition"),
        (Signer().sign(EXTRA + b"\r\n" + BODY), "does not cover the header Content-Tr"),
        (resign(headers=tuple(h for h in SIGNED_HEADERS if h != "content-type")), "Content-Type"),
        (resign(headers=tuple(h for h in SIGNED_HEADERS if h != "subject")), "header Subject"),
        (resign(headers=tuple(h for h in SIGNED_HEADERS if h != "from")), "header From"),
        (resign(headers=tuple(h for h in SIGNED_HEADERS if h != "date")), "header Date"),
        (resign(headers=tuple(h for h in SIGNED_HEADERS if h != "message-id")), "Message-Id"),
        (Signer().sign(MAIL.replace(b"Message-ID", b"X-Id")), "no Message-Id"),
        (Signer().sign(MAIL.replace(b"Subject", b"X-Subject")), "no Subject"),
        # What was changed.
        (GOOD.replace(b"+391", b"+392"), "does not fit the text"),
        (GOOD + b"more\r\n", "does not fit the text"),
        (GOOD.replace(b"SMS received", b"SMS deceived"), "does not fit the headers"),
        (GOOD.replace(b"<smsin@", b"<other@"), "does not fit the headers"),
        (GOOD.replace(b"c=relaxed/relaxed", b"c=simple/relaxed"), "does not fit"),
        # Times.
        (resign(more={"x": str(STAMP)}), "expired"),
        (resign(more={"x": str(STAMP - 1)}), "expired"),
        (resign(more={"t": str(STAMP + 301)}), "future"),
        (resign(more={"t": str(STAMP + 100), "x": str(STAMP + 50)}), "ended before"),
        (resign(more={"x": "soon"}), "x= is no time"),
        (resign(more={"t": "-1"}), "t= is no time"),
        (resign(more={"t": "9" * 13}), "t= is no time"),
        # Algorithms and tags.
        (resign(sha1=True), "algorithm"),
        (resign(algorithm="rsa-md5"), "algorithm"),
        (resign(algorithm="none"), "algorithm"),
        (GOOD.replace(b"c=relaxed/relaxed", b"c=nowsp/nowsp"), "canonicalization"),
        (GOOD.replace(b"v=1;", b"v=2;"), "version"),
        (GOOD.replace(b"v=1;", b""), "lacks the tag v="),
        (resign(more={"q": "dns/other"}), "not in the DNS"),
        (resign(more={"i": "x@evil.example"}), "outside its domain"),
        (resign(more={"i": "x@notagiletelecom.com"}), "outside its domain"),
        (GOOD.replace(b" s=s1;", b" s=s1/../x;"), "no name"),
        (GOOD.replace(b"bh=", b"bh=!"), "base64"),
        (GOOD.replace(b"b=", b"z=1; b=", 1).replace(b"bh=", b"b="), "no signature of a listed"),
        # Whose it is.
        (resign(domain="evil.example"), "no signature of a listed domain"),
        (resign(domain="sub.agiletelecom.com"), "no signature of a listed domain"),
        (resign(domain="com"), "no signature of a listed domain"),
        (resign(domain="agiletelecom.com.evil.example"), "no signature of a listed domain"),
        (MAIL, "no signature of a listed domain"),
        (b"X-" + GOOD, "no signature of a listed domain"),
        (b"DKIM-Signature: d=agiletelecom.com; d=x; nonsense\r\n" + MAIL, "no signature"),
        (b"DKIM-Signature: d=agiletelecom.com\r\n" + MAIL, "lacks the tag"),
        (b"DKIM-Signature: " + b"a=b; " * 3000 + b"\r\n" + MAIL, "no signature of a listed"),
    ],
)  # fmt: skip
async def test_what_proves_too_little_is_no_evidence(raw: bytes, says: str, names: DnsNames):
    """Each known way past a DKIM check ends in quarantine, with a sentence that says why."""
    assert says in await why_not(raw, names)


@pytest.mark.parametrize(
    "line",
    [
        b"X: a\rSubject: b\r\n",
        b"X: a\nSubject: b\r\n",
        b"X: a\0b\r\n",
        b"Subject : b\r\n",
        b"junk\r\n",
    ],
)
async def test_headers_that_others_read_in_another_way(line: bytes, names: DnsNames):
    """A bare CR, LF or NUL in the headers, or a malformed one, is no evidence whoever signed it."""
    assert "headers hold" in (said := await why_not(line + GOOD, names)) or "malformed" in said


async def test_times_are_judged_as_when_the_mail_came(names: DnsNames):
    """A signature counts up to its end, and a reparse years later judges as on that day."""
    raw = resign(more={"t": str(STAMP - 10), "x": str(STAMP + 10)})
    assert isinstance(await weigh(raw, names), Trust)
    assert "expired" in await why_not(raw, names, NOW + timedelta(seconds=10))


async def test_fifty_signatures(dns: NameServer, names: DnsNames):
    """Eight of a listed domain are looked at and no more; strangers' are not counted."""
    bad = b"".join(resign(selector=f"x{n}").partition(b"From:")[0] for n in range(49))
    assert "no key record" in await why_not(bad + GOOD, names)
    assert dns.asked.total() == 8
    strangers = bad.replace(b"d=agiletelecom.com", b"d=evil.example")
    assert isinstance(await weigh(strangers + GOOD, names), Trust)


SMALL = (
    b"MEgCQQDGuF4UVa0HqZnjEoNnRs1aA9DPQFMOB0uyUZ0D1tG7sVZdPDwLaPVVvDLZbQ0RXJ6MGIBVVWZfYBpTXwIDAQAB"
)


def public(key: Any) -> str:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(key.public_key().public_bytes(*form)).decode()


GOOD_RECORD = record()
P = GOOD_RECORD.partition(b"p=")[2]


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([], "no key record"),
        (Trouble.NXDOMAIN, "no key record"),
        ([b"v=DKIM1; k=rsa; p="], "revoked"),
        ([b"v=DKIM1; k=rsa"], "no key record"),
        ([b"v=spf1 -all"], "no key record"),
        ([b"v=DKIM2; p=" + P], "no key record"),
        ([b"wildcard garbage \xff\x00 ;;;"], "no key record"),
        ([b""], "no key record"),
        ([GOOD_RECORD, record(ED25519)], "2 key records"),
        ([b"p=" + P + b"; p=" + P], "no key record"),
        ([record(more="t=y; ")], "testing"),
        ([record(more="t=s:Y; ")], "testing"),
        ([record(more="h=sha1; ")], "not for sha256"),
        ([record(more="s=web; ")], "not for mail"),
        ([record(ED25519)], "another kind"),
        ([b"v=DKIM1; k=dsa; p=" + P], "another kind"),
        ([b"v=DKIM1; p=AAAA"], "cannot be read"),
        ([b"v=DKIM1; p=!" + P], "cannot be read"),
        ([b"v=DKIM1; p=" + b"A" * 7000], "cannot be read"),
        ([b"v=DKIM1; p=" + public(generate_ec(SECP256R1())).encode()], "another kind"),
        ([record(generate_private_key(65537, 2048))], "does not fit the headers"),
    ],
)  # fmt: skip
async def test_a_key_that_proves_nothing(records: Any, says: str, dns: NameServer, names: DnsNames):
    """Revoked, testing, missing, wrong or unreadable keys are no evidence."""
    dns.zone[NAME] = records
    assert says in await why_not(GOOD, names)


@pytest.mark.parametrize(
    "records",
    [
        [b"p=" + P],
        [b"v=DKIM1;p=" + P + b";"],
        [b"v=spf1 -all", GOOD_RECORD],
        [record(more="t=s; ")],
        [record(more="s=email; h=sha1:sha256; n=note; x_new=1; ")],
        [b"v=DKIM1; p=" + P[:100] + b" \t" + P[100:]],
    ],
)
async def test_a_key_may_be_written_in_other_ways(
    records: list[bytes], dns: NameServer, names: DnsNames
):
    """Short records, foreign ones beside, flags and unknown tags are as the RFC allows."""
    dns.zone[NAME] = records
    assert isinstance(await weigh(GOOD, names), Trust)


async def test_a_key_for_its_very_domain(dns: NameServer, names: DnsNames):
    """t=s allows no identity of a subdomain; without it, one is as good."""
    raw = resign(more={"i": "x@mail.agiletelecom.com"})
    assert isinstance(await weigh(raw, names), Trust)
    dns.zone[NAME] = [record(more="t=s; ")]
    assert "not for subdomains" in await why_not(raw, asked_of(dns))


async def test_a_short_key(dns: NameServer, names: DnsNames):
    """512 bits can be broken by anybody."""
    der = bytes.fromhex("305c300d06092a864886f70d0101010500034b003048024100") + b"\xc5" * 63
    der += b"\xc7" + bytes.fromhex("0203010001")
    dns.zone[NAME] = [b"v=DKIM1; p=" + base64.b64encode(der)]
    assert "512 bits" in await why_not(GOOD, names)


async def test_the_work_is_done_outside_the_loop(names: DnsNames, monkeypatch: pytest.MonkeyPatch):
    """Hashing and arithmetic run in another thread."""
    seen: list[threading.Thread] = []

    def noting(work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            seen.append(threading.current_thread())
            return work(*given)

        return noted

    for name in ("body_digest", "verify_signature"):
        monkeypatch.setattr(verify, name, noting(getattr(verify, name)))
    assert isinstance(await weigh(GOOD, names), Trust)
    assert len(seen) == 2
    assert threading.main_thread() not in seen


@pytest.mark.parametrize("piece", [b" ", b"\t", b"\r\n", b" \r\n", b"\r", b"\n", b"a "])
async def test_the_worst_body_is_hashed_quickly(piece: bytes):
    """The time grows with the mail's size, not with its square."""
    body = piece * (2 * 1024**2 // len(piece)) + b"x"
    began = time.process_time()  # of whichever thread: the machine may be busy with other work
    await asyncio.to_thread(verify.body_digest, body, "relaxed")
    assert time.process_time() - began < 2


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@given(body=st.text(alphabet=" \t\r\na", max_size=40))
def test_pieces_make_no_difference(size: int, body: str):
    """Wherever a body is cut, and whatever its line ends, its hash is that of the whole."""
    raw = body.replace("\n", "\r\n").encode()
    for canon in ("simple", "relaxed"):
        signed = Signer(canon=f"simple/{canon}").sign(OWN + b"\r\n" + raw)
        wanted = base64.b64decode(signed.partition(b" bh=")[2].partition(b";")[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verify, "_PIECE", size)
            assert verify.body_digest(raw, canon) == wanted
            bare = raw.replace(b"\r\n", b"\n")
            if b"\r" not in bare:
                assert verify.body_digest(bare, canon, b"\n") == wanted


@pytest.mark.parametrize("text", [b"a b ", b"a\t", b"a \n", b"a \r", b"ab"])
def test_a_long_line_is_cut(text: bytes):
    """A line of 10 MB would hold the interpreter's lock for 3 s, and so everybody."""
    body = text * (1024**2 // len(text)) + b"\r\n"
    pieces = list(verify._pieces(body))
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) < 65 * 1024


async def test_several_keys_that_are_not_answered(dns: NameServer):
    """They are asked for at once: in a row they outlive the deadline, and no hour is ever over."""
    raw = MAIL
    selectors = [f"{selector}._domainkey.{DOMAIN}" for selector in ("x1", "x2", "x3", "x4")]
    for selector in selectors:
        raw = Signer(selector=selector.partition(".")[0]).sign(raw)
        dns.zone[selector] = Trouble.SILENCE
    asking = asyncio.create_task(weigh(raw, asked_of(dns, timeout=3600.0)))
    async with asyncio.timeout(PATIENCE):
        while not set(selectors) <= dns.asked.keys():  # in a row, each would take an hour
            await asyncio.sleep(0.01)
    asking.cancel()
    assert "reparse this mail" in await why_not(raw, asked_of(dns, patience=0, timeout=0.3))


async def test_big_mails_hold_up_no_small_one(names: DnsNames, monkeypatch: pytest.MonkeyPatch):
    """A flood of big mails may have to wait; a genuine SMS beside it may not."""
    go_on = threading.Event()
    digest = verify.body_digest

    def waiting(body: bytes, canon: str, line_end: bytes) -> bytes:
        if len(body) > 100_000:
            go_on.wait(PATIENCE)
        return digest(body, canon, line_end)

    # What is shown is an order of events, which no busy machine may change: neither a deadline
    # nor the name server has a part in it.
    monkeypatch.setattr(dkim, "DEADLINE", 600.0)
    assert isinstance(await weigh(GOOD, names), Trust)  # the key is remembered from here on
    monkeypatch.setattr(verify, "body_digest", waiting)
    big = Signer().sign(MAIL + b"x\r\n" * 50_000)
    flood = [asyncio.create_task(weigh(big, names)) for _ in range(50)]
    try:
        assert isinstance(await weigh(GOOD, names), Trust)
        assert not any(task.done() for task in flood)
    finally:
        go_on.set()
        results = await asyncio.gather(*flood)
    assert all(isinstance(result, Trust) for result in results)


async def test_the_lower_of_two_headers_is_signed_first(names: DnsNames):
    """A header that was put on top later leaves the signature valid, and is not covered."""
    signer = Signer(headers=(*SIGNED_HEADERS, "x-note"))
    raw = signer.sign(b"X-Note: signed\r\n" + MAIL)
    alone = await weigh(raw, names)
    assert isinstance(alone, Trust)
    assert alone.covers is not None
    assert "x-note" in alone.covers
    joined = await weigh(b"X-Note: added\r\n" + raw, names)
    assert isinstance(joined, Trust)
    assert joined.covers is not None
    assert "x-note" not in joined.covers


async def test_without_a_dns_there_is_no_evidence():
    """Where nobody was made to ask for keys, nothing is believed."""
    email = mail.decode(GOOD)
    assert isinstance(email, Email)
    arrival = Arrival(IMAP, "inbox", GOOD, NOW)
    result = await trust.weigh(arrival, email, TrustSettings(dkim=(DOMAIN,)))
    assert isinstance(result, Unreadable)


@pytest.mark.parametrize("odd", ["\x1c", "\x1f", "\x0b", "\x0c"])
def test_only_blanks_and_line_ends_are_stripped_from_tags(odd: str):
    """RFC 6376 allows no other whitespace: another verifier would see another domain."""
    assert signature.tags(f"d= a.example\t\r\n {odd};")["d"] == f"a.example\t\r\n {odd}"
    with pytest.raises(signature.UnusableError):
        signature.tags(f"{odd}d=a.example")


async def test_decoding_cannot_occupy_the_threads(names: DnsNames):
    """Costly mails hold all shared threads; a signed mail is verified all the same."""
    go_on = threading.Event()
    shared = ThreadPoolExecutor(2)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(shared)
    decoding = [loop.run_in_executor(None, go_on.wait) for _ in range(8)]
    try:
        assert isinstance(await weigh(GOOD, names), Trust)
        large = Signer().sign(MAIL + b"x" * 100_000 + b"\r\n")
        assert isinstance(await weigh(large, names), Trust)
    finally:
        go_on.set()
        await asyncio.gather(*decoding)


async def test_the_threads_end_and_come_back(names: DnsNames):
    """Closed at the end of a run; they are named, and few."""
    trust.close()
    for _ in range(2):
        await asyncio.gather(*(weigh(GOOD, names) for _ in range(20)))
        ours = [each for each in threading.enumerate() if each.name.startswith("evidence")]
        assert 1 <= len(ours) <= 2
        trust.close()
        for thread in ours:
            thread.join(PATIENCE)
            assert not thread.is_alive()

"""What the operator's own server stamped is believed; what a stranger wrote like it never is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.model import Arrival, Email, Origin, Reason, Trust, Unreadable
from tests.origins import FILE, IMAP, smtp

SIGNATURE = (
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=agiletelecom.com; s=s1;\r\n"
    " h=from:to:subject:date:message-id:content-type:mime-version; bh=AAAA; b=AAAA\r\n"
)
OWN = (
    "From: Agile <smsin@agiletelecom.com>\r\n"
    "To: sms@example.com\r\n"
    "Subject: Agile Telecom -- SMS received\r\n"
    "Date: Wed, 08 Apr 2026 12:30:52 +0000\r\n"
    "Message-ID: <1@agiletelecom.com>\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: text/plain\r\n"
)
BORDER = "Received: from out.example ([192.0.2.7]) by mx.example.com; Wed, 08 Apr 2026\r\n"
OUTSIDE = "Received: from inside by out.example; Wed, 08 Apr 2026\r\n"
PASSED = "dkim=pass header.d=agiletelecom.com"
ID = {"id": "mx.example.com", "dkim": ["agiletelecom.com"]}


def stamp(said: str = PASSED, name: str = "mx.example.com; ") -> str:
    return f"Authentication-Results: {name}{said}\r\n"


def mail_of(*headers: str, own: str = OWN, signature: str = SIGNATURE) -> bytes:
    return ("".join(headers) + signature + own + "\r\nFrom: +391\r\nBody: x\r\n").encode()


async def weigh(raw: bytes, origin: Origin = IMAP, **more: Any) -> Trust | Unreadable:
    arrival = Arrival(origin, "a source", raw, datetime(2026, 4, 8, tzinfo=UTC))
    email = mail.decode(raw)
    assert isinstance(email, Email)
    policy = TrustSettings.model_validate({"authserv_id": ID | more})
    return await trust.weigh(arrival, email, policy)


async def why_not(raw: bytes, origin: Origin = IMAP, **more: Any) -> str:
    result = await weigh(raw, origin, **more)
    assert isinstance(result, Unreadable)
    assert result.reason is Reason.UNTRUSTED
    return result.detail


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (PASSED, {}),
        ("dkim=pass header.i=@agiletelecom.com header.s=s1", {}),
        ("DKIM=Pass Header.D=AgileTelecom.COM", {}),
        (f"{PASSED} header.i=x@sub.agiletelecom.com", {}),
        (f"dkim=neutral header.d=other.example; {PASSED}", {}),
        (f"spf=softfail smtp.mailfrom=x@other.example; {PASSED}", {}),
        ("spf=pass smtp.mailfrom=bounce@agiletelecom.com", {"spf": ["agiletelecom.com"]}),
        ("spf=pass smtp.mailfrom=agiletelecom.com", {"spf": ["agiletelecom.com"]}),
        ("dmarc=pass (p=NONE) header.from=agiletelecom.com", {"dmarc": ["agiletelecom.com"]}),
    ],
)
async def test_a_pass_of_a_listed_domain_is_evidence(said: str, more: dict[str, Any]):
    """The server's word that a listed domain passed is believed."""
    result = await weigh(mail_of(stamp(said), BORDER, OUTSIDE), **more)
    assert isinstance(result, Trust)
    assert result.by == "authserv_id"
    assert "mx.example.com" in result.detail
    assert "agiletelecom.com" in result.detail


@pytest.mark.parametrize("from_", ["SMS Gateway", "<>", ""])
@pytest.mark.parametrize(
    "said",
    [
        PASSED,
        "spf=pass smtp.mailfrom=agiletelecom.com",
        "dmarc=pass header.from=agiletelecom.com",
    ],
)
async def test_no_pass_speaks_for_a_from_without_an_address(said: str, from_: str):
    """The server verified a domain, and the mail claims to be of none."""
    own = f"From: {from_}\r\n" + OWN.partition("\r\n")[2]
    checks = {"spf": ["agiletelecom.com"], "dmarc": ["agiletelecom.com"]}
    why = await why_not(mail_of(stamp(said), BORDER, own=own), **checks)
    assert why == "authserv_id: the mail's From names no address that it could speak for"


@pytest.mark.parametrize(
    "name",
    [
        "MX.example.com; ",
        "mx.example.com 1; ",
        "mx.example.com (of us); ",
        "mx.example.com\r\n\t;\r\n ",
    ],
)
async def test_the_id_may_be_written_in_other_ways(name: str):
    """Case, version, comments behind it and folding make no other id."""
    assert isinstance(await weigh(mail_of(stamp(name=name), BORDER)), Trust)


@pytest.mark.parametrize(
    "name",
    [
        '"mx.example.com"; ',
        '"mx.exa\\mple.com"; ',
        "(a comment) mx.example.com; ",
        "()mx.example.com; ",
        'mx.example."com"; ',
        "mx.example.com\\; ",
        "m\\x.example.com; ",
    ],
)
async def test_a_spelling_that_strippers_miss_is_not_the_servers(name: str):
    """A server that deletes forged headers of its id may let these through; it writes none."""
    why = await why_not(mail_of(stamp(name=name), BORDER))
    assert "no Authentication-Results header is of mx.example.com" in why


KELVIN = "\N{KELVIN SIGN}"  # which str.lower() turns into a k


async def test_a_kelvin_sign_is_no_k():
    """Neither in the server's id nor in the domain that passed."""
    id_of = {"id": "mx.kelvin.example", "dkim": ["kelvin.example"]}
    own = OWN.replace("agiletelecom.com", "kelvin.example")
    signature = SIGNATURE.replace("agiletelecom.com", "kelvin.example")

    async def judged(name: str, domain: str) -> Trust | Unreadable:
        said = stamp(f"dkim=pass header.d={domain}", f"{name}; ")
        return await weigh(mail_of(said, BORDER, own=own, signature=signature), **id_of)

    assert isinstance(await judged("mx.Kelvin.example", "Kelvin.example"), Trust)
    assert isinstance(await judged(f"mx.{KELVIN}elvin.example", "kelvin.example"), Unreadable)
    assert isinstance(await judged("mx.kelvin.example", f"{KELVIN}elvin.example"), Unreadable)


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ("dkim=pass header.d=evil.example", {}),
        ("dkim=pass header.d=sub.agiletelecom.com", {}),
        ("dkim=pass header.d=agiletelecom.com.evil.example", {}),
        ("dkim=pass header.d=notagiletelecom.com", {}),
        ("dkim=pass header.d=evil.example header.i=@agiletelecom.com", {}),
        ("dkim=pass header.d=agiletelecom.com header.d=evil.example", {}),
        ("dkim=pass (header.d=agiletelecom.com) header.d=evil.example", {}),
        ('dkim=pass reason="header.d=agiletelecom.com"', {}),
        ("dkim=pass", {}),
        ("dkim=none header.d=agiletelecom.com", {}),
        ("dkim=neutral (body hash did not verify) header.d=agiletelecom.com", {}),
        ("dkim=temperror header.d=agiletelecom.com", {}),
        ("x-dkim=pass header.d=agiletelecom.com", {}),
        ("arc=pass header.d=agiletelecom.com", {}),
        (f"{PASSED}; dkim=fail header.d=other.example", {}),
        (f"{PASSED}; dkim=neutral header.d=agiletelecom.com", {}),
        (f"{PASSED}; dmarc=fail header.from=agiletelecom.com", {}),
        (f"{PASSED}; spf=fail smtp.mailfrom=x@agiletelecom.com", {}),
        (f"{PASSED}; dkim=policy header.d=agiletelecom.com", {}),
        ("spf=pass smtp.mailfrom=x@agiletelecom.com", {}),
        ("spf=pass smtp.helo=agiletelecom.com", {"spf": ["agiletelecom.com"]}),
        ("spf=pass smtp.mailfrom=agiletelecom.com@evil.example", {"spf": ["agiletelecom.com"]}),
        (
            "spf=pass smtp.mailfrom=SRS0=aa=bb=agiletelecom.com=smsin@forwarder.example",
            {"spf": ["agiletelecom.com"]},
        ),
        (
            'spf=pass smtp.mailfrom="a) dmarc=pass (b"@evil.example',
            {"dmarc": ["agiletelecom.com"], "spf": ["agiletelecom.com"]},
        ),
        (
            'spf=pass smtp.mailfrom="a; dkim=pass header.d=agiletelecom.com; x"@evil.example',
            {"spf": ["agiletelecom.com"]},
        ),
        ('spf=pass smtp.mailfrom="x@agiletelecom.com"', {"spf": ["agiletelecom.com"]}),
        ("dmarc=pass header.from=evil.example", {"dmarc": ["agiletelecom.com"]}),
        ("dkim=pass header.d==?us-ascii?Q?agiletelecom.com?=", {}),
    ],
)  # fmt: skip
async def test_anything_less_is_not(said: str, more: dict[str, Any]):
    """Another domain, another check, another result, a fail beside a pass: no evidence."""
    assert "the server" in await why_not(mail_of(stamp(said), BORDER), **more)


async def test_dmarc_is_of_the_from_that_we_read():
    """A server that saw another From than we do has vouched for another mail."""
    raw = mail_of(stamp("dmarc=pass header.from=agiletelecom.com"), BORDER)
    other = raw.replace(b"smsin@agiletelecom.com", b"smsin@evil.example")
    assert "another domain than the From's" in await why_not(other, dmarc=["agiletelecom.com"])


@pytest.mark.parametrize(
    ("headers", "more", "says"),
    [
        # A forged one below the server's, which says that nothing passed.
        ((stamp("dkim=none"), BORDER, stamp()), {}, "no listed domain"),
        ((stamp("dkim=none"), stamp(), BORDER), {}, "no listed domain"),
        # A forged one alone: below the border's Received, or below the sender's.
        ((BORDER, stamp()), {}, "stands below 1 Received headers, of which 0"),
        ((BORDER, OUTSIDE, stamp()), {"received_above": 1}, "stands below 2 Received"),
        # Two of the server's say both: the fail counts.
        ((stamp(), stamp("dmarc=fail header.from=a.example"), BORDER), {"headers": 2}, "=fail"),
        ((stamp("dmarc=fail"), stamp(), BORDER), {}, "dmarc=fail"),
        # Other ids are never looked at, wherever they stand.
        ((stamp(name="mx.evil.example; "), BORDER), {}, "no Authentication-Results header"),
        ((stamp(name="mx.example.com.evil.example; "), BORDER), {}, "no Authentication"),
        ((stamp(name=""), BORDER), {}, "no Authentication-Results header"),
        (("X-" + stamp(), "ARC-" + stamp(), BORDER), {}, "no Authentication-Results header"),
        # What cannot be read is not skipped in favour of one further down.
        ((stamp("dkim=pass ((("), stamp(), BORDER), {}, "never ends"),
        ((stamp("dkim=pass " + "x" * 9000), stamp(), BORDER), {}, "longer than"),
        ((stamp(name="mx.example.com 2; "), stamp(), BORDER), {}, "version"),
        ((), {}, "no Authentication-Results header"),
    ],
)  # fmt: skip
async def test_only_the_servers_place_counts(
    headers: tuple[str, ...], more: dict[str, Any], says: str
):
    """A header with the server's id counts only where nobody else can have put it."""
    assert says in await why_not(mail_of(*headers), **more)


async def test_several_headers_of_one_server():
    """Where each filter stamps one, as many are read as the config says, and no more."""
    dmarc = stamp("dmarc=pass header.from=agiletelecom.com")
    raw = mail_of(dmarc, stamp(), BORDER)
    assert "no listed domain" in await why_not(raw)
    assert isinstance(await weigh(raw, headers=2), Trust)
    forged = mail_of(dmarc, stamp("dkim=none"), BORDER, stamp())
    assert "no listed domain" in await why_not(forged, headers=3, received_above=0)


async def test_a_server_that_stamps_below_its_own_received():
    """Google and those who deliver by LMTP have Received headers above: as many as are named."""
    raw = mail_of("Received: by 2002:a05::1 with SMTP\r\n", BORDER, stamp(), OUTSIDE)
    assert "below 2 Received headers, of which 1" in await why_not(raw, received_above=1)
    assert isinstance(await weigh(raw, received_above=2), Trust)


async def test_a_server_without_an_id():
    """Microsoft 365 writes no id: the empty one names it, and nobody else's."""
    raw = mail_of("Received: inside\r\n", stamp(name=""), BORDER)
    assert isinstance(await weigh(raw, id="", received_above=1), Trust)
    assert "no Authentication" in await why_not(mail_of(stamp(), BORDER), id="")


async def test_one_of_several_ids():
    """An operator with several servers names them all."""
    raw = mail_of(stamp(), BORDER)
    assert isinstance(await weigh(raw, id=["mx2.example.com", "MX.example.com"]), Trust)


@pytest.mark.parametrize(
    ("peer", "networks", "believed"),
    [
        ("192.0.2.9", [], False),
        ("192.0.2.9", ["198.51.100.0/24"], False),
        (None, ["0.0.0.0/0"], False),
        ("192.0.2.9", ["192.0.2.0/24"], True),
        ("::ffff:192.0.2.9", ["192.0.2.0/24"], True),
    ],
)
async def test_by_smtp_only_from_the_server_itself(
    peer: str | None, networks: list[str], believed: bool
):
    """Whoever connects to us can write any header, so the peer must be the server."""
    raw = mail_of("Received: from mx.example.com by us\r\n", stamp(), BORDER)
    if believed:
        assert isinstance(await weigh(raw, smtp(peer), networks=networks), Trust)
    else:
        assert "came by SMTP" in await why_not(raw, smtp(peer), networks=networks)


async def test_a_file_proves_nothing():
    """Somebody who asks an operator to import a mail can have written the header himself."""
    raw = mail_of(stamp(), BORDER)
    assert "from a file" in await why_not(raw, FILE)


@pytest.mark.parametrize(
    ("signature", "own", "says"),
    [
        (SIGNATURE.replace("bh=", "l=10; bh="), OWN, "has l="),
        (SIGNATURE.replace(":content-type", ""), OWN, "does not cover the header Content-Type"),
        (SIGNATURE.replace(":subject", ""), OWN, "does not cover the header Subject"),
        (SIGNATURE, "Content-Transfer-Encoding: base64\r\n" + OWN, "Content-Transfer-Encoding"),
        (SIGNATURE, OWN.replace("Message-ID", "X-Id"), "no Message-Id"),
        (SIGNATURE, "Subject: Another\r\n" + OWN, "more than one Subject"),
        (SIGNATURE, "Content-Type: text/html\r\n" + OWN, "more than one Content-Type"),
        (SIGNATURE.replace("sha256", "sha1"), OWN, "algorithm"),
        ("", OWN, "has no DKIM signature of agiletelecom.com"),
        (SIGNATURE + SIGNATURE.replace("bh=", "l=10; bh="), OWN, "has l="),
        (SIGNATURE + "DKIM-Signature: nonsense\r\n", OWN, "cannot be read"),
        (SIGNATURE * 50, OWN, "more than 8 DKIM signatures"),
    ],
)
async def test_a_valid_signature_may_prove_too_little(signature: str, own: str, says: str):
    """The server says that a signature is valid; what it covers is looked at here."""
    assert says in await why_not(mail_of(stamp(), BORDER, own=own, signature=signature))


@pytest.mark.parametrize("signer", ["agiletelecom.com", "a.agiletelecom.com", "b.agiletelecom.com"])
async def test_dmarc_may_rest_on_any_signature_of_the_organisation(signer: str):
    """DMARC takes a sibling's signature for the From's: it must cover as much."""
    said = stamp("dmarc=pass header.from=a.agiletelecom.com")
    own = OWN.replace("smsin@agile", "smsin@a.agile")
    weak = SIGNATURE.replace("d=agiletelecom.com", f"d={signer}").replace(":content-type", "")
    more = {"dmarc": ["a.agiletelecom.com"]}
    assert "too little" in await why_not(mail_of(said, BORDER, own=own, signature=weak), **more)
    by_spf = mail_of(said, BORDER, own=own, signature=weak.replace("agiletelecom", "esp"))
    assert isinstance(await weigh(by_spf, **more), Trust)


async def test_another_signature_may_be_weaker():
    """Beside the provider's own, signatures of its mailing service or a subdomain don't matter."""
    weak = SIGNATURE.replace(":content-type", "")
    others = weak.replace("d=", "d=esp.") + weak.replace("d=agile", "d=sub.agile")
    assert isinstance(await weigh(mail_of(stamp(), BORDER, signature=SIGNATURE + others)), Trust)


async def test_a_pass_by_identity_may_be_a_parents_signature():
    """header.i alone may name a subdomain of the signer, whose signature is then looked at."""
    raw = mail_of(stamp("dkim=pass header.i=@sub.agiletelecom.com"), BORDER)
    assert isinstance(await weigh(raw, dkim=["sub.agiletelecom.com"]), Trust)
    weak = mail_of(
        stamp("dkim=pass header.i=@sub.agiletelecom.com"),
        BORDER,
        signature=SIGNATURE.replace(":content-type", ""),
    )
    assert "too little" in await why_not(weak, dkim=["sub.agiletelecom.com"])


async def test_a_senders_check_needs_no_signature():
    """A pass of SPF is about the machine that sent the whole mail."""
    said = stamp("spf=pass smtp.mailfrom=x@agiletelecom.com")
    result = await weigh(mail_of(said, BORDER, signature=""), spf=["agiletelecom.com"])
    assert isinstance(result, Trust)
    assert result.covers is None


async def test_what_the_signature_leaves_out_is_known():
    """The evidence says which headers it covers in each place where they stand."""
    own = "X-Sms: 1\r\nTo: other@example.com\r\n" + OWN
    result = await weigh(mail_of(stamp(), BORDER, own=own))
    assert isinstance(result, Trust)
    assert result.covers is not None
    assert {"from", "subject", "date"} <= result.covers
    assert not {"x-sms", "to"} & result.covers


@pytest.mark.parametrize("break_", ["Subject : x\r\n", "X: a\rFrom: b\r\n", "X: a\0\r\n"])
async def test_headers_that_others_read_in_another_way(break_: str):
    """Headers that two programs may part in two ways are no evidence."""
    assert "authserv_id: " in await why_not(mail_of(stamp(), BORDER, break_))


@pytest.mark.parametrize("count", [100, 900])
async def test_a_heap_of_forged_headers(count: int):
    """However many there are, the topmost counts, and it is quick."""
    raw = mail_of(stamp("dkim=none"), BORDER, stamp() * count)
    began = time.process_time()
    assert "no listed domain" in await why_not(raw)
    assert time.process_time() - began < 0.5


async def test_a_header_of_a_megabyte():
    """A mail whose headers are over the bound is not even decoded."""
    raw = mail_of(stamp("dkim=pass header.d=" + "a" * 1024**2), BORDER)
    decoded = mail.decode(raw)
    assert isinstance(decoded, Unreadable)
    assert decoded.reason is Reason.UNDECODABLE

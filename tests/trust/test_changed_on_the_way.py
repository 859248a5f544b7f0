"""Whoever owns one signed mail sends it again, changed as far as the signature allows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bridge import providers
from bridge.config.settings import ProviderSettings
from bridge.model import Arrival, Ignored, Reason, Unreadable
from bridge.reader import Reader, Reading
from bridge.trust.resolver import DnsNames
from tests.origins import IMAP
from tests.trust.signing import DOMAIN, SIGNED_HEADERS, Signer

NOW = datetime(2026, 4, 8, 12, 31, tzinfo=UTC)
HEAD = (
    b"From: Agile <smsin@agiletelecom.com>\r\n"
    b"To: sms@example.com\r\n"
    b"Subject: Agile Telecom -- SMS received\r\n"
    b"Date: Wed, 08 Apr 2026 12:30:52 +0000\r\n"
    b"Message-ID: <1@agiletelecom.com>\r\n"
    b"MIME-Version: 1.0\r\n"
)
FIELDS = b"From: +393301234567\r\nTo: +393331234333\r\nDate/Time: 20260408143052\r\n"
AGILE = {"name": "agile", "time_zone": "Europe/Rome", "trust": {"dkim": [DOMAIN]}}


async def read(
    raw: bytes, names: DnsNames, *tables: dict[str, Any]
) -> Reading | Unreadable | Ignored:
    known = [ProviderSettings.model_validate(table) for table in tables or (AGILE,)]
    policies = {each.name: each.trust for each in known}
    reader = Reader(providers.build(known), policies, lambda: NOW, names=names)
    return await reader.read(Arrival(IMAP, "inbox", raw, NOW))


def plain(body: bytes, more: bytes = b"Content-Type: text/plain; charset=utf-8\r\n") -> bytes:
    return HEAD + more + b"\r\n" + body


def multipart(body: bytes) -> bytes:
    return plain(
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body + b"\r\n--b--\r\n",
        b'Content-Type: multipart/mixed; boundary="b"\r\n',
    )


async def test_a_blank_in_the_line_below_a_parts_headers(names: DnsNames):
    """Relaxed canonicalization takes it away, so it must not move where the text begins."""
    forged = FIELDS.replace(b"+393301234567", b"+390000000000").replace(b"333123", b"333999")
    body = FIELDS + b"Body: hello\r\n\r\n" + forged + b"Body: your code is 666\r\n"
    raw = Signer().sign(multipart(body))
    genuine = await read(raw, names)
    assert isinstance(genuine, Reading)
    changed = raw.replace(b"charset=utf-8\r\n\r\nFrom", b"charset=utf-8\r\n \r\nFrom")
    assert changed != raw
    result = await read(changed, names)
    assert isinstance(result, Reading)
    assert result.messages[0].message.sms == genuine.messages[0].message.sms


@pytest.mark.parametrize(("old", "new"), [(b'"b x"', b'"b \t x"'), (b"--b x\r\n", b"--b  x\r\n")])
async def test_a_boundary_with_blanks(old: bytes, new: bytes, names: DnsNames):
    """However many there are, the parts are the same."""
    html = b"--b x\r\nContent-Type: text/html\r\n\r\n<p>no</p>\r\n--b x--\r\n"
    body = multipart(FIELDS + b"Body: hello").replace(b'"b"', b'"b x"').replace(b"--b--\r\n", html)
    raw = Signer().sign(body.replace(b"--b\r\n", b"--b x\r\n"))
    genuine = await read(raw, names)
    assert isinstance(genuine, Reading)
    assert genuine.messages[0].message.sms.body == "hello"
    again = await read(raw.replace(old, new), names)
    assert isinstance(again, Reading)
    assert again.messages[0].message.sms == genuine.messages[0].message.sms


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"code is", b"code  is"),
        (b"code is", b"code\tis"),
        (b"123\r\n", b"123 \r\n"),
        (b"123\r\n", b"123\r\n\r\n\r\n"),
        (b"Message-ID: ", b"Message-ID: \r\n\t"),
    ],
)
async def test_other_blanks_make_no_other_message(old: bytes, new: bytes, names: DnsNames):
    """What relaxed canonicalization does not see makes no second message of a mail."""
    raw = Signer().sign(plain(FIELDS + b"Body: your code is 123\r\n"))
    once = await read(raw, names)
    assert isinstance(once, Reading)
    assert old in raw
    again = await read(raw.replace(old, new), names)
    assert isinstance(again, Reading)
    assert again.messages[0].identity.email == once.messages[0].identity.email
    assert again.messages[0].identity.message_id == once.messages[0].identity.message_id


async def test_a_blank_behind_a_soft_line_end(names: DnsNames):
    """It is no part of the line (RFC 2045, 6.7), and a relaxed signature does not see it."""
    more = (
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n"
    )
    signer = Signer(headers=(*SIGNED_HEADERS, "content-transfer-encoding"))
    raw = signer.sign(plain(FIELDS + b"Body: your code is 12=\r\n3\r\n", more))
    once = await read(raw, names)
    assert isinstance(once, Reading)
    again = await read(raw.replace(b"12=\r\n", b"12= \t\r\n"), names)
    assert isinstance(again, Reading)
    assert (
        again.messages[0].message.sms.body
        == once.messages[0].message.sms.body
        == "your code is 123"
    )


async def test_a_provider_that_is_known_by_an_unsigned_header(names: DnsNames):
    """Which account a mail belongs to is not what somebody on the way wrote on it."""
    tables = [
        {
            "name": name,
            "senders": ["smsin@agiletelecom.com"],
            "trust": {"dkim": [DOMAIN]},
            "template": {
                "recipient": f"^{name}@example.com$",
                "from": {"label": "From"},
                "to": {"value": number},
                "body": {"label": "Body"},
            },
        }
        for name, number in (("one", "+393331111111"), ("two", "+393332222222"))
    ]
    raw = Signer().sign(plain(FIELDS + b"Body: x\r\n").replace(b"To: sms@", b"To: one@"))
    result = await read(raw, names, *tables)
    assert isinstance(result, Reading)
    unsigned = Signer().sign(plain(FIELDS + b"Body: x\r\n"))
    result = await read(b"Delivered-To: two@example.com\r\n" + unsigned, names, *tables)
    assert isinstance(result, Unreadable)
    assert result.reason is Reason.UNTRUSTED
    assert "delivered-to" in result.detail


async def test_moved_blanks_cut_no_signed_sms(names: DnsNames):
    """A footer that only blanks tell from the SMS's own words would shorten it, under a new id."""
    table = {**AGILE, "footers": ["Sent by"]}
    body = FIELDS + b"Body: ask who was Sentby\r\nSent  by you\r\nthen pay\r\n\r\nSent by Agile\r\n"
    raw = Signer().sign(plain(body))
    genuine = await read(raw, names, table)
    assert isinstance(genuine, Reading)
    for old, new in ((b"Sent by Agile", b"Sent\tby Agile"), (b"Sent  by", b"Sent by")):
        again = await read(raw.replace(old, new), names, table)
        assert isinstance(again, Reading)
        assert again.messages[0].message.id == genuine.messages[0].message.id


async def test_a_blank_that_makes_a_label_is_refused(names: DnsNames):
    """A tab in place of a space behind a word would let the text begin elsewhere."""
    body = FIELDS + b"Text of a customer\r\nBody: hello\r\n"
    raw = Signer().sign(plain(body))
    assert isinstance(await read(raw, names), Reading)
    result = await read(raw.replace(b"Text of", b"Text\tof"), names)
    assert isinstance(result, Unreadable)
    assert "spaces or tabs, which its signature does not cover" in result.detail

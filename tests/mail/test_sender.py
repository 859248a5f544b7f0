"""A sender is taken only from one clean From header."""

from __future__ import annotations

import pytest

from bridge import mail
from bridge.model import Email


def read(headers: bytes) -> Email:
    decoded = mail.decode(headers + b"\r\n\r\ntext")
    assert isinstance(decoded, Email), decoded
    return decoded


@pytest.mark.parametrize(
    ("value", "sender"),
    [
        (b"smsin@agiletelecom.com", "smsin@agiletelecom.com"),
        (b" <SMSIN@AgileTelecom.com> ", "smsin@agiletelecom.com"),
        (b"Agile Telecom <smsin@agiletelecom.com>", "smsin@agiletelecom.com"),
        (b'"Agile, Telecom" <smsin@agiletelecom.com>', "smsin@agiletelecom.com"),
        (b"Agile\r\n\tTelecom <smsin@agiletelecom.com>", "smsin@agiletelecom.com"),
        (b"=?utf-8?q?Agile_=E8?= <a@x.com>", "a@x.com"),
        ("Però <a@x.com>".encode(), "a@x.com"),
        (b"a@x.com (Agile)", "a@x.com"),
        (b"Agile <a@x.com> (by SMS)", "a@x.com"),
        (b"Agile (by SMS) <a@x.com>", "a@x.com"),
        (b"[Agile] SMS <a@x.com>", "a@x.com"),
        (b"sms@sms_gate.example.com", "sms@sms_gate.example.com"),
        ("Büro <grüße@bücher.example>".encode(), "grüße@bücher.example"),
        ("smsin@agilételecom.com".encode(), "smsin@agilételecom.com"),
        ("SMS@\N{KELVIN SIGN}pn.example".encode(), "sms@\N{KELVIN SIGN}pn.example"),
        (b'"smsin@agiletelecom.com" <evil@example.org>', "evil@example.org"),
        (b"=?utf-8?q?smsin=40agiletelecom=2Ecom?= <evil@example.org>", "evil@example.org"),
        (b"=?utf-8?q?=3Csmsin=40agiletelecom=2Ecom=3E?= <evil@example.org>", "evil@example.org"),
    ],
)
def test_one_mailbox_is_a_sender(value: bytes, sender: str):
    """The address of a plain mailbox is the sender, whatever its display name pretends."""
    email = read(b"From: " + value)
    assert (email.sender, email.sender_defect) == (sender, None)


def test_a_mailbox_files_separator_is_no_header():
    """The line that mailbox files put in front of a mail does not spoil its sender."""
    assert read(b"From x@y Wed Apr  8 14:30:52 2026\r\nFrom: a@x").sender == "a@x"


@pytest.mark.parametrize(
    "value",
    [
        b"SMS Gateway", b"", b"<>", b"SMS Gateway <>", b'"SMS, Gateway" <>',
        b"undisclosed-senders:;", b"+393301234567", b"<sms>", b"sms (the gateway)",
        b"=?utf-8?q?SMS_B=C3=BCro?=",
        "SMS Büro".encode(),
    ],
)  # fmt: skip
def test_a_from_without_an_address_is_no_defect(value: bytes):
    """It names nobody, so it cannot name somebody else; whoever needs a sender has none."""
    email = read(b"From: " + value)
    assert (email.sender, email.sender_defect) == (None, None)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (b"Subject: x", "no From"),
        (b"From: a@x\r\nFrom: b@x", "2 From headers"),
        (b"From: a@x\r\nfrom: a@x", "2 From headers"),
        (b"From: smsin@agiletelecom.com <evil@x>", "one plain mailbox"),
        (b"From: <smsin@agiletelecom.com> <evil@x>", "one plain mailbox"),
        (b"From: a@x, b@x", "one plain mailbox"),
        (b"From: Group: a@x;", "one plain mailbox"),
        (b'From: "a@x', "one plain mailbox"),
        (b'From: "smsin"@agiletelecom.com', "one plain mailbox"),
        (b"From: smsin@agiletelecom.com(a)@x", "one plain mailbox"),
        (b"From: a@x <a@x", "one plain mailbox"),
        (b"From: smsin@agil\xe9telecom.com", "one plain mailbox"),
        ("From: smsin@agile\u2003telecom.com".encode(), "one plain mailbox"),
        (b"From: a@x (b) (c)", "one plain mailbox"),
        (b"From: Agile (<smsin@agiletelecom.com>) <b@x>", "one plain mailbox"),
        (b"From: Agile (smsin@agiletelecom.com) <b@x>", "one plain mailbox"),
        (b"From: [smsin@agiletelecom.com] <b@x>", "one plain mailbox"),
        (b"From: a@[192.0.2.1]", "one plain mailbox"),
        (b"From: (a (b) c) <b@x>", "one plain mailbox"),
        (b"From: <a@x> (smsin@agiletelecom.com) <b@x>", "one plain mailbox"),
        (b"From: <@relay:smsin@agiletelecom.com>", "one plain mailbox"),
        (b"From: =?utf-8?q?smsin=40agiletelecom=2Ecom?=", "one plain mailbox"),
        (b"From: =?utf-8?b?c21zaW5AYWdpbGV0ZWxlY29tLmNvbQ==?= <>", "one plain mailbox"),
        ("From: smsin\N{FULLWIDTH COMMERCIAL AT}agiletelecom.com".encode(), "one plain mailbox"),
        (b'From: "smsin@agiletelecom.com" <>', "one plain mailbox"),
        (b"From: <smsin@> (agiletelecom.com)", "one plain mailbox"),
        (b"From: SMS\r\nFrom: <>", "2 From headers"),
        (b"From: =?UTF-8?Q?=0A?=", "control character"),
        (b"From: =?UTF-8?Q?=0A?= <a@x>", "control character"),
        (b"From: =?UTF-8?Q?=0D=0AFrom:_b@x?= <a@x>", "control character"),
        (b"From: a\x01 <a@x>", "control character"),
        (b"From: a\0 <a@x>", "NUL"),
        (b"Subject: x\r\nFrom : evil@x\r\nFrom: a@x", "malformed"),
        (b"From : a@x\r\nSubject: x", "malformed"),
        (b"Subject: x\r\nno header\r\nFrom: a@x", "malformed"),
        (b"Subject: x\rFrom: b@x\r\nFrom: a@x", "bare CR"),
        (b"Subject: x\nX-A: b\r\nFrom: a@x", "bare LF"),
    ],
)
def test_everything_else_is_refused_with_a_sentence(headers: bytes, says: str):
    """What another program could read as another sender is no sender, and it is said why."""
    email = read(headers)
    assert email.sender is None
    assert says in (email.sender_defect or "")

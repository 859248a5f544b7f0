from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.sources.smtp.syntax import ReceivedHeader, Recipients, read_path, with_enhanced_code

NOON = datetime(2026, 4, 8, 12, 30, 53, tzinfo=UTC)


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        ("<a@b.it>", "a@b.it", ""),
        (" <a@b.it> SIZE=10", "a@b.it", " SIZE=10"),
        ("a@b.it", "a@b.it", ""),
        ("a@b.it SIZE=10", "a@b.it", " SIZE=10"),
        ("<>", "<>", ""),
        ("<> BODY=8BITMIME", "<>", " BODY=8BITMIME"),
        ("<postmaster>", "postmaster", ""),
        ('<"a b"@c.it>', '"a b"@c.it', ""),
        ("<a@[192.0.2.1]>", "a@[192.0.2.1]", ""),
        ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""),
        ("<@x.it,@y.it:a@b.it>", "a@b.it", ""),
        ("<è@pürs.it> SMTPUTF8", "è@pürs.it", " SMTPUTF8"),
        ("<a=b+c/d@e.it>", "a=b+c/d@e.it", ""),
    ],
)
def test_an_address_is_parted_from_its_parameters(
    argument: str, address: str, parameters: str
) -> None:
    """Every path of RFC 5321 is read, and the sloppy ones that real senders write."""
    assert read_path(argument) == (address, parameters)


@pytest.mark.parametrize(
    "argument",
    [
        "", "<", ">", "<<", "<a", "a>", "<a@>", "<@b>", "<a@b@c>", "<a b@c>", "<a@b\x00>",
        "<a\udce8@b>", "<(x)a@b>", '<"a>', "<a@[>", "< a@b>", "<a@b\x07>", "<" + "a" * 600 + "@b>",
    ],
)  # fmt: skip
def test_what_is_no_address_is_none(argument: str) -> None:
    """Brackets left open, controls, bytes beyond UTF-8 and comments are refused, not guessed."""
    assert read_path(argument) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("sms@example.com", True),
        ("SMS@EXAMPLE.com", True),
        ("any+thing@Bridge.Example", True),
        ("sms@example.com.evil.org", False),
        ("x@sub.bridge.example", False),
        ("xsms@example.com", False),
        ("example.com", False),
        ("postmaster", False),
    ],
)
def test_only_named_recipients_are_allowed(address: str, allowed: bool) -> None:
    """Addresses and whole domains are compared without case, and to the end."""
    recipients = Recipients(("Sms@Example.com", "@bridge.example"))
    assert recipients.allow(address) is allowed


def test_nobody_named_means_everybody() -> None:
    """Without a list every recipient is taken."""
    assert Recipients(()).allow("x@y")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("250 OK", "250 2.0.0 OK"),
        ("550 5.1.1 No", "550 5.1.1 No"),
        ("354 Go", "354 Go"),
        ("503 Error: need MAIL", "503 5.5.1 Error: need MAIL"),
    ],
)
def test_a_reply_gets_one_enhanced_code(reply: str, said: str) -> None:
    """A code is put in where there is none, and never twice."""
    assert with_enhanced_code(reply) == said


def trace(**changes: object) -> str:
    fields: dict[str, object] = {
        "greeting": "mx.example", "peer": "192.0.2.1", "hostname": "bridge.example",
        "extended": True, "tls": False, "utf8": False, "id": "abc", "at": NOON,
    }  # fmt: skip
    return ReceivedHeader(**(fields | changes)).to_bytes().decode()  # type: ignore[arg-type]


def test_the_received_header_is_that_of_rfc_5321() -> None:
    """It names peer, us, protocol, id and time."""
    assert trace() == (
        "Received: from mx.example ([192.0.2.1])\r\n"
        "\tby bridge.example with ESMTP id abc;\r\n"
        "\tWed, 08 Apr 2026 12:30:53 +0000\r\n"
    )


def test_the_received_header_says_how_it_came() -> None:
    """HELO, TLS, UTF-8 and IPv6 each show."""
    assert "with SMTP id" in trace(extended=False)
    assert "with ESMTPS id" in trace(tls=True)
    assert "with UTF8SMTPS id" in trace(tls=True, utf8=True)
    assert "([IPv6:2001:db8::1])" in trace(peer="2001:db8::1")
    assert "from mx.example\r\n" in trace(peer=None)


@pytest.mark.parametrize("greeting", ["a b", "a\r\nX: y", "è.it", "\udce8", "", "x" * 300, "(a)"])
def test_a_greeting_cannot_write_headers(greeting: str) -> None:
    """What is no host name is not repeated."""
    assert trace(greeting=greeting).startswith("Received: from unknown ([192.0.2.1])\r\n\tby ")

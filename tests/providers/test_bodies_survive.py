"""Whatever an SMS says arrives unchanged, whichever way the mail carries it."""

from __future__ import annotations

import base64
import html
import quopri
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.model import SmsMessage
from tests.providers.reading import read

# All that mail can carry: every character but NUL and lone surrogates. A CR is a line end.
BODIES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
HEAD = (
    "From: smsin@agiletelecom.com\n"
    "Subject: Agile Telecom -- SMS received\n"
    "Content-Type: text/plain; charset={charset}\n"
    "Content-Transfer-Encoding: {encoding}\n\n"
)
FIELDS = "From: +393301234567\nTo: +393331234333\nDate/Time: 20260408143052\nBody: "


def as_8bit(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


def as_quoted_printable(text: bytes) -> bytes:
    return quopri.encodestring(text).replace(b"\n", b"\r\n")


def as_base64(text: bytes) -> bytes:
    return base64.encodebytes(text.replace(b"\n", b"\r\n")).replace(b"\n", b"\r\n")


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "8bit": as_8bit,
    "quoted-printable": as_quoted_printable,
    "base64": as_base64,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-15", "gb18030"])
@given(body=BODIES)
@example(body="")
@example(body="\n\n leading and trailing \n\n")
@example(body="To: 1\nBody: 2\nDate/Time: 3")
@example(body="--\n-- \n.\n..\nFrom x\n>From y")
@example(body="=3D =\n=E8 &amp; &timestamp=1")
@example(body="\ufeff\u2028\x85\x0b\x1c\u202e\u200f")
def test_a_body_survives(encoding: str, charset: str, body: str):
    """Character for character, after the normal handling of line ends."""
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    body = body.encode(charset, "ignore").decode(charset)  # what this charset can say
    content = ENCODINGS[encoding](f"{FIELDS}{body}\n".encode(charset))
    head = HEAD.format(charset=charset, encoding=encoding).replace("\n", "\r\n").encode()
    _, message = read(head + content)
    assert isinstance(message, SmsMessage), message
    assert message.body == body
    assert message.sender == "+393301234567"
    assert message.warnings == ()


@given(body=BODIES)
def test_a_body_survives_an_html_mail_that_escapes_it(body: str):
    """Entities are un-escaped once; blanks are HTML's to fold, so only words are compared."""
    words = body.split()
    page = "<br>".join(f"{label}" for label in FIELDS.split("\n")) + html.escape(" ".join(words))
    head = "From: smsin@agiletelecom.com\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    _, message = read((head + page).encode())
    assert isinstance(message, SmsMessage), message
    assert message.body.split() == words

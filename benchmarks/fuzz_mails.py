"""Fuzz subject: mutations of the fixtures, read as every mail is: decode, choose, read, explain."""

from __future__ import annotations

import random
import re
from typing import Final

from benchmarks.mutations import fixtures, mutate
from bridge import mail, providers
from bridge.model import Email, SmsMessage, Unreadable
from bridge.providers.base import Explains
from tests.providers.reading import PROVIDERS

_HEADERS_TOO: Final = 0.25  # of all cases
_TYPES: Final = (
    b"text/html", b"text/html; charset=utf-16", b"text/plain; charset=utf-16le", b"text/plain; x",
    b"text/plain; charset=iso-2022-jp", b"text/plain; charset=gb18030; format=flowed; delsp=yes",
    b"text/plain; charset=utf-7", b"multipart/alternative; boundary=b", b"multipart/mixed",
)  # fmt: skip
_CONTENT: Final = (
    *((b"Content-Type", b"Content-Type: " + value) for value in _TYPES),
    *(
        (b"Content-Transfer-Encoding", b"Content-Transfer-Encoding: " + value)
        for value in (b"base64", b"quoted-printable", b"x-uuencode", b"8bit")
    ),
)


def make(rng: random.Random) -> bytes:
    """Make one case: a fixture with one to eight mutations.

    Most leave the headers alone, or nearly all cases would end at a From that isn't accepted.
    """
    whole = rng.choice(fixtures())
    head, blank, content = whole.partition(b"\r\n\r\n")
    if rng.random() < _HEADERS_TOO:
        head, blank, content = b"", b"", whole
    elif rng.random() < _HEADERS_TOO:
        wanted, new = rng.choice(_CONTENT)
        head = re.sub(rb"(?im)^%b:[^\r]*(\r\n[ \t][^\r]*)*" % wanted, lambda _: new, head)
    return head + blank + mutate(rng, content, fixtures())


def run(raw: bytes) -> str:
    """Read a mail and return the outcome; whatever raises, raises here."""
    email = mail.decode(raw)
    if not isinstance(email, Email):
        # decode makes a value of every exception of its own, which must not hide it here.
        assert "failed" not in email.detail, email.detail
        return email.reason.value
    provider = providers.choose(PROVIDERS, email)
    if isinstance(provider, Unreadable):
        return provider.reason.value
    result = providers.read_signed(provider, email)  # as often as a mail is ever read
    if isinstance(provider, Explains):
        provider.explain(email)
    if isinstance(result, SmsMessage | tuple):
        for sms in (result,) if isinstance(result, SmsMessage) else result:
            sms.body.encode("utf-8")
        return "message"
    return result.reason.value if isinstance(result, Unreadable) else "ignored"

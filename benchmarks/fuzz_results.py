"""Fuzz subject: Authentication-Results headers; no word of a stranger becomes a pass.

Servers copy text from strangers into this header: addresses, host names, reasons. A case is a
server's header that reports no pass and holds such text, escaped as RFC 8601 says, above headers
that the stranger wrote too. Some cases damage the server's header itself: then only the time
counts, and that nothing raises.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple

from benchmarks.mutations import NASTY, mutate
from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.mail import header_fields
from bridge.model import Arrival, Email, Trust
from bridge.trust import results
from tests.origins import IMAP

_POLICY: Final = TrustSettings.model_validate({
    "authserv_id": {
        "id": "mx.example.com",
        "dkim": ["a.example"],
        "spf": ["a.example"],
        "dmarc": ["a.example"],
    }
})  # fmt: skip
_ARRIVED: Final = datetime(2026, 4, 8, 12, 31, tzinfo=UTC)
_MAIL: Final = (
    b"Received: from evil.example by mx.example.com; Wed, 8 Apr 2026 12:30:52 +0000\r\n"
    b"%b"
    b"From: sms@a.example\r\nSubject: SMS\r\nMessage-ID: <1@a.example>\r\n\r\ntext\r\n"
)
_PASSES: Final = (
    b"mx.example.com; dkim=pass header.d=a.example",
    b"mx.example.com; spf=pass smtp.mailfrom=x@a.example",
    b"mx.example.com; dmarc=pass header.from=a.example",
    b"mx.example.com; dkim=pass header.i=@a.example header.s=s1; spf=pass smtp.mailfrom=a.example",
)
# What a stranger writes to get out of a quote, a comment or a word, and back into one.
_OUT: Final = (
    b"x;", b"x ;", b") ;", b'" ;', b")", b'"', b"\\) ;", b'\\" ;', b"\\\\) ;", b'\\\\" ;', b'"@x ;',
    b'a"@b ; ', b"))) ;", b'")', b"(", b"\t;", b"\xa0;", b"\x0b;", b"\xe2\x80\xa8;",
)  # fmt: skip
_IN: Final = (b"", b"; x=", b" (", b'; x="', b' "', b"; spf=none (", b'; x="\\', b"; x=(\\")
_BARE: Final = tuple(each.partition(b"; ")[2] for each in _PASSES)
_PIECES: Final = (
    *NASTY,
    b"mx.example.com", b"MX.EXAMPLE.COM", b'"mx.example.com"', b"(mx.example.com)", b"; ", b";",
    b"dkim=pass", b"spf=pass", b"dmarc=pass", b" dkim = pass ", b"dkim/1=pass", b"dkim=fail",
    b"header.d=a.example", b"header.from=a.example", b"smtp.mailfrom=a.example", b"@a.example",
    b" header.d=a.example header.d=b.example", b"reason=", b'"', b"\\", b'\\"', b'"\\', b"(", b")",
    b"(" * 30, b"()" * 500, b'""', b"=", b".", b"/", b"1", b"none", b"\xe2\x84\xaa", b" ; ; ;",
    b"a.example) dmarc=pass header.from=a.example (", b'"; dkim=pass header.d=a.example; x="',
    b"x@evil.example;dkim=pass header.d=a.example",
)  # fmt: skip


class Case(NamedTuple):
    """A mail's header block up to its Received, and whether the stranger only wrote in it."""

    raw: bytes
    strangers: bool


def _quoted(text: bytes) -> bytes:
    return b'"' + re.sub(rb'["\\]', rb"\\\g<0>", text) + b'"'


def _comment(text: bytes) -> bytes:
    return b"(" + re.sub(rb"[()\\]", rb"\\\g<0>", text) + b")"


def _word(text: bytes) -> bytes:
    return re.sub(rb'[\x00-\x20\x7f;()"\\]', b"", text) or b"x"


_COPIED: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda text: b"spf=none smtp.mailfrom=" + _quoted(text) + b"@evil.example",
    lambda text: b"spf=none " + _comment(text) + b" smtp.mailfrom=x@evil.example",
    lambda text: b"spf=none smtp.mailfrom=" + _word(text) + b"@evil.example",
    lambda text: b"dkim=none reason=" + _quoted(text),
    lambda text: b"spf=pass smtp.mailfrom=" + _quoted(text) + b"@evil.example; dkim=none",
    lambda text: b"iprev=pass " + _comment(text) + b" policy.iprev=192.0.2.1; dmarc=none",
    lambda text: b"dkim=pass " + _comment(text) + b" header.d=evil.example header.s=" + _word(text),
)


def make(rng: random.Random) -> Case:
    """Make one case; one in four damages the server's own header."""
    text = rng.choice(_OUT) + b" " + rng.choice(_BARE) + rng.choice(_IN)
    if rng.random() < 0.7:
        text = mutate(rng, rng.choice((text, *_PASSES)), _PASSES, _PIECES, 4)
    below = b"".join(
        b"Authentication-Results: " + _line(mutate(rng, each, _PASSES, _PIECES, 2)) + b"\r\n"
        for each in rng.sample(_PASSES, rng.randint(0, 2))
    )
    strangers = rng.random() < 0.75
    server = b"mx.example.com; " + rng.choice(_COPIED)(_line(text)) if strangers else _line(text)
    return Case(b"Authentication-Results: " + server + b"\r\n" + _MAIL % below, strangers)


def run(case: Case) -> str:
    """Weigh a mail; raises AssertionError if the stranger is believed."""
    email = mail.decode(case.raw)
    if not isinstance(email, Email):
        return "undecodable"
    found = _runner().run(trust.weigh(Arrival(IMAP, "fuzz", case.raw, _ARRIVED), email, _POLICY))
    if not isinstance(found, Trust):
        return "read" if _is_read(case.raw) else "refused"
    assert not case.strangers, "a stranger's words became a pass"
    return "believed"


def _is_read(raw: bytes) -> bool:
    """Return whether the topmost header was parsed, and not refused as a whole."""
    try:
        return bool(results.read(header_fields(raw).fields[0].value).results)
    except results.MalformedError:
        return False


def _line(text: bytes) -> bytes:
    """Return text without what ends a line: a server never copies that."""
    return re.sub(rb"[\r\n\0]", b"", text)


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()

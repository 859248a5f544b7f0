"""Fuzz subject: signed mails, changed on the way; only what no signature sees may have changed.

A case is a signed fixture with mutations, verified as every mail is. If it is still believed,
two things must hold, both checked without the verifier's code: its signed parts are those of a mail
that was signed (canonicalized by the tests' own signer), and so is all that would be read from it,
apart from blanks.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)

from benchmarks.mutations import NASTY, fixtures, mutate
from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.errors import TrustUnavailable
from bridge.mail import header_fields
from bridge.model import Arrival, Email, Trust, Unreadable
from tests.origins import IMAP
from tests.trust.signing import DOMAIN, Signer, canonical_body, canonical_headers, record

_POLICY: Final = TrustSettings(dkim=(DOMAIN,))
_ARRIVED: Final = datetime(2026, 4, 8, 12, 31, tzinfo=UTC)
_CANONS: Final = ("relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple")
_HEADERS: Final = (
    "from", "to", "subject", "date", "message-id", "mime-version", "content-type",
    "content-transfer-encoding", "content-disposition",
)  # fmt: skip
_OVERSIGNED: Final = (*_HEADERS, "from", "subject", "content-type")
_BITS: Final = 512  # of each of the RSA key's primes

_PIECES: Final = (
    *NASTY,
    b"; l=0", b"; l=10", b"l=1;", b"h=from;", b"; h=from:subject", b"i=@evil.example;", b"x=1;",
    b"t=99999999999;", b"d=evil.example;", b"s=s2;", b"v=2;", b"c=relaxed;", b"c=simple/simple;",
    b"a=rsa-sha1;", b"a=ed25519-sha256;", b"q=dns/txt:x;", b"bh=;", b"b=;", b"z=From:x|To:y;",
    b"DKIM-Signature: ", b"\r\nDKIM-Signature: v=1; a=rsa-sha256; d=agiletelecom.com;",
    b"\r\nSubject: evil", b"Subject: evil\r\n", b"\r\nFrom: smsin@agiletelecom.com",
    b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"\r\n \r\n", b" \r\n", b"\r\n\t", b"\n\r\n", b"\r\r\n", b"=\r\n", b"= \r\n",
)  # fmt: skip
_SEEN_BY_NONE: Final = (  # of a relaxed signature
    (rb"[ \t]+(?=[^\r\n])", lambda rng: rng.choice((b"  ", b"\t", b" \t ", b"\r\n "))),
    (rb"[ \t]*\r\n(?![ \t])", lambda rng: rng.choice((b" \r\n", b"\t \r\n", b"\r\n"))),
    (rb"(?:\r\n)*\Z", lambda rng: b"\r\n" * rng.randint(0, 9)),
    (rb"\A", lambda _: b"X-Spam: no\r\n"),
    (rb"\A", lambda _: b"Received: from evil.example\r\n\tby mx.example.com\r\n"),
    (rb"(?<=\n)Subject:", lambda _: b"SUBJECT:"),
)


class Case(NamedTuple):
    """A mail on its way, and the key record that the DNS returns."""

    raw: bytes
    key: bytes


class Read(NamedTuple):
    """All that is read from a mail, without its blanks."""

    sender: str | None
    subject: str
    message_id: str | None
    date: datetime | None
    text: str


class Originals(NamedTuple):
    """What was signed: the mails, hashes of their signed parts, and what is read from them."""

    mails: Sequence[tuple[bytes, bytes]]  # with their key records
    signed: frozenset[bytes]
    read: frozenset[Read]


class _Dns:
    """Answers every query with one record."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def txt(self, _name: str) -> Sequence[bytes]:
        return [self._key]


def make(rng: random.Random) -> Case:
    """Make one case: blanks that no signature sees, or one to three mutations, or both."""
    raw, key = rng.choice(originals().mails)
    head, blank, body = raw.partition(b"\r\n\r\n")
    kind = rng.random()
    if kind < 0.4:
        for _ in range(rng.randint(1, 6)):
            raw = _reblanked(rng, raw)
    if kind > 0.3:
        if kind < 0.65:
            raw = mutate(rng, head, (head,), _PIECES, 3) + blank + body
        else:
            raw = mutate(rng, raw, [each for each, _ in originals().mails], _PIECES, 3)
    if kind > 0.95:
        key = mutate(rng, key, (key,), _PIECES, 3)
    return Case(raw, key)


def run(case: Case) -> str:
    """Verify a mail; raises AssertionError if it is believed and says what nobody signed."""
    email = mail.decode(case.raw)
    if not isinstance(email, Email):
        return "undecodable"
    found = _weighed(case, email)
    if not isinstance(found, Trust):
        return "refused"
    assert originals().signed & set(_signed(case.raw)), "believed, but nobody signed this"
    assert _read(trust.only_covered(email, found)) in originals().read, "it says something else"
    return "believed"


@cache
def originals() -> Originals:
    """Sign the fixtures that can be signed: two keys, four canonicalizations, two lists of h=."""
    mails: list[tuple[bytes, bytes]] = []
    signed: set[bytes] = set()
    read: set[Read] = set()
    keys = (_rsa(), Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"fuzz").digest()))
    for number, raw in enumerate(fixtures()):
        email = mail.decode(raw)
        found = header_fields(raw)
        if not isinstance(email, Email) or found.defect or email.sender is None:
            continue
        signer = Signer(
            key=keys[number % 2],
            canon=_CANONS[number // 2 % 4],
            headers=(_HEADERS, _OVERSIGNED)[number // 8 % 2],
        )
        with_signature = signer.sign(raw)
        key = record(signer.key)
        if isinstance(_weighed(Case(with_signature, key), email), Trust):
            mails.append((with_signature, key))
            signed.update(_signed(with_signature))
            read.add(_read(email))
    assert len(mails) > len(fixtures()) / 2, f"only {len(mails)} fixtures can be signed"
    return Originals(mails, frozenset(signed), frozenset(read))


def _weighed(case: Case, email: Email) -> Trust | Unreadable:
    arrival = Arrival(IMAP, "fuzz", case.raw, _ARRIVED)
    while True:
        try:
            return _runner().run(trust.weigh(arrival, email, _POLICY, _Dns(case.key)))
        except TrustUnavailable:
            continue  # a busy machine missed the deadline, which isn't processor time


def _signed(raw: bytes) -> Iterator[bytes]:
    """Hash the signed parts of a mail, for each way to sign it."""
    for canon in _CANONS:
        header_canon, body_canon = canon.split("/")
        body = canonical_body(raw, body_canon)
        for names in (_HEADERS, _OVERSIGNED):
            headers = canonical_headers(raw, names, header_canon)
            yield hashlib.sha256(canon.encode() + headers + b"\0" + body).digest()


def _read(email: Email) -> Read:
    subject, text = ("".join(each.split()) for each in (email.subject, email.text))
    return Read(email.sender, subject, email.message_id, email.date, text)


def _reblanked(rng: random.Random, raw: bytes) -> bytes:
    pattern, blanks = rng.choice(_SEEN_BY_NONE)
    places = list(re.finditer(pattern, raw))
    if not places:
        return raw
    place = rng.choice(places)
    return raw[: place.start()] + blanks(rng) + raw[place.end() :]


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def _rsa() -> RSAPrivateKey:
    """Make the same key in every run, so that a case is made from its seed and number alone."""
    rng = random.Random("fuzz")
    p, q = _prime(rng), _prime(rng)
    public = RSAPublicNumbers(65537, p * q)
    d = pow(public.e, -1, (p - 1) * (q - 1))
    crt = rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q)
    return RSAPrivateNumbers(p, q, d, *crt, public).private_key()


def _prime(rng: random.Random) -> int:
    """Find a prime; the upper bits set, so that the product of two has all bits."""
    while True:
        number = rng.getrandbits(_BITS) | 3 << _BITS - 2 | 1
        if (number - 1) % 65537 and all(
            pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11)
        ):
            return number

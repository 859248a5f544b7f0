"""Our own signed mails, of the kinds that other projects test with; each with both verdicts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from tests.trust.signing import DOMAIN, ED25519, NAME, RSA, Signer, record
from tests.vectors.verdicts import Vector, verdict

MAIL: Final = (
    b"Received: from a.example by b.example; Wed, 8 Apr 2026 12:30:52 +0000\r\n"
    b"From: smsin@agiletelecom.com\r\nTo: sms@example.com\r\nSubject: SMS  received\r\n"
    b"Date: Wed, 8 Apr 2026 12:30:52 +0000\r\nMessage-ID: <1@agiletelecom.com>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\n\r\n"
    b"From: +393301234567\r\n\r\nBody:  News ON \r\n\r\n\r\n"
)
NO_BODY: Final = MAIL.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
KEYS: Final = (RSA, ED25519)
CANONS: Final = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")

# What two verdicts may be: believed; right, but refused by policy; neither.
BELIEVED, POLICY, NEITHER = (True, True), (False, True), (False, False)


@cache
def small() -> RSAPrivateKey:
    """Return a key that is too short to prove anything."""
    return generate_private_key(65537, 1024)


def signed(raw: bytes = MAIL, zone: Sequence[bytes] | None = None, **bent: object) -> Vector:
    """Sign a mail; its key is in the DNS unless `zone` gives other records."""
    signer = replace(Signer(), **bent)
    records = [record(signer.key)] if zone is None else zone
    name = f"{signer.selector}._domainkey.{signer.domain}".lower()
    return Vector("own", signer.sign(raw), {name: records}, valid=True)


def changed(old: bytes, new: bytes, vector: Vector | None = None) -> Vector:
    """Change a signed mail on its way."""
    vector = vector or signed()
    assert vector.raw.count(old), old
    return replace(vector, raw=vector.raw.replace(old, new, 1))


def key(old: bytes, new: bytes, **bent: object) -> Vector:
    """Change the key record."""
    found = record(RSA)
    assert old in found
    return signed(zone=[found.replace(old, new, 1)], **bent)


@pytest.mark.parametrize("signing_key", KEYS, ids=["rsa", "ed25519"])
@pytest.mark.parametrize("canon", CANONS)
@pytest.mark.parametrize("raw", [MAIL, NO_BODY, MAIL + b"\r\n" * 9], ids=["body", "none", "blank"])
async def test_every_way_to_sign_is_verified(
    signing_key: RSAPrivateKey, canon: str, raw: bytes
) -> None:
    """Both kinds of key, four canonicalizations, with and without a body."""
    found = await verdict(signed(raw, key=signing_key, canon=canon))
    assert (found.believed, found.right) == BELIEVED


VALID: Final[dict[str, Callable[[], Vector]]] = {
    "unknown tags": lambda: signed(more={"olt": "x@y", "z": "From:a|To:b", "r": "y"}),
    "a name in capitals": lambda: signed(domain="AgileTelecom.COM"),
    "i= of a subdomain": lambda: signed(more={"i": "sms@mail.agiletelecom.com"}),
    "blanks in h=": lambda: signed(more={"h": " from : to:subject :date: message-id :mime-version"
                                              ": content-type"}),
    "a header signed that isn't there": lambda: signed(headers=(*Signer().headers, "reply-to")),
    "a header signed twice": lambda: signed(headers=(*Signer().headers, "from", "subject")),
    "a lifetime that lasts": lambda: signed(more={"t": "1775600000", "x": "1999999999"}),
    "a Received that is signed": lambda: signed(headers=("received", *Signer().headers)),
    "a Received above it": lambda: replace(signed(), raw=b"Received: x\r\n" + signed_raw()),
    "a second signature of a stranger": lambda: replace(
        signed(), raw=Signer(domain="evil.example").sign(signed_raw())
    ),
    "a broken signature above": lambda: replace(
        signed(), raw=b"DKIM-Signature: v=1; d=agiletelecom.com; b=x\r\n" + signed_raw()
    ),
    "a key for mail": lambda: key(b"k=rsa;", b"k=rsa; s=email;"),
    "a key with notes": lambda: key(b"k=rsa;", b"n=call us; k=rsa; h=sha1:sha256; s=web:*; g=*;"),
    "a key without v= and k=": lambda: key(b"v=DKIM1; k=rsa; ", b""),
    "other text beside the key": lambda: signed(zone=[b"v=spf1 -all", record(RSA), b"\xff"]),
    "blanks that relaxed doesn't see": lambda: changed(
        b"Body:  News ON \r\n", b"Body: \tNews\tON\t\r\n"
    ),
    "folding that relaxed doesn't see": lambda: changed(
        b"Subject: SMS  received", b"SUBJECT:\r\n\tSMS received "
    ),
}  # fmt: skip


def signed_raw() -> bytes:
    """Return the mail as signed."""
    return signed().raw


@pytest.mark.parametrize("name", VALID)
async def test_what_is_valid_is_believed(name: str) -> None:
    """What the RFC allows in signatures, keys and on the way."""
    found = await verdict(VALID[name]())
    assert (found.believed, found.right) == BELIEVED, found


REFUSED: Final[dict[str, Callable[[], Vector]]] = {
    "testing": lambda: key(b"k=rsa;", b"k=rsa; t=y;"),
    "testing and strict": lambda: key(b"k=rsa;", b"k=rsa; t = s : y;"),
    "expired": lambda: signed(more={"t": "1700000000", "x": "1700000600"}),
    "made in the future": lambda: signed(more={"t": "1999999999"}),
    "ended before it began": lambda: signed(more={"t": "1775600000", "x": "1775600000"}),
    "no Subject covered": lambda: signed(headers=tuple(
        each for each in Signer().headers if each != "subject"
    )),
    "no Message-ID covered": lambda: signed(headers=tuple(
        each for each in Signer().headers if each != "message-id"
    )),
    "no Content-Type covered": lambda: signed(headers=tuple(
        each for each in Signer().headers if each != "content-type"
    )),
    "a Subject put on top": lambda: replace(signed(), raw=b"Subject: x\r\n" + signed_raw()),
    "a From put on top": lambda: replace(signed(), raw=b"From: x@y.example\r\n" + signed_raw()),
    "an unsigned encoding put on top": lambda: replace(
        signed(), raw=b"Content-Transfer-Encoding: base64\r\n" + signed_raw()
    ),
    "a length of all there is": lambda: signed(length=10_000),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_what_proves_too_little_is_refused(name: str) -> None:
    """Valid by the RFC, and yet a stranger could have a hand in it."""
    found = await verdict(REFUSED[name]())
    assert (found.believed, found.right) == POLICY, found


INVALID: Final[dict[str, Callable[[], Vector]]] = {
    "another text": lambda: changed(b"News ON", b"News OF"),
    "more text": lambda: replace(signed(), raw=signed_raw() + b"more\r\n"),
    "less text": lambda: changed(b"From: +393301234567\r\n", b""),
    "another subject": lambda: changed(b"SMS  received", b"SMS  sent"),
    "another sender": lambda: changed(b"From: smsin@", b"From: other@"),
    "a header taken away": lambda: changed(b"MIME-Version: 1.0\r\n", b""),
    "a header that was signed as missing": lambda: replace(
        vector := signed(headers=(*Signer().headers, "reply-to")),
        raw=b"Reply-To: x@y.example\r\n" + vector.raw,
    ),
    "headers exchanged": lambda: changed(
        b"To: sms@example.com\r\nSubject: SMS  received",
        b"Subject: sms@example.com\r\nTo: SMS  received",
    ),
    "blanks that simple sees": lambda: changed(b"News ON ", b"News ON", signed(canon=CANONS[0])),
    "a length that cuts": lambda: replace(
        vector := signed(length=10), raw=vector.raw + b"more\r\n"
    ),
    "an unknown version": lambda: signed(more={"v": "2"}),
    "an unknown algorithm": lambda: signed(algorithm="rsa-md5"),
    "SHA-1": lambda: signed(sha1=True),
    "the other key's algorithm": lambda: signed(algorithm="ed25519-sha256"),
    "an unknown canonicalization": lambda: changed(b"c=relaxed/relaxed", b"c=future/relaxed"),
    "another way to the key": lambda: signed(more={"q": "http"}),
    "i= of another domain": lambda: signed(more={"i": "@evil.example"}),
    "i= of a domain that ends alike": lambda: signed(more={"i": "@notagiletelecom.com"}),
    "a domain with a comment in it": lambda: signed(domain="agiletelecom.com(.evil.example"),
    "an empty domain": lambda: changed(b"d=agiletelecom.com", b"d="),
    "a tag twice": lambda: changed(b"v=1;", b"v=1; v=1;"),
    "no tags": lambda: changed(b"v=1;", b"v=1; nonsense;"),
    "a b= that isn't base64": lambda: changed(b" b=", b" b=!"),
    "a time that is none": lambda: signed(more={"t": "soon"}),
    "no key": lambda: signed(zone=[]),
    "a key that was revoked": lambda: signed(zone=[b"v=DKIM1; k=rsa; p="]),
    "a key without p=": lambda: signed(zone=[b"v=DKIM1; k=rsa"]),
    "a key of another version": lambda: key(b"DKIM1", b"DKIM2"),
    "a key of an unknown kind": lambda: key(b"k=rsa", b"k=foo"),
    "a key of the other kind": lambda: signed(zone=[record(ED25519)]),
    "a key for chat": lambda: key(b"k=rsa;", b"k=rsa; s=chat;"),
    "a key for SHA-1": lambda: key(b"k=rsa;", b"k=rsa; h=sha1;"),
    "a key for the very domain": lambda: key(
        b"k=rsa;", b"k=rsa; t=s;", more={"i": "@mail.agiletelecom.com"}
    ),
    "a key that is no key": lambda: signed(
        zone=[b"v=DKIM1; k=rsa; p=" + base64.b64encode(b"key" * 20)]
    ),
    "a key record with an error": lambda: key(b"k=rsa;", b"k=rsa; t;"),
    "two keys": lambda: signed(zone=[record(RSA), record(RSA)]),
    "somebody else's key": lambda: signed(zone=[record(small())]),
    "an Ed25519 key in DER": lambda: signed(
        key=ED25519, zone=[b"v=DKIM1; k=ed25519; p=" + base64.b64encode(b"\x30\x2a" + b"x" * 42)]
    ),
    # Valid by the RFC, but to some programs such a line ends the headers.
    "a blank before the colon": lambda: changed(b"Subject: SMS", b"Subject : SMS"),
    "an empty signature": lambda: replace(
        signed(), raw=b"DKIM-Signature: v=1; a=rsa-sha256; d=agiletelecom.com; s=s1; h=from;"
                      b" bh=; b=\r\n" + MAIL
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
async def test_what_is_invalid_is_never_right(name: str) -> None:
    """Whatever the policy."""
    found = await verdict(INVALID[name]())
    assert (found.believed, found.right) == NEITHER, found


def test_the_key_is_where_the_vectors_expect_it() -> None:
    """The signed mails name the key that their zone has."""
    assert set(signed().zone) == {NAME}
    assert DOMAIN.encode() in signed_raw()

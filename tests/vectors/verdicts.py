"""The verdict on a signed mail, with our policy and without it.

With it: what `[providers.trust] dkim` says of the mail, for any domain that signed. Without it:
whether one signature is right by RFC 6376, whatever it covers, however old it is, and also if its
domain says that it is only testing (t=y).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bridge import mail, trust
from bridge.config.settings import TrustSettings
from bridge.mail import HeaderField
from bridge.model import Arrival, Email, Trust
from bridge.trust import signature, verify
from bridge.trust.base import UnansweredError
from tests.origins import IMAP

Zone = Mapping[str, Sequence[bytes]]  # lower-case name -> TXT records

_FLAGS: Final = re.compile(rb"(?:^|(?<=;))\s*t\s*=[^;]*(?:;|\Z)")
_ARRIVED: Final = datetime(2026, 4, 8, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Vector:
    """A signed mail with CRLF line ends, its keys, and whether its authors say it is valid."""

    name: str
    raw: bytes
    zone: Zone
    valid: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a mail is believed, and why not; and whether a signature is right without policy."""

    believed: bool
    why_not: str
    right: bool


class ZoneNames:
    """Answers from a zone; a name that isn't there has no record."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the records of a name."""
        records = self._zone.get(name.lower().rstrip("."), ())
        if b"SERVFAIL" in records:
            raise UnansweredError(lasting=True)
        return records


async def verdict(vector: Vector) -> Verdict:
    """Judge a mail both ways."""
    right = any(_right(vector))
    email = mail.decode(vector.raw)
    domains = {signature.signer(field) for field in _signatures(vector.raw)} - {None}
    if not isinstance(email, Email) or not domains:
        return Verdict(believed=False, why_not="the mail cannot be read", right=right)
    found = await trust.weigh(
        Arrival(IMAP, "vectors", vector.raw, _ARRIVED),
        email,
        TrustSettings.model_construct(dkim=tuple(sorted(domains, key=str))),
        ZoneNames(vector.zone),
    )
    if isinstance(found, Trust):
        return Verdict(believed=True, why_not="", right=right)
    return Verdict(believed=False, why_not=found.detail, right=right)


def _signatures(raw: bytes) -> list[HeaderField]:
    return signature.signatures(mail.header_fields(raw).fields)


def _right(vector: Vector) -> Iterator[bool]:
    """Yield for each signature whether it is right."""
    found = mail.header_fields(vector.raw)
    for field in _signatures(vector.raw):
        try:
            read = signature.read(field)
            records = vector.zone.get(f"{read.selector}._domainkey.{read.domain}", ())
            keys = [_FLAGS.sub(_without_testing, each) for each in records]
            verify.verify_signature(read, keys, found.fields)
        except signature.UnusableError:
            yield False
        else:
            body = verify.body_digest(vector.raw[found.content :], read.body_canon)
            yield body == read.body_hash


def _without_testing(flags: re.Match[bytes]) -> bytes:
    return b"t=s;" if b"s" in flags[0].partition(b"=")[2] else b""

"""Parses DKIM-Signature headers (RFC 6376), and checks that they cover enough.

A valid signature may still cover too little: whoever has one mail of the signer can change what it
leaves out. So a signature counts only if it covers the whole body and every header that is read in
every mail, each of which may occur once; whoever verified it.
"""

from __future__ import annotations

import binascii
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.mail import HeaderField

MAX_SIGNATURES: Final = 8  # per mail
# Read in every mail, for its identity and its text. Headers that only some providers read must be
# covered too; `Trust.covers` handles those.
READ_ALWAYS: Final = (
    "from", "subject", "date", "message-id",
    "mime-version", "content-type", "content-transfer-encoding", "content-disposition",
)  # fmt: skip
_NEEDED: Final = ("from", "subject", "message-id")
ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")
CANONS: Final = ("simple", "relaxed")

_MAX_TAGS: Final = 8 * 1024  # bytes of one header or key record
_TAG_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_FWS: Final = " \t\r\n"  # all that RFC 6376 allows; str.strip() would take \x1c and more
_BLANKS: Final = re.compile(f"[{_FWS}]+")
_DOMAIN: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_HEADER: Final = re.compile(r"[!-9;-~]+")
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class UnusableError(Exception):
    """A signature that proves nothing; its text never quotes the mail.

    Caught within this package.
    """


@dataclass(frozen=True, slots=True)
class Signature:
    """One parsed DKIM-Signature."""

    field: HeaderField
    domain: str  # d=
    identity: str  # the domain of i=
    selector: str
    algorithm: str
    header_canon: str
    body_canon: str
    headers: tuple[str, ...]  # h=, lower case
    body_hash: bytes
    value: bytes
    signed_at: int | None
    expires_at: int | None
    has_length: bool


def tags(text: str) -> Mapping[str, str]:
    """Parse `name=value; …`, stripping whitespace around names and values."""
    if len(text) > _MAX_TAGS:
        raise UnusableError(f"it is longer than {_MAX_TAGS} bytes")
    found: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip(_FWS):
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_FWS)
        if not equals or not _TAG_NAME.fullmatch(name):
            raise UnusableError("it is no list of tags")
        if name in found:
            raise UnusableError("it has a tag twice")
        found[name] = value.strip(_FWS)
    return found


def signer(field: HeaderField) -> str | None:
    """Return the domain that a signature claims; None if it can't be parsed."""
    try:
        return tags(field.value.decode("ascii")).get("d", "").lower() or None
    except (UnusableError, UnicodeDecodeError):
        return None


def read(field: HeaderField) -> Signature:
    """Read a DKIM-Signature; raises UnusableError."""
    try:
        found = tags(field.value.decode("ascii"))
    except UnicodeDecodeError:
        raise UnusableError("it holds bytes beyond ASCII") from None
    missing = [name for name in ("v", "a", "b", "bh", "d", "h", "s") if not found.get(name)]
    if missing:
        raise UnusableError(f"it lacks the tag {missing[0]}=")
    if found["v"] != "1":
        raise UnusableError("its version is not known here")
    algorithm = found["a"].lower()
    if algorithm not in ALGORITHMS:
        raise UnusableError(f"its algorithm is none of {', '.join(ALGORITHMS)}")
    header_canon, _, body_canon = found.get("c", "simple").lower().partition("/")
    body_canon = body_canon or "simple"
    if header_canon not in CANONS or body_canon not in CANONS:
        raise UnusableError("its canonicalization is not known here")
    methods = found.get("q", "dns/txt").lower().split(":")
    if "dns/txt" not in (method.strip(_FWS) for method in methods):
        raise UnusableError("its key is not in the DNS")
    headers = tuple(name.strip(_FWS).lower() for name in found["h"].split(":"))
    if not all(_HEADER.fullmatch(name) for name in headers):
        raise UnusableError("its h= is no list of headers")
    domain, selector = found["d"].lower(), found["s"].lower()
    identity = found.get("i", f"@{domain}").lower().rpartition("@")[2]
    if not _DOMAIN.fullmatch(domain) or not _DOMAIN.fullmatch(selector):
        raise UnusableError("its domain or selector is no name")
    if identity != domain and not identity.endswith(f".{domain}"):
        raise UnusableError("its i= is outside its domain")
    return Signature(
        field=field,
        domain=domain,
        identity=identity,
        selector=selector,
        algorithm=algorithm,
        header_canon=header_canon,
        body_canon=body_canon,
        headers=headers,
        body_hash=_base64(found["bh"]),
        value=_base64(found["b"]),
        signed_at=_seconds(found, "t"),
        expires_at=_seconds(found, "x"),
        has_length="l" in found,
    )


def check_coverage(signature: Signature, fields: Sequence[HeaderField]) -> frozenset[str]:
    """Return the headers of which a signature covers all occurrences.

    Raises UnusableError if it covers too few.
    """
    if signature.has_length:
        raise UnusableError("it has l=: text may have been added below what is signed")
    there = Counter(field.name for field in fields)
    for name in _NEEDED:
        if not there[name]:
            # Without a signed Message-ID, a replayed mail looks like a new one.
            raise UnusableError(f"the mail has no {name.title()} that it could cover")
    for name in READ_ALWAYS:
        if there[name] > 1:
            raise UnusableError(f"the mail has {there[name]} {name.title()} headers")
        if there[name] and name not in signature.headers:
            raise UnusableError(f"it does not cover the header {name.title()}")
    signed = Counter(signature.headers)
    return frozenset(name for name in there if there[name] <= signed[name])


def signatures(fields: Iterable[HeaderField]) -> list[HeaderField]:
    """Return the mail's DKIM-Signature headers, topmost first."""
    return [field for field in fields if field.name == "dkim-signature"]


def decode_base64(text: str) -> bytes:
    """Decode a tag's value, ignoring whitespace; raises ValueError."""
    return binascii.a2b_base64(_BLANKS.sub("", text).encode("ascii"), strict_mode=True)


def _base64(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError:
        raise UnusableError("its b= or bh= is not base64") from None


def _seconds(found: Mapping[str, str], name: str) -> int | None:
    text = found.get(name)
    if text is None:
        return None
    if not _SECONDS.fullmatch(text):
        raise UnusableError(f"its {name}= is no time")
    return int(text)

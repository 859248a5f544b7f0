"""Verifies a DKIM signature (RFC 6376, 8301, 8463): pure, linear in the mail's size.

The cryptography is OpenSSL's. Imported only if the config uses `dkim`: it takes memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from bridge.mail import HeaderField
from bridge.trust.signature import Signature, UnusableError, decode_base64, tags

MIN_BITS: Final = 1024  # RFC 8301; shorter keys were broken long ago
MAX_BITS: Final = 8192  # longer ones only cost time

# Blanks to replace by one space; a single space already is, and most are single ones.
_BLANKS: Final = re.compile(rb"\t[ \t]*| [ \t]+")
_CRLF: Final = b"\r\n"
_NO_BLANK: Final = re.compile(rb"[^ \t\r]")
_PIECE: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, as published by the signer's domain."""

    key: RSAPublicKey | Ed25519PublicKey
    whole_domain: bool  # False: i= must be of the very domain (t=s)


def body_digest(body: bytes, canon: str, line_end: bytes = b"\r\n") -> bytes:
    """Return the hash of a canonicalized body, as in `bh=`.

    If the body's line ends are bare LF, they are hashed as CRLF.
    """
    digest = hashlib.sha256()
    ends = 0  # trailing line ends, which count only if text follows
    is_empty = True
    for piece in _pieces(body, line_end):
        lines = piece
        if line_end != _CRLF:
            lines = lines.replace(_CRLF, line_end).replace(line_end, _CRLF)
        if canon == "relaxed":
            lines = _BLANKS.sub(b" ", lines).replace(b" \r\n", _CRLF).removesuffix(b" ")
        text = _without_ends(lines)
        if text:
            digest.update(_CRLF * ends + text)
            ends = 0
            is_empty = False
        ends += (len(lines) - len(text)) // len(_CRLF)
    if not is_empty or canon == "simple":
        digest.update(_CRLF)
    return digest.digest()


def _pieces(body: bytes, line_end: bytes = b"\r\n") -> Iterator[bytes]:
    """Split a body after line ends; a long line after any byte that the next can't affect.

    Replacing in all of a large mail at once would hold the GIL and block everything.
    """
    start = 0
    while start < len(body):
        end = body.rfind(line_end, start, start + _PIECE)
        if end >= 0:
            end += len(line_end)
        else:  # a long line
            cut = _NO_BLANK.search(body, start + _PIECE - 1)
            end = len(body) if cut is None else cut.end()
        yield body[start:end]
        start = end


def _without_ends(lines: bytes) -> bytes:
    """Strip trailing CRLFs, but no other CR or LF."""
    end = len(lines)
    tail = end - len(lines.rstrip(_CRLF))
    if lines.endswith(_CRLF * (tail // 2)):
        end -= tail // 2 * 2
    while lines[end - 2 : end] == _CRLF:
        end -= 2
    return lines[:end]


def verify_signature(
    signature: Signature, records: Sequence[bytes], fields: Sequence[HeaderField]
) -> None:
    """Verify a signature with its key's TXT records; raises UnusableError."""
    key = read_key(records, signature.algorithm)
    if not key.whole_domain and signature.identity != signature.domain:
        raise UnusableError("its key is not for subdomains")
    signed = _signed(signature, fields)
    try:
        if isinstance(key.key, RSAPublicKey):
            key.key.verify(signature.value, signed, PKCS1v15(), SHA256())
        else:
            key.key.verify(signature.value, hashlib.sha256(signed).digest())
    except InvalidSignature:
        raise UnusableError("it does not fit the headers") from None


def read_key(records: Sequence[bytes], algorithm: str) -> Key:
    """Parse the key in a name's TXT records; raises UnusableError."""
    candidates = [found for record in records if (found := _key_tags(record)) is not None]
    if not candidates:
        raise UnusableError("the DNS has no key record for it")
    if len(candidates) > 1:
        # The RFC leaves this undefined, and choosing one would be a guess.
        raise UnusableError(f"the DNS has {len(candidates)} key records for it")
    (found,) = candidates
    kind = found.get("k", "rsa").lower()
    if kind != algorithm.partition("-")[0]:
        raise UnusableError("its key is of another kind")
    if not found["p"]:
        raise UnusableError("its key was revoked")
    if "sha256" not in _listed(found.get("h", "sha256")):
        raise UnusableError("its key is not for sha256")
    if not {"*", "email"} & _listed(found.get("s", "*")):
        raise UnusableError("its key is not for mail")
    flags = _listed(found.get("t", ""))
    if "y" in flags:
        raise UnusableError("its domain says that it is only testing (t=y)")
    return Key(_public(found["p"], kind), whole_domain="s" not in flags)


def _key_tags(record: bytes) -> dict[str, str] | None:
    """Parse a key record; None for any other record, such as a wildcard's."""
    try:
        found = dict(tags(record.decode("ascii")))
    except (UnusableError, UnicodeDecodeError):
        return None
    return found if "p" in found and found.get("v", "DKIM1") == "DKIM1" else None


def _listed(text: str) -> set[str]:
    return {each.strip(" \t\r\n").lower() for each in text.split(":")}


def _public(text: str, kind: str) -> RSAPublicKey | Ed25519PublicKey:
    try:
        data = decode_base64(text)
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(data)
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableError("its key cannot be read") from None
    if not isinstance(key, RSAPublicKey):
        raise UnusableError("its key is of another kind")
    if not MIN_BITS <= key.key_size <= MAX_BITS:
        raise UnusableError(f"its key has {key.key_size} bits")
    return key


def _signed(signature: Signature, fields: Sequence[HeaderField]) -> bytes:
    """Return the signed data: the headers of h=, the lowest of each name first."""
    left: dict[str, list[HeaderField]] = {}
    for field in fields:
        left.setdefault(field.name, []).append(field)
    chosen = [left[name].pop() for name in signature.headers if left.get(name)]
    parts = [_header(_whole(field.raw), signature.header_canon) for field in chosen]
    own = _header(_without_value(_whole(signature.field.raw)), signature.header_canon)
    return b"".join(parts) + own.removesuffix(_CRLF)


def _whole(raw: bytes) -> bytes:
    """Return a header with its CRLF; the last one of a mail without a body has none."""
    return raw if raw.endswith(_CRLF) else raw + _CRLF


def _header(raw: bytes, canon: str) -> bytes:
    if canon == "simple":
        return raw
    name, _, value = raw.partition(b":")
    value = _BLANKS.sub(b" ", value.replace(_CRLF, b"")).strip(b" ")
    return name.strip().lower() + b":" + value + _CRLF


def _without_value(raw: bytes) -> bytes:
    """Remove the value of b= from a DKIM-Signature."""
    name, colon, value = raw.removesuffix(_CRLF).partition(b":")
    parts = value.split(b";")
    for index, part in enumerate(parts):
        tag, equals, _ = part.partition(b"=")
        if tag.strip(b" \t\r\n") == b"b":
            parts[index] = tag + equals
    return name + colon + b";".join(parts) + _CRLF

"""Checks a declared signature: what is signed, with which algorithm, and where it stands. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge import posts
from bridge.config.post_template import SignatureSettings
from bridge.config.signed_text import URL, SignedText
from bridge.model import Post
from bridge.providers.posts import jwt
from bridge.providers.posts.base import fresh, matches
from bridge.providers.posts.values import Sheet, open_post

_MAX_SIGNATURES: Final = 10  # in one header
_MAX_NONCE: Final = 512
_KEY_BYTES: Final = 32  # of an Ed25519 public key
_UNITS: Final = {"s": 1.0, "ms": 0.001}
_HASHES: Final = {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha512": "sha512"}


@dataclass(frozen=True, slots=True)
class Signature:
    """A declared signature with its keys; `urls` are those that the provider may have called."""

    settings: SignatureSettings
    secrets: Sequence[str]
    keys: Sequence[bytes]
    urls: Sequence[str]

    def refusal(self, post: Post, at: datetime) -> str | None:
        """Return why the signature of a post is not right, or None if it is."""
        sheet = open_post(post)
        if isinstance(sheet, str):
            return sheet
        name = self.settings.place.shown
        given = sheet.find([self.settings.place]) or ""
        if not given.startswith(self.settings.prefix) or not given:
            return f"there is no signature ({name})"
        given = given.removeprefix(self.settings.prefix)
        parts = self._parts(sheet)
        if isinstance(parts, str):
            return parts
        if self.settings.algorithm == "jwt-hs256":
            return self._refused_token(given, parts, post.query, at)
        separator = self.settings.separator
        written = [each.strip() for each in given.split(separator)] if separator else [given]
        assert self.settings.signed is not None
        texts = list(self._expanded(self.settings.signed, parts, post.query))
        if not any(self._is_signed(texts, each) for each in written[:_MAX_SIGNATURES]):
            return f"the signature ({name}) is wrong"
        return self._stale(sheet, at)

    def _parts(self, sheet: Sheet) -> Mapping[str, bytes] | str:
        """Return what each placeholder stands for in a post, but url and secret."""
        post, settings = sheet.post, self.settings
        digest = hashlib.sha256(post.body)
        found: dict[str, bytes] = {
            "body": post.body,
            "body_sha256": digest.digest(),
            "body_sha256_hex": digest.hexdigest().encode(),
            "body_sha256_base64": base64.b64encode(digest.digest()),
            "method": post.method.encode(),
        }
        for name, place in (("timestamp", settings.timestamp), ("nonce", settings.nonce)):
            if place is not None:
                value = sheet.find([place])
                if not value or len(value) > _MAX_NONCE:
                    return f"there is no {name} ({place.shown})"
                found[name] = _bytes(value)
        if "parameters" in settings.names:
            if post.body and posts.content_type(post) != posts.FORM:
                return "the body is no form, so the signature doesn't cover it"
            pairs = posts.form(post) if settings.names & URL else posts.parameters(post)
            if isinstance(pairs, str):
                return pairs
            found["parameters"] = self._parameters(pairs)
        return found

    def _parameters(self, pairs: Sequence[tuple[str, str]]) -> bytes:
        settings = self.settings
        own = settings.place.parameter  # the signature doesn't sign itself
        fold = str.maketrans(dict.fromkeys(settings.underscore, "_"))
        before, _, rest = settings.each_parameter.partition("{name}")
        between, _, after = rest.partition("{value}")
        return _bytes(
            "".join(
                f"{before}{name}{between}{value.translate(fold)}{after}"
                for name, value in sorted(pairs)
                if name != own
            )
        )

    def _is_signed(self, texts: Sequence[tuple[bytes, bytes]], given: str) -> bool:
        settings = self.settings
        if settings.algorithm == "ed25519":
            signature = _decoded(given, settings.encoding)
            return signature is not None and any(
                _ed25519(key, text, signature) for key, text in texts
            )
        made = (hmac.digest(key, text, _HASHES[settings.algorithm]) for key, text in texts)
        folded = given.lower() if settings.encoding == "hex-any-case" else given
        return matches((_encoded(each, settings.encoding) for each in made), folded)

    def _stale(self, sheet: Sheet, at: datetime) -> str | None:
        settings = self.settings
        if settings.timestamp is None:
            return None
        written = sheet.find([settings.timestamp]) or ""
        tolerance = timedelta(seconds=settings.tolerance)
        if fresh(written, at, tolerance, _UNITS[settings.timestamp_unit]):
            return None
        return f"the signed time is more than {settings.tolerance:.0f} seconds off"

    def _expanded(
        self, text: SignedText, parts: Mapping[str, bytes], query: str
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield each key with what it would have signed, for each URL that may have been called."""
        urls = [f"{url}?{query}" if query else url for url in self.urls]
        for key, secret in zip(self.keys, self.secrets, strict=True):
            for url in urls if text.names & URL else ("",):
                digest = hashlib.sha256(_bytes(url)).hexdigest()
                values = {
                    **parts, "secret": _bytes(secret),
                    "url": _bytes(url), "url_sha256_hex": digest.encode(),
                }  # fmt: skip
                yield (
                    key,
                    b"".join(
                        _bytes(literal) + (values[name] if name else b"")
                        for literal, name in text.parts
                    ),
                )

    def _refused_token(
        self, token: str, parts: Mapping[str, bytes], query: str, at: datetime
    ) -> str | None:
        claims = jwt.claims_of(token, self.keys, at, timedelta(seconds=self.settings.tolerance))
        if isinstance(claims, str):
            return claims
        for name, wanted in self.settings.claims.items():
            found = claims.get(name)
            stated = found if isinstance(found, list) and name == "aud" else [found]
            right = self._expanded(wanted, parts, query)
            rights = [text.decode("utf-8", "replace") for _, text in right]
            if not any(isinstance(each, str) and matches(rights, each) for each in stated):
                return f"the JWT's claim {name} is not this post's"
        return None


def parse_keys(settings: SignatureSettings, secrets: Sequence[str]) -> Sequence[bytes]:
    """Decode the keys; raises ValueError, which never quotes one."""
    keys = []
    for secret in secrets:
        key = secret.encode() if settings.key == "text" else _decoded(secret, settings.key)
        if not key:
            raise ValueError(f"must be a key in {settings.key}")
        if settings.algorithm == "ed25519" and len(key) != _KEY_BYTES:
            raise ValueError(f"must be an Ed25519 public key: {_KEY_BYTES} bytes in {settings.key}")
        keys.append(key)
    return keys


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _ed25519(key: bytes, text: bytes, signature: bytes) -> bool:
    # Only for those who need it: it takes memory.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _encoded(digest: bytes, encoding: str) -> str:
    match encoding:
        case "base64":
            return base64.b64encode(digest).decode("ascii")
        case "base64url":
            return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
        case _:
            return digest.hex()


def _decoded(text: str, encoding: str) -> bytes | None:
    """Decode a key or signature; None unless it is exactly how its bytes are written."""
    decoders: Mapping[str, Callable[[str], bytes]] = {
        "base64": lambda text: base64.b64decode(text, validate=True),
        "base64url": lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)),
    }
    try:
        found = decoders.get(encoding, bytes.fromhex)(text)
    except (ValueError, binascii.Error):
        return None
    folded = text.lower() if encoding == "hex-any-case" else text
    return found if _encoded(found, encoding) == folded else None

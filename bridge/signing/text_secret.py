"""What schemes share whose HMAC key is the secret exactly as written."""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from bridge.errors import SigningError

_MIN_LENGTH: Final = 16  # characters
_NEW_KEY: Final = 32  # bytes: as long as the hash


class TextSecret:
    """Base of these schemes."""

    __slots__ = ()

    def parse_secret(self, text: str) -> bytes:
        """Return the text's UTF-8 bytes, which are the key; raises SigningError."""
        if text != text.strip():
            raise SigningError("a signing secret has no white space at its ends")
        if len(text) < _MIN_LENGTH:
            raise SigningError(
                f"a signing secret has at least {_MIN_LENGTH} characters "
                "(`smsbridge secret --scheme …` makes one)"
            )
        return text.encode("utf-8", "surrogatepass")

    def generate_secret(self) -> str:
        """Return a new random secret: 64 hex digits."""
        return secrets.token_hex(_NEW_KEY)


def hex_hmac(key: bytes, signed: bytes) -> str:
    """Return the HMAC-SHA256 in lower-case hex."""
    return hmac.digest(key, signed, "sha256").hex()


def require_equal(made: str, expected: str, what: str) -> None:
    """Raise SigningError if a known answer comes out differently."""
    if made != expected:
        raise SigningError(
            f"the self-test of the {what} signature failed: "
            "this Python's cryptography is broken, nothing will be sent"
        )

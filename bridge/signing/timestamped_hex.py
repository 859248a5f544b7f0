"""`timestamped-hex`: HMAC-SHA256 over `timestamp.body` in hex, the timestamp in its own header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.errors import SigningError
from bridge.signing.text_secret import TextSecret, hex_hmac, require_equal

# Computed with `openssl dgst -sha256 -hmac`.
_KNOWN_ANSWER: Final = "9631474976376c47abe8bd724d3daab3b9c7f205abb2cf3ddf82b0a54f89a186"


class TimestampedHex(TextSecret):
    """The scheme: `X-Timestamp` and `X-Signature`."""

    __slots__ = ()

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Return the headers of one attempt.

        Raises SigningError unless there is exactly one key: receivers expect one signature.
        """
        if len(keys) != 1:
            raise SigningError(
                "the scheme timestamped-hex sends one signature: set secret, not secrets"
            )
        return [
            ("webhook-id", webhook_id),
            ("X-Timestamp", str(timestamp)),
            ("X-Signature", hex_hmac(keys[0], b"%d.%b" % (timestamp, body))),
        ]

    def self_test(self) -> None:
        """Sign a message whose signature is known; raises SigningError on any difference."""
        made = self.headers([b"a key of this test"], "", 1614265330, b'{"test": 2432232314}')
        require_equal(made[-1][1], _KNOWN_ANSWER, "timestamped-hex")

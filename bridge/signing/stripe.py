"""`stripe`: HMAC-SHA256 over `timestamp.body`, as `Stripe-Signature: t=…,v1=…`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.errors import SigningError
from bridge.signing.text_secret import TextSecret, hex_hmac, require_equal

# Computed with `openssl dgst -sha256 -hmac`.
_KNOWN_ANSWER: Final = (
    "t=1614265330,v1=9631474976376c47abe8bd724d3daab3b9c7f205abb2cf3ddf82b0a54f89a186"
)


class Stripe(TextSecret):
    """The scheme; the key is the whole secret, a `whsec_` at its beginning included."""

    __slots__ = ()

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Return the headers of one attempt, with one `v1=` per key; the id is not signed."""
        if not keys:
            raise SigningError("there is no key to sign with")
        signed = b"%d.%b" % (timestamp, body)
        parts = [f"t={timestamp}", *(f"v1={hex_hmac(key, signed)}" for key in keys)]
        return [("webhook-id", webhook_id), ("Stripe-Signature", ",".join(parts))]

    def self_test(self) -> None:
        """Sign a message whose signature is known; raises SigningError on any difference."""
        made = self.headers([b"a key of this test"], "", 1614265330, b'{"test": 2432232314}')
        require_equal(made[-1][1], _KNOWN_ANSWER, "stripe")

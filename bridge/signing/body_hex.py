"""`hex`: HMAC-SHA256 over the body alone, in hex behind a prefix, as GitHub and many others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from bridge.errors import SigningError
from bridge.signing.text_secret import TextSecret, hex_hmac, require_equal

# Published in GitHub's documentation.
_KNOWN_ANSWER: Final = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


@dataclass(frozen=True, slots=True)
class BodyHex(TextSecret):
    """The scheme, with the name of its header and what precedes the hex digits."""

    header: str = "X-Signature"
    prefix: str = "sha256="

    def with_options(self, header: str | None, prefix: str | None) -> Self:
        """Return the scheme with another header or prefix; None keeps the present one."""
        return replace(
            self,
            header=self.header if header is None else header,
            prefix=self.prefix if prefix is None else prefix,
        )

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Return the headers of one attempt; the signature doesn't cover id and timestamp.

        Raises SigningError unless there is exactly one key: receivers expect one signature.
        """
        if len(keys) != 1:
            raise SigningError(f"{self.header} holds one signature: set secret, not secrets")
        return [("webhook-id", webhook_id), (self.header, self.prefix + hex_hmac(keys[0], body))]

    def self_test(self) -> None:
        """Sign a message whose signature is known; raises SigningError on any difference."""
        made = hex_hmac(b"It's a Secret to Everybody", b"Hello, World!")
        require_equal(made, _KNOWN_ANSWER, "hex")

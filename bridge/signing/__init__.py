"""How webhooks are signed: one file a scheme, listed here by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from bridge.signing import standard_webhooks


class Scheme(Protocol):
    """What a scheme's file offers; the keys it gets are those that its `parse_secret` made."""

    def parse_secret(self, text: str) -> bytes:
        """Read a secret as the config holds it; SigningError never shows it."""
        ...

    def generate_secret(self) -> str:
        """Make a new secret, as the config wants it."""
        ...

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Give the headers that identify and sign one try, keys newest first."""
        ...

    def self_test(self) -> None:
        """Sign known messages and compare; SigningError if this machine gets it wrong."""
        ...


STANDARD_WEBHOOKS: Final = "standard-webhooks"

SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        STANDARD_WEBHOOKS: standard_webhooks,
    }
)

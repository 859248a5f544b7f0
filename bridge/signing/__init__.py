"""How webhooks are signed: one file per scheme, listed here by the name that the config uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from bridge.config.values import nearest
from bridge.errors import SigningError
from bridge.signing import standard_webhooks

__all__ = ["SCHEMES", "Scheme", "Schemes", "find"]


class Scheme(Protocol):
    """What a scheme's file offers; the keys it gets are those that its `parse_secret` returned."""

    def parse_secret(self, text: str) -> bytes:
        """Parse a secret as written in the config; raises SigningError, which never shows it."""

    def generate_secret(self) -> str:
        """Return a new random secret, as written in the config."""

    def headers(
        self, keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
    ) -> list[tuple[str, str]]:
        """Return the headers that identify and sign one attempt; keys newest first.

        `timestamp` is the attempt's, in whole Unix seconds.
        """

    def self_test(self) -> None:
        """Sign known messages and compare; raises SigningError if this machine gets it wrong."""


Schemes = Mapping[str, Scheme]

SCHEMES: Final[Schemes] = MappingProxyType({
    "standard-webhooks": standard_webhooks,
})  # fmt: skip


def find(name: str, schemes: Schemes = SCHEMES) -> Scheme:
    """Return a scheme that works on this machine; raises SigningError with the nearest name."""
    if name not in schemes:
        near = nearest(name, list(schemes))
        hint = f"did you mean {near!r}?" if near else f"known schemes: {', '.join(schemes)}"
        raise SigningError(f"{name!r} is not a signing scheme, {hint}")
    scheme = schemes[name]
    scheme.self_test()
    return scheme

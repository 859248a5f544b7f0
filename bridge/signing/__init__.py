"""How webhooks are signed: one file per scheme, listed here by the name that the config uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, Self, runtime_checkable

from bridge.config.values import nearest
from bridge.errors import SigningError
from bridge.signing import standard_webhooks, standard_webhooks_ed25519, unsigned
from bridge.signing.body_hex import BodyHex
from bridge.signing.stripe import Stripe
from bridge.signing.timestamped_hex import TimestampedHex
from bridge.signing.twilio import Twilio

__all__ = ["SCHEMES", "Adjustable", "Asymmetric", "CoversForm", "Scheme", "Schemes", "find"]


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

        `webhook-id` is among them. `timestamp` is the attempt's, in whole Unix seconds. Raises
        SigningError for a number of keys that the scheme can't sign with.
        """

    def self_test(self) -> None:
        """Sign known messages and compare; raises SigningError if this machine gets it wrong."""


@runtime_checkable
class Adjustable(Protocol):
    """A scheme whose header can be renamed."""

    def with_options(self, header: str | None, prefix: str | None) -> Self:
        """Return the scheme with another header or prefix; None keeps the present one."""


@runtime_checkable
class CoversForm(Protocol):
    """A scheme that signs the URL and the parameters of a form, so that the body must be one."""

    def with_url(self, url: str) -> Self:
        """Return the scheme for the URL that requests are sent to."""


@runtime_checkable
class Asymmetric(Protocol):
    """A scheme whose receivers verify with a public key."""

    def public_key(self, key: bytes) -> str:
        """Return the public key of a private one, as receivers are given it."""


Schemes = Mapping[str, Scheme]

SCHEMES: Final[Schemes] = MappingProxyType({
    "standard-webhooks": standard_webhooks,
    "hex": BodyHex(),
    "timestamped-hex": TimestampedHex(),
    "stripe": Stripe(),
    "standard-webhooks-ed25519": standard_webhooks_ed25519,
    "twilio": Twilio(),
    "mobile-api-connect": BodyHex("X-MAC-Signature"),
    "none": unsigned,
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

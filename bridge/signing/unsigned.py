"""`none`: no signature, for receivers that authenticate us by other means."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.errors import SigningError


def parse_secret(text: str) -> bytes:
    """Raise SigningError: there is nothing to sign with."""
    raise SigningError("the scheme none signs nothing: leave the secret out")


def generate_secret() -> str:
    """Raise SigningError: there is nothing to sign with."""
    raise SigningError("the scheme none needs no secret")


def headers(
    keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
) -> list[tuple[str, str]]:
    """Return the id alone."""
    return [("webhook-id", webhook_id)]


def self_test() -> None:
    """Do nothing."""

"""`standard-webhooks-ed25519`: Standard Webhooks' asymmetric form, `v1a`, over `id.timestamp.body`.

The bridge keeps the private key (`whsk_…`); receivers get the public one (`whpk_…`), with which
they can verify and not sign.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bridge.errors import SigningError
from bridge.signing.text_secret import require_equal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PREFIX: Final = "whsk_"
_PUBLIC_PREFIX: Final = "whpk_"
_SEED: Final = 32  # bytes; a private key is these, alone or followed by the 32 of the public key
_PAIR: Final = 64

# Published with the reference implementations.
_KNOWN_PRIVATE: Final = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
_KNOWN_ANSWER: Final = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)


def parse_secret(text: str) -> bytes:
    """Parse `whsk_` + base64 of a private key, with or without its public key behind it.

    Returns the 32 bytes of the private key. Raises SigningError; its text never shows the secret.
    """
    if not text.startswith(_PREFIX):
        raise SigningError(
            f"a private signing key begins with {_PREFIX} "
            "(`smsbridge secret --scheme standard-webhooks-ed25519` makes one)"
        )
    try:
        key = base64.b64decode(text[len(_PREFIX) :], validate=True)
    except (binascii.Error, ValueError):  # from None: the cause could quote the secret
        raise SigningError(f"what follows {_PREFIX} in a private key is base64") from None
    if len(key) not in {_SEED, _PAIR}:
        raise SigningError(f"a private key holds {_SEED} or {_PAIR} bytes in base64")
    seed = key[:_SEED]
    if len(key) == _PAIR and key[_SEED:] != _public(seed):
        raise SigningError("the private key and the public key behind it don't belong together")
    return seed


def generate_secret() -> str:
    """Return a new random private key, with its public key behind it."""
    seed = secrets.token_bytes(_SEED)  # any 32 bytes are one (RFC 8032, 5.1.5)
    return _PREFIX + _base64(seed + _public(seed))


def public_key(key: bytes) -> str:
    """Return what receivers verify with: `whpk_` + base64."""
    return _PUBLIC_PREFIX + _base64(_public(key))


def headers(
    keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
) -> list[tuple[str, str]]:
    """Return the three headers of one attempt, with one signature per key."""
    if not keys:
        raise SigningError("there is no key to sign with")
    signed = b"%b.%d.%b" % (webhook_id.encode("ascii"), timestamp, body)
    signatures = " ".join("v1a," + _base64(_private(key).sign(signed)) for key in keys)
    return [
        ("webhook-id", webhook_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signatures),
    ]


def self_test() -> None:
    """Sign a message whose signature is known; raises SigningError on any difference."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = parse_secret(_KNOWN_PRIVATE)
        body = b'{"test": 2432232314}'
        made = headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    except UnsupportedAlgorithm:
        raise SigningError("this machine's cryptography library has no ed25519") from None
    require_equal(made[-1][1], _KNOWN_ANSWER, "Standard Webhooks ed25519")


@lru_cache(maxsize=64)  # loading a key costs half as much as a signature
def _private(seed: bytes) -> Ed25519PrivateKey:
    # Imported here: it would cost those memory who don't use the scheme.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(seed: bytes) -> bytes:
    return _private(seed).public_key().public_bytes_raw()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

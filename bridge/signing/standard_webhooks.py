"""Standard Webhooks 1.0.0: HMAC-SHA256 over `id.timestamp.body`, secrets as `whsec_…`."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from bridge.errors import SigningError

_PREFIX: Final = "whsec_"
_MIN_KEY: Final = 24  # bytes; the specification's bounds
_MAX_KEY: Final = 64
_NEW_KEY: Final = 32  # as long as the hash: more adds nothing

# (secret, id, timestamp, body, signature), checked against independent implementations.
_KNOWN_ANSWERS: Final = (
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1731705121,
        b'{"event_type":"ping","data":{"success":true}}',
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
)


def parse_secret(text: str) -> bytes:
    """Parse `whsec_` + base64 of 24 to 64 bytes; the bytes are the key.

    Raises SigningError; its text never shows the secret.
    """
    if not text.startswith(_PREFIX):
        raise SigningError(f"a signing secret begins with {_PREFIX} (`smsbridge secret` makes one)")
    try:
        key = _key(text)
    except (binascii.Error, ValueError):  # from None: the cause could quote the secret
        raise SigningError(f"what follows {_PREFIX} in a signing secret is base64") from None
    if not _MIN_KEY <= len(key) <= _MAX_KEY:
        raise SigningError(
            f"a signing secret holds {_MIN_KEY} to {_MAX_KEY} bytes in base64, not {len(key)}"
        )
    return key


def generate_secret() -> str:
    """Return a new random secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_KEY)).decode("ascii")


def sign(keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature per key, keys newest first.

    `timestamp` is the attempt's, in whole Unix seconds. A receiver that knows any one of the keys
    can verify, so several are sent during rotation.
    """
    if not keys:
        raise SigningError("there is no key to sign with")
    signed = b"%b.%d.%b" % (webhook_id.encode("ascii"), timestamp, body)
    # Exactly one space: some verifiers reject an empty part.
    return " ".join("v1," + _signature(key, signed) for key in keys)


def headers(
    keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes
) -> list[tuple[str, str]]:
    """Return the three headers of one attempt."""
    return [
        ("webhook-id", webhook_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", sign(keys, webhook_id, timestamp, body)),
    ]


def self_test() -> None:
    """Sign messages whose signatures are known; raises SigningError on any difference."""
    for secret, webhook_id, timestamp, body, expected in _KNOWN_ANSWERS:
        # Not parse_secret: the second published secret is shorter than the specification allows.
        made = sign([_key(secret)], webhook_id, timestamp, body)
        if not hmac.compare_digest(made, expected):
            raise SigningError(
                "the self-test of the Standard Webhooks signature failed: "
                "this Python's HMAC-SHA256 is broken, nothing will be sent"
            )


def _key(secret: str) -> bytes:
    return base64.b64decode(secret[len(_PREFIX) :], validate=True)


def _signature(key: bytes, signed: bytes) -> str:
    # hmac.digest runs in C in one call; hmac.new costs several times as much.
    digest = hmac.digest(key, signed, "sha256")
    return binascii.b2a_base64(digest, newline=False).decode("ascii")

"""JSON Web Tokens signed with HS256 (RFC 7515, RFC 7519): only what providers' posts need. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from bridge.providers.posts.base import matches

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_MAX_LENGTH: Final = 8 * 1024


def claims_of(
    token: str, keys: Sequence[bytes], at: datetime, tolerance: timedelta
) -> Mapping[str, object] | str:
    """Return the claims of a token that one of the keys signed and that is valid at a time.

    Otherwise a sentence. A token without `exp` must have an `iat` within the tolerance, which all
    its times are allowed.
    """
    found = _COMPACT.fullmatch(token) if len(token) <= _MAX_LENGTH else None
    if found is None:
        return "the JWT is missing or malformed"
    header, claims = _object(found[1]), _object(found[2])
    # Only this: an algorithm that the token chooses is how tokens are forged.
    if header is None or header.get("alg") != "HS256" or "crit" in header:
        return "the JWT is not signed with HS256"
    signed = f"{found[1]}.{found[2]}".encode()
    if not matches([_encoded(hmac.digest(key, signed, "sha256")) for key in keys], found[3]):
        return "the JWT's signature is wrong"
    if claims is None:
        return "the JWT's claims are no JSON object"
    return _untimely(claims, at.timestamp(), tolerance.total_seconds()) or claims


def _untimely(claims: Mapping[str, object], now: float, leeway: float) -> str | None:
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    for name, time in times.items():
        if isinstance(time, bool) or not isinstance(time, int | float):
            return f"the JWT's {name} is no time"
        if name == "exp" and not now <= time + leeway:
            return "the JWT has expired"
        if name != "exp" and not now >= time - leeway:
            return "the JWT is not valid yet"
    issued = times.get("iat")
    if "exp" not in times and not (isinstance(issued, int | float) and now <= issued + leeway):
        return "the JWT has no exp, and no iat within the tolerance"
    return None


def _object(part: str) -> dict[str, object] | None:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

"""Mobile API Connect's webhook: JSON, signed in hex over the raw body."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bridge import posts
from bridge.model import Ignored, Post, Reason, Trust, Unreadable
from bridge.providers.formats import read_formats
from bridge.providers.posts.base import Context, Fields, Posts, Read, hex_hmac, message

_PREFIX: Final = "sha256="
# No id: the one in its sample, `ref`, is the account's own reference and may come twice.
_FIELDS: Final = Fields(
    "from", "to", "text", "receivedAt", read_time=read_formats(["iso8601", "epoch_ms"], UTC)
)
_SIGNED: Final = Trust("signature", "X-MAC-Signature: the whole body")


def build(context: Context) -> Posts:
    """Build it."""
    keys = [secret.encode() for secret in context.secrets()]

    def verify(post: Post, _at: datetime) -> Trust | str:
        given = post.headers.get("x-mac-signature", "")
        if not given.startswith(_PREFIX):
            return "there is no X-MAC-Signature"
        if not hex_hmac(keys, post.body, given.removeprefix(_PREFIX)):
            return "X-MAC-Signature is wrong"
        return _SIGNED

    def read(post: Post, at: datetime) -> Read:
        found = posts.document(post)
        if not isinstance(found, dict):
            return Unreadable(Reason.UNREADABLE, "the body is no JSON object", context.name)
        other = another_event(found, "event", "message.received", context.name)
        return other or message(context, texts(found), _FIELDS, at)

    return Posts(context.name, verify, read, fields=_FIELDS.named)


def another_event(
    found: dict[str, object], key: str, wanted: str, name: str
) -> Ignored | Unreadable | None:
    """Return what a post of another event is, or None; one that doesn't say may be an SMS."""
    kind = found.get(key)
    if kind == wanted:
        return None
    if not isinstance(kind, str) or not kind:
        return Unreadable(Reason.UNREADABLE, f"{key} is missing: it may be {wanted}", name)
    return Ignored(f"another event than {wanted}", name)


def texts(found: dict[str, object]) -> dict[str, str]:
    """Return the values of a JSON object that are texts or numbers, as texts."""
    return {
        name: str(value)
        for name, value in found.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }

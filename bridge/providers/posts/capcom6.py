"""capcom6's android-sms-gateway: JSON, signed in hex over body and timestamp."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bridge import posts
from bridge.model import Post, Reason, Trust, Unreadable
from bridge.providers.formats import read_formats
from bridge.providers.posts.base import Context, Fields, Posts, Read, fresh, hex_hmac, message
from bridge.providers.posts.mobile_api_connect import another_event, texts

# `messageId` is a hash of the content and not unique, so it is no id; the event's `id` is.
_FIELDS: Final = Fields(
    "sender", "recipient", "message", "receivedAt", "id", read_formats(["iso8601"], UTC)
)
_SIGNED: Final = Trust("signature", "X-Signature: the body and its time")


def build(context: Context) -> Posts:
    """Build it."""
    keys = [secret.encode() for secret in context.secrets()]

    def verify(post: Post, at: datetime) -> Trust | str:
        given, moment = post.headers.get("x-signature", ""), post.headers.get("x-timestamp", "")
        if not given or not moment:
            return "there is no X-Signature, or no X-Timestamp"
        if not hex_hmac(keys, post.body + moment.encode("utf-8", "surrogateescape"), given):
            return "X-Signature is wrong"
        return _SIGNED if fresh(moment, at) else "X-Timestamp is more than 5 minutes off"

    def read(post: Post, at: datetime) -> Read:
        found = posts.document(post)
        if not isinstance(found, dict):
            return Unreadable(Reason.UNREADABLE, "the body is no JSON object", context.name)
        other = another_event(found, "event", "sms:received", context.name)
        if other is not None:
            return other
        payload = found.get("payload")
        if not isinstance(payload, dict):
            return Unreadable(Reason.UNREADABLE, "the body has no payload", context.name)
        values = texts(payload)
        values.setdefault("sender", values.get("phoneNumber", ""))  # its old name
        values["id"] = texts(found).get("id", "")
        return message(context, values, _FIELDS, at)

    return Posts(context.name, verify, read, fields=_FIELDS.named)

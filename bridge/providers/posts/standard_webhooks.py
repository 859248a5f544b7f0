"""Another smsbridge: its `sms.received` events, signed as Standard Webhooks has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bridge import posts
from bridge.errors import ConfigError, SigningError
from bridge.model import SMS_RECEIVED, Post, Reason, Trust, Unreadable
from bridge.providers.formats import read_formats
from bridge.providers.posts.base import Context, Fields, Posts, Read, fresh, matches, message
from bridge.providers.posts.mobile_api_connect import another_event, texts
from bridge.signing import standard_webhooks

_FIELDS: Final = Fields("from", "to", "body", "received_at", "id", read_formats(["iso8601"], UTC))
_SIGNED: Final = Trust("signature", "Standard Webhooks: id, time and the whole body")
_VERSION: Final = "v1,"
_MAX_SIGNATURES: Final = 10


def build(context: Context) -> Posts:
    """Build it."""
    try:
        keys = [standard_webhooks.parse_secret(secret) for secret in context.secrets()]
    except SigningError as error:
        raise ConfigError(f"{context.key}.post.secret", str(error)) from None

    def verify(post: Post, at: datetime) -> Trust | str:
        webhook_id, moment, given = (
            post.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
        )
        if not (webhook_id and webhook_id.isascii() and given and fresh(moment, at)):
            return "webhook-timestamp is more than 5 minutes off, or a webhook- header is missing"
        right = [standard_webhooks.sign([key], webhook_id, int(moment), post.body) for key in keys]
        signatures = given.split(" ")[:_MAX_SIGNATURES]
        if any(matches(right, each) for each in signatures if each.startswith(_VERSION)):
            return _SIGNED
        return "webhook-signature is wrong"

    def read(post: Post, at: datetime) -> Read:
        found = posts.document(post)
        if not isinstance(found, dict):
            return Unreadable(Reason.UNREADABLE, "the body is no JSON object", context.name)
        other = another_event(found, "type", SMS_RECEIVED, context.name)
        if other is not None:
            return other
        data = found.get("data")
        if not isinstance(data, dict):
            return Unreadable(Reason.UNREADABLE, "the body has no data", context.name)
        return message(context, texts(data), _FIELDS, at)

    return Posts(context.name, verify, read, fields=_FIELDS.named)

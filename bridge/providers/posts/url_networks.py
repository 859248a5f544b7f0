"""URL Networks' post: a form with an id and the time in Unix seconds; only a 200 counts."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from bridge.model import Post, Reason, Unreadable
from bridge.providers.posts.agile import form
from bridge.providers.posts.base import Context, Fields, Posts, Read, by_token, message
from bridge.providers.times import epoch


def build(context: Context) -> Posts:
    """Build it."""
    context.without_secret()
    zone = context.settings.time_zone
    read_time = epoch(ZoneInfo(zone) if zone else UTC)
    fields = Fields("from", "sms_number", "body", "timestamp", "message_id", read_time)

    def read(post: Post, at: datetime) -> Read:
        values = form(post)
        if isinstance(values, str):
            return Unreadable(Reason.UNREADABLE, values, context.name)
        return message(context, values, fields, at)

    return Posts(context.name, by_token, read, fields=fields.named)

"""Agile Telecom's post: a form without a signature, acknowledged by the text `+OK`."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from bridge import posts
from bridge.errors import ConfigError
from bridge.model import Post, Reason, Unreadable
from bridge.providers.posts.base import Answer, Context, Fields, Posts, Read, by_token, message
from bridge.providers.times import local_time


def build(context: Context) -> Posts:
    """Build it; the zone of its times is documented nowhere."""
    context.without_secret()
    zone = context.settings.time_zone
    if zone is None:
        raise ConfigError(
            f"{context.key}.time_zone",
            "agile's posts carry local times without a zone: name the zone of the account, "
            'most likely time_zone = "Europe/Rome"',
        )
    fields = Fields(
        "originator", "destination", "text", "date_time", read_time=local_time(ZoneInfo(zone))
    )

    def read(post: Post, at: datetime) -> Read:
        values = form(post)
        if isinstance(values, str):
            return Unreadable(Reason.UNREADABLE, values, context.name)
        return message(context, values, fields, at)

    return Posts(
        context.name, by_token, read, Answer(200, b"+OK", "text/plain"), fields=fields.named
    )


def form(post: Post) -> dict[str, str] | str:
    """Return the parameters of a form or query, each once; or a sentence."""
    pairs = posts.parameters(post)
    found = pairs if isinstance(pairs, str) else posts.once(pairs)
    return found if isinstance(found, str) else dict(found)

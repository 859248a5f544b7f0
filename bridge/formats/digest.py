"""`bridge.digest`: what each endpoint may get beside its messages, signed like those. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from bridge.event import digest_id
from bridge.formats import json_text
from bridge.model import BRIDGE_DIGEST, Digest, Event


def event(digest: Digest, now: datetime) -> Event:
    """Serialise a digest, once; these bytes are stored and sent on every attempt."""
    made = digest_id(digest.endpoint, digest.number, now)
    timestamp = json_text.utc(now, "seconds")
    data = {
        "id": made,
        "endpoint": digest.endpoint,
        "number": digest.number,
        "due_at": json_text.utc(digest.due_at, "seconds"),
        "next_at": json_text.utc(digest.due_at + timedelta(seconds=digest.every), "seconds"),
        "after": digest.after,
        "last": digest.last,
        "count": digest.last - digest.after,
        "delivered": digest.delivered,
        "waiting": digest.waiting,
        "dead": digest.dead,
        "erased": digest.erased,
        "not_coming": list(digest.not_coming),
    }
    body = json_text.write({"type": BRIDGE_DIGEST, "timestamp": timestamp, "data": data})
    return Event(made, BRIDGE_DIGEST, BRIDGE_DIGEST, body)

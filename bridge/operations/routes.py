"""Shows where a mail would go, and why not elsewhere; for `smsbridge check --message`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge.delivery import Endpoint
from bridge.model import Message, SourceKind
from bridge.operations.documents import Document, result_document
from bridge.reader import Reading, Result


def routes(result: Result, endpoints: Sequence[Endpoint], source: SourceKind) -> Document:
    """Return which endpoints would get each message of a mail that came by `source`.

    {"outcome": "message", "messages": [{"id", "provider", "endpoints": [{"name", "wanted",
    "reason"}]}]}, or {"outcome": "quarantine" | "ignored", "reason", "detail"}.
    """
    document = result_document(result)
    if not isinstance(result, Reading):
        return document
    found = (replace(each.message, source=source) for each in result.messages)
    return {"outcome": "message", "messages": [_route(each, endpoints) for each in found]}


def goes_nowhere(document: Document) -> bool:
    """Return whether the mail is no message, or one of its messages has no endpoint."""
    messages = document.get("messages", [])
    return not messages or not all(
        any(endpoint["wanted"] for endpoint in message["endpoints"]) for message in messages
    )


def _route(message: Message, endpoints: Sequence[Endpoint]) -> Document:
    reasons = {each.name: each.unwanted(message) for each in endpoints}
    return {
        "id": message.id,
        "provider": message.sms.provider,
        "endpoints": [
            {"name": name, "wanted": reason is None, "reason": reason}
            for name, reason in reasons.items()
        ],
    }

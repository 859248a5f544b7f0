"""Explains how a mail was parsed: the provider that matched, and where each value is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge import mail, posts, providers
from bridge.formats import sms_received
from bridge.model import Email, Unreadable
from bridge.operations.documents import Document, when
from bridge.providers.base import Explains, Explanation, FieldLocation, Provider
from bridge.reader import Reading, Result

_KEYS: Final = (
    "provider", "matched", "found", "missing", "charset", "from_html", "warnings", "mail",
    "webhook",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explained:
    """How a mail was parsed: the document, and the mail's text with the values' spans.

    `spans` are (start, end, field) in `text`, which is None if the mail couldn't be decoded.
    """

    document: Document
    text: str | None = None
    spans: tuple[tuple[int, int, str], ...] = ()


def explain_mail(known: Sequence[Provider], raw: bytes, result: Result | None = None) -> Explained:
    """Explain how a mail was parsed, to `result` if it is known; what doesn't apply is None.

    The document is {"provider", "matched", "found": [{"field", "where", "line", "value"}],
    "missing", "charset": {"used", "declared"}, "from_html", "warnings", "mail": {"from",
    "subject", "date", "message_id"}, "webhook": {"id", "type", "timestamp", "size"}}.
    """
    nothing: Document = dict.fromkeys(_KEYS) | {"found": [], "missing": [], "warnings": []}
    if posts.is_post(raw):  # its places are in its declaration
        post = posts.decode(raw)
        name = None if isinstance(post, Unreadable) else posts.provider_of(post)
        webhook = _webhook(result) if isinstance(result, Reading) else None
        return Explained(
            {**nothing, "provider": name, "warnings": list(_warnings(result)), "webhook": webhook}
        )
    email = mail.decode(raw)
    if isinstance(email, Unreadable):
        return Explained(nothing)
    provider, explained = _explained(known, email)
    found = explained.found if explained else ()
    text = explained.text if explained and explained.text is not None else email.text
    document = {
        "provider": None if provider is None else provider.name,
        "matched": None if explained is None else explained.matched,
        "found": [_found(text, each) for each in found],
        "missing": list(explained.missing) if explained else [],
        "charset": {"used": email.charset, "declared": email.declared_charset},
        "from_html": email.from_html,
        "warnings": list(dict.fromkeys((*email.warnings, *_warnings(result)))),
        "mail": {
            "from": email.sender,
            "subject": email.subject,
            "date": when(email.date),
            "message_id": email.message_id,
        },
        "webhook": _webhook(result) if isinstance(result, Reading) else None,
    }
    spans = tuple(
        (each.start, each.end, each.field)
        for each in found
        if each.start is not None and each.end is not None
    )
    return Explained(document, text, spans)


def _warnings(result: Result | None) -> tuple[str, ...]:
    return result.messages[0].message.sms.warnings if isinstance(result, Reading) else ()


def _webhook(reading: Reading) -> Document:
    message = reading.messages[0].message
    event = sms_received.event(message)
    return {
        "id": event.id,
        "type": event.type,
        "timestamp": when(message.sms.received_at),
        "size": len(event.body),
    }


def _explained(
    known: Sequence[Provider], email: Email
) -> tuple[Provider | None, Explanation | None]:
    provider = providers.choose(known, email)
    if isinstance(provider, Unreadable):
        return None, None
    if isinstance(provider, Explains):
        return provider, provider.explain(email)
    return provider, Explanation("the provider matched the mail", (), ())


def _found(text: str, location: FieldLocation) -> Document:
    placed = location.start is not None
    return {
        "field": location.field,
        "where": location.where,
        "line": text.count("\n", 0, location.start) + 1 if placed else None,
        "value": text[location.start : location.end] if placed else None,
    }

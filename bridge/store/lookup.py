"""The statement that finds the messages which a batch of arrivals may repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from sqlalchemy import Connection, and_, bindparam, or_, select

from bridge.model import Identity
from bridge.store.statements import Statement
from bridge.store.tables import messages

_KNOWN = select(
    messages.c.id, messages.c.content_key, messages.c.email_key, messages.c.provider_key
)

# What is looked for: messages of these ids and keys, and of these contents that could still take an
# arrival. By content alone a thousand mails of equal content would each fetch all those before.
IDS: Final = "ids"
EMAILS: Final = "emails"
PROVIDERS: Final = "providers"
KEYS_AT_ONCE: Final = 256  # SQLite takes 32,766 parameters in a statement


def contents_kind(arriving: Identity) -> str:
    """Return which messages of equal content could still take this arrival."""
    return f"contents{arriving.email is not None:d}{arriving.provider is not None:d}"


_FREE: Final = {
    f"contents{email:d}{provider:d}": [
        column.is_(None)
        for column, brought in ((messages.c.email_key, email), (messages.c.provider_key, provider))
        if brought
    ]
    for email in (False, True)
    for provider in (False, True)
}
_COLUMNS: Final = {
    IDS: messages.c.id,
    EMAILS: messages.c.email_key,
    PROVIDERS: messages.c.provider_key,
    **dict.fromkeys(_FREE, messages.c.content_key),
}


def look_up(
    connection: Connection, wanted: Mapping[str, Sequence[str]]
) -> Sequence[tuple[str, str, str | None, str | None]]:
    """Return id, content, e-mail and provider key of the messages with one of these keys."""
    # Keys are repeated to fill the next power of two, so that there are few different statements.
    size = 1 << (max(map(len, wanted.values())) - 1).bit_length()
    last = [(kind, keys, len(keys) - 1) for kind, keys in wanted.items()]
    filled = {f"{k}_{n}": keys[min(n, end)] for k, keys, end in last for n in range(size)}
    return _lookup(tuple(sorted(wanted)), size).select(connection, **filled)


@cache
def _lookup(kinds: tuple[str, ...], size: int) -> Statement:
    """Make the statement for `size` keys of each kind; each part seeks in its own index."""
    parts = [
        and_(
            _COLUMNS[kind].in_([bindparam(f"{kind}_{n}") for n in range(size)]),
            *_FREE.get(kind, ()),
        )
        for kind in kinds
    ]
    return Statement(_KNOWN.where(or_(*parts)))

"""Tokens for API and page: made, found by their hash, revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from bridge.errors import NotFound, NotPossible
from bridge.model import Scope, Token
from bridge.store.access_tables import tokens

MAX_LIVE: Final = 100  # every daemon keeps them all at hand
_COLUMNS: Final = [column for column in tokens.c if column.name != "hash"]
_LIVE: Final = tokens.c.revoked_at.is_(None)


def hash_of(token: str) -> bytes:
    """Return what the store keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def add_token(connection: Connection, name: str, scope: Scope, token: str, now: datetime) -> None:
    """Add a token; raises NotPossible if its name is in use, or there are too many.

    Needs a write transaction, of which there is one at a time.
    """
    if connection.execute(select(tokens.c.id).where(tokens.c.name == name, _LIVE)).first():
        raise NotPossible(
            f"there is a token {name!r}: revoke it (`smsbridge token revoke {name}`), "
            "or take another name"
        )
    live = connection.execute(select(func.count()).select_from(tokens).where(_LIVE)).scalar_one()
    if live >= MAX_LIVE:
        raise NotPossible(f"there are {live} tokens, the most there can be: revoke one")
    connection.execute(
        insert(tokens).values(name=name, scope=scope, hash=hash_of(token), created_at=now)
    )


def live_tokens(connection: Connection) -> Mapping[bytes, Token]:
    """Return every token that has not been revoked, by its hash."""
    found = connection.execute(select(tokens).where(_LIVE)).mappings()
    return {bytes(row["hash"]): _token(row) for row in found}


def list_tokens(connection: Connection) -> list[Token]:
    """List all tokens ever made, newest first."""
    found = connection.execute(select(*_COLUMNS).order_by(tokens.c.id.desc())).mappings()
    return [_token(row) for row in found]


def revoke_token(connection: Connection, name: str, now: datetime) -> None:
    """Revoke a token; raises NotFound. Needs a write transaction."""
    revoked = connection.execute(
        update(tokens).where(tokens.c.name == name, _LIVE).values(revoked_at=now)
    )
    if not revoked.rowcount:
        raise NotFound(f"there is no token {name!r}: `smsbridge token list` shows them")


def note_use(connection: Connection, token_id: int, now: datetime) -> None:
    """Note that a token was used. Needs a write transaction."""
    connection.execute(update(tokens).where(tokens.c.id == token_id).values(used_at=now))


def _token(row: RowMapping) -> Token:
    known: dict[str, Any] = {column.name: row[column.name] for column in _COLUMNS}
    return Token(**known | {"scope": Scope(row["scope"])})

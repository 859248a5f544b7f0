"""The answers to requests that may be sent again: for a day, the same request gets the same one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from bridge.store.access_tables import answers

KEPT: Final = timedelta(days=1)
MOST: Final = 1000  # of a token's


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a request: its hash, and its answer; `status` None while there is none."""

    request: bytes
    status: int | None
    body: bytes = field(repr=False)


def begin_answer(
    connection: Connection, token_id: int, key: str, request: bytes, now: datetime
) -> Kept | None:
    """Take a key for a request; return what is kept if it is taken. Needs a write transaction."""
    connection.execute(delete(answers).where(answers.c.at < now - KEPT))
    mine = answers.c.token_id == token_id
    found = connection.execute(
        select(answers.c.request, answers.c.status, answers.c.body).where(
            mine, answers.c.key == key
        )
    ).first()
    if found is not None:
        return Kept(bytes(found.request), found.status, bytes(found.body or b""))
    count = connection.execute(select(func.count()).select_from(answers).where(mine)).scalar_one()
    if count >= MOST:
        oldest = select(answers.c.key).where(mine).order_by(answers.c.at).limit(1)
        connection.execute(delete(answers).where(mine, answers.c.key == oldest.scalar_subquery()))
    connection.execute(insert(answers).values(token_id=token_id, key=key, request=request, at=now))
    return None


def keep_answer(connection: Connection, token_id: int, key: str, status: int, body: bytes) -> None:
    """Keep the answer to a request. Needs a write transaction."""
    connection.execute(
        update(answers)
        .where(answers.c.token_id == token_id, answers.c.key == key)
        .values(status=status, body=body)
    )


def forget_answer(connection: Connection, token_id: int, key: str) -> None:
    """Free a key whose request has done nothing. Needs a write transaction."""
    connection.execute(delete(answers).where(answers.c.token_id == token_id, answers.c.key == key))

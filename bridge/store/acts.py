"""The log of what operators did by API, page and command: who, what, to what, why, and how it went.

An act is written before it is done, and its result after: whatever happens in between, it is known
that somebody began it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from bridge.store.access_tables import acts

KEPT: Final = 10_000
DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody does; `target` names no whole number and no text."""

    who: str
    way: str  # api, page or command
    what: str
    target: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedAct:
    """An act of the log; one without a result was cut off by the end of the process."""

    id: int
    at: datetime
    act: Act
    result: str | None


def begin_act(connection: Connection, act: Act, now: datetime) -> int:
    """Log that an act begins; return its id. Needs a write transaction."""
    logged = connection.execute(
        insert(acts).values(
            at=now, who=act.who, way=act.way, what=act.what, target=act.target, why=act.why
        )
    )
    key = logged.inserted_primary_key
    assert key is not None
    connection.execute(delete(acts).where(acts.c.id <= key[0] - KEPT))
    return int(key[0])


def end_act(connection: Connection, act_id: int, result: str) -> None:
    """Log how an act ended. Needs a write transaction."""
    connection.execute(update(acts).where(acts.c.id == act_id).values(result=result))


def list_acts(connection: Connection, *, limit: int, before: int | None = None) -> list[LoggedAct]:
    """List acts, newest first; `before` is the id to go on from."""
    query = select(acts).order_by(acts.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(acts.c.id < before)
    return [
        LoggedAct(row.id, row.at, Act(row.who, row.way, row.what, row.target, row.why), row.result)
        for row in connection.execute(query)
    ]

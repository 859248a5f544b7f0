"""What a message's or a delivery's story needs beside its rows: attempts, bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from bridge.store.queries import AttemptRow
from bridge.store.tables import attempts


def newest_attempts(
    connection: Connection, delivery_ids: Sequence[int], most: int, longest: int
) -> Mapping[int, tuple[AttemptRow, ...]]:
    """Return the newest attempts of each delivery, oldest first, with the answers' beginnings."""
    columns = [column for column in attempts.c if column.name not in {"id", "delivery_id"}]
    found = {}
    for each in delivery_ids:
        made = (
            select(*columns)
            .where(attempts.c.delivery_id == each)
            .order_by(attempts.c.number.desc())
            .limit(most)
        )
        rows = connection.execute(made).mappings().all()
        found[each] = tuple(
            AttemptRow(**{**row, "answer": row["answer"][:longest]}) for row in reversed(rows)
        )
    return found

"""Compares tables with their indexes: of a flipped bit in either, the other one has what was there.

Only on SQLite. PostgreSQL has page checksums, and `pg_amcheck`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Index, Table, text

from bridge.store.access_tables import metadata
from bridge.store.checks import Check
from bridge.store.tables import ROWS

INDEXED: Final = tuple(metadata.sorted_tables)


def not_in_index(connection: Connection, table: Table, after: int, last: int) -> list[str]:
    """Name the rows with these numbers that an index has otherwise, or not at all."""
    found = []
    for name, columns, rows in _indexes(connection, table):
        same = " AND ".join(f"i.{column} IS t.{column}" for column in columns)
        query = text(
            f"SELECT rowid FROM {table.name} AS t NOT INDEXED "  # noqa: S608  our own names
            f"WHERE rowid > :after AND rowid <= :last AND {rows} AND NOT EXISTS "
            f"(SELECT 1 FROM {table.name} AS i INDEXED BY {name} "
            f"WHERE {rows} AND {same} AND i.rowid = t.rowid) ORDER BY rowid"
        )
        which = connection.execute(query, {"after": after, "last": last}).scalars()
        found += [f"{table.name} row {row} ({name})" for row in which]
    return found


def check_files(connection: Connection) -> Check:
    """Let SQLite read every page, and each index both ways, in one snapshot."""
    name = "the database's own check finds nothing"
    if connection.dialect.name != "sqlite":
        return Check(name, ok=True, detail="of PostgreSQL: run pg_amcheck, and use data checksums")
    found = connection.execute(text("PRAGMA integrity_check(5)")).scalars().all()
    return Check(name, ok=found == ["ok"], detail="" if found == ["ok"] else "; ".join(found))


def last_row(connection: Connection, table: Table, after: int, rows: int) -> int | None:
    """Return the number of the last row of the next part; None if there is no more."""
    query = text(
        f"SELECT max(rowid) FROM (SELECT rowid FROM {table.name} NOT INDEXED "  # noqa: S608
        "WHERE rowid > :after ORDER BY rowid LIMIT :rows)"
    )
    found: int | None = connection.execute(query, {"after": after, "rows": rows}).scalar()
    return found


def _indexes(connection: Connection, table: Table) -> list[tuple[str, list[str], str]]:
    """Return the name, the columns and the condition of each index, SQLite's own included."""
    indexes = [
        (str(index.name), [column.name for column in index.columns], _rows(index))
        for index in sorted(table.indexes, key=lambda each: str(each.name))
    ]
    indexes.append(
        (f"sqlite_autoindex_{table.name}_1", [each.name for each in table.primary_key], "1")
    )
    schema = text("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = :table")
    there = set(connection.execute(schema, {"table": table.name}).scalars())
    return [each for each in indexes if each[0] in there]


def _rows(index: Index) -> str:
    return f"({index.info[ROWS]})" if ROWS in index.info else "1"

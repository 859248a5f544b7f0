"""The driver's cursor below SQLAlchemy, for statements that run thousands of times a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

Parameters = tuple[Any, ...] | Mapping[str, Any]  # as the driver takes them


class DriverCursor:
    """A cursor of the connection's driver, in its transaction.

    Whoever listens for statements hears of these, too. The driver's errors are raised as SQLAlchemy
    raises them, as DBAPIError, and a connection that is lost is given up. That error quotes neither
    the statement nor its parameters.
    """

    __slots__ = ("_connection", "_cursor")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.connection.cursor()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the cursor, and translate what went wrong."""
        self._cursor.close()
        if error is None:
            return
        dialect = self._connection.dialect
        if isinstance(error, dialect.loaded_dbapi.Error):
            lost = dialect.is_disconnect(error, self._connection.connection, self._cursor)
            if lost:
                self._connection.invalidate(error)
            raise DBAPIError(
                None, None, error, hide_parameters=True, connection_invalidated=lost
            ) from error

    def execute(self, sql: str, parameters: Parameters = ()) -> None:
        """Run a statement once."""
        self._tell(sql, parameters, many=False)
        self._cursor.execute(sql, parameters)

    def executemany(self, sql: str, rows: Sequence[Any]) -> int:
        """Run a statement once for each row; return how many rows of the table were written."""
        self._tell(sql, rows, many=True)
        self._cursor.executemany(sql, rows)
        return self._cursor.rowcount

    def fetchall(self) -> Sequence[tuple[Any, ...]]:
        """Return all rows that the statement found."""
        return self._cursor.fetchall()

    def _tell(self, sql: str, parameters: object, *, many: bool) -> None:
        for listen in self._connection.dispatch.before_cursor_execute:
            listen(self._connection, self._cursor, sql, parameters, None, many)

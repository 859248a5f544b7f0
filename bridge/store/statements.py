"""Statements compiled once and run on the driver's own cursor.

SQLAlchemy's cache saves the compiling, but what remains for each execution (the cache's key, a
context, a result, their events) costs more than the database's own work. The statements of the
line run thousands of times a second, so they are prepared here; an operator's queries need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.sql.compiler import SQLCompiler

from bridge.errors import StoreError
from bridge.store.driver import DriverCursor, Parameters

_Process = Callable[[Any], Any]
_Clause = Insert | Update | Delete | Select[*tuple[Any, ...]]


class Statement:
    """A statement of SQLAlchemy Core whose bound parameters are given at execution.

    Those that have a value of their own, as an OFFSET of 0 does, keep it.

    Runs on SQLite and PostgreSQL alike: compiled once per dialect, with the same conversions of
    parameters and results as SQLAlchemy's own execution. Driver errors are raised as SQLAlchemy
    raises them; a value that a column cannot hold raises StoreError, which doesn't quote it.
    """

    def __init__(self, clause: _Clause | Callable[[Dialect], _Clause]) -> None:
        """Take the clause, or what makes it where the dialects' clauses differ."""
        self._clause = clause
        self._prepared: dict[str, _Prepared] = {}

    def change(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Run once for each row; return how many rows of the table were written in all."""
        prepared = self._for(connection.dialect)
        with DriverCursor(connection) as cursor:
            return cursor.executemany(prepared.sql, [prepared.bind(row) for row in rows])

    def select(self, connection: Connection, **parameters: object) -> Sequence[tuple[Any, ...]]:
        """Run once; return all rows, their values in the order of the selected columns."""
        prepared = self._for(connection.dialect)
        with DriverCursor(connection) as cursor:
            cursor.execute(prepared.sql, prepared.bind(parameters))
            return prepared.read(cursor.fetchall())

    def _for(self, dialect: Dialect) -> _Prepared:
        prepared = self._prepared.get(dialect.name)
        if prepared is None:
            clause = self._clause if not callable(self._clause) else self._clause(dialect)
            prepared = self._prepared[dialect.name] = _Prepared(clause, dialect)
        return prepared


class _Prepared:
    """A statement as one dialect's driver takes it."""

    def __init__(self, clause: _Clause, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.sql: Final = str(compiled)
        self._positional = compiled.positional
        self._names = list((compiled.positiontup if self._positional else compiled.binds) or ())
        self._conversions = [
            (at, to)
            for at, name in enumerate(self._names)
            if (to := compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
        ]
        self._own = {
            name: compiled.binds[name].value
            for name in self._names
            if not compiled.binds[name].required
        }
        columns = clause.selected_columns if isinstance(clause, Select) else ()
        self._results = [
            each.type.dialect_impl(dialect).result_processor(dialect, None) for each in columns
        ]

    def bind(self, row: Mapping[str, object]) -> Parameters:
        """Convert one row's parameters into what the driver takes; None is NULL in every column."""
        if self._own:
            row = {**self._own, **row}
        values: list[Any] = [row[name] for name in self._names]
        try:
            for at, to in self._conversions:
                value = values[at]
                if value is not None:
                    values[at] = to(value)
        except (TypeError, ValueError) as error:
            # Its text may quote the value.
            raise StoreError(f"a row cannot be written ({type(error).__name__})") from None
        return tuple(values) if self._positional else dict(zip(self._names, values, strict=True))

    def read(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """Convert the driver's rows into the columns' Python values."""
        if not any(self._results):
            return rows
        return [
            tuple(
                value if to is None else to(value)
                for value, to in zip(row, self._results, strict=True)
            )
            for row in rows
        ]

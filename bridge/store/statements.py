"""Statements compiled once and run with the driver's own parameters.

SQLAlchemy's cache saves the compiling, but what remains for each execution (the cache's key, the
parameters' dictionaries) costs more than the database's own work. The statements of the line run
thousands of times a second, so they are prepared here; an operator's queries need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Insert, Row, Select, Update
from sqlalchemy.sql.compiler import SQLCompiler

from bridge.errors import StoreError

_Process = Callable[[Any], Any]
_Clause = Insert | Update | Select[Any]


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
        return connection.exec_driver_sql(
            prepared.sql, [prepared.bind(row) for row in rows]
        ).rowcount

    def select(self, connection: Connection, **parameters: object) -> Sequence[tuple[Any, ...]]:
        """Run once; return all rows, their values in the order of the selected columns."""
        prepared = self._for(connection.dialect)
        found = connection.exec_driver_sql(prepared.sql, prepared.bind(parameters))
        return prepared.read(found.all())

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
        names = compiled.positiontup if compiled.positional else list(compiled.binds)
        self._binds = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in names or ()
        ]
        self._own = {
            name: compiled.binds[name].value
            for name, _ in self._binds
            if not compiled.binds[name].required
        }
        columns = clause.selected_columns if isinstance(clause, Select) else ()
        self._results = [
            each.type.dialect_impl(dialect).result_processor(dialect, None) for each in columns
        ]

    def bind(self, row: Mapping[str, object]) -> Any:
        """Convert one row's parameters into what the driver takes: a tuple, or a dictionary."""
        if self._own:
            row = {**self._own, **row}
        try:
            if self._positional:
                return tuple(
                    [row[name] if to is None else to(row[name]) for name, to in self._binds]
                )
            return {name: row[name] if to is None else to(row[name]) for name, to in self._binds}
        except (TypeError, ValueError) as error:
            # Its text may quote the value.
            raise StoreError(f"a row cannot be written ({type(error).__name__})") from None

    def read(self, rows: Sequence[Row[Any]]) -> Sequence[tuple[Any, ...]]:
        """Convert the driver's rows into the columns' Python values."""
        if not any(self._results):
            return [tuple(row) for row in rows]
        return [
            tuple(
                value if to is None else to(value)
                for value, to in zip(row, self._results, strict=True)
            )
            for row in rows
        ]

"""A condition on a list of values, of any length, in a statement that is compiled once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from sqlalchemy import ARRAY, JSON, Boolean, ColumnElement, Dialect, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

IDS: Final = "ids"  # the parameter that is the list


class _Listed(TypeDecorator[Sequence[object]]):
    """A list of a column's values as one parameter."""

    impl = JSON
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Hand over JSON to SQLite, which has no lists, and an array to PostgreSQL."""
        kind = JSON() if dialect.name == "sqlite" else ARRAY(self.item)
        return dialect.type_descriptor(kind)


class among(ColumnElement[bool]):  # noqa: N801 - reads as `column.in_` does
    """The condition that a column's value is one of those given as the parameter `ids`.

    An IN list has a place for each value, and would be compiled anew for each length.
    """

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column
        self.listed = bindparam(IDS, type_=_Listed(column.type))

    def self_group(self, against: OperatorType | None = None) -> Self:
        """Return itself: with SQLAlchemy's `= 1` behind it, SQLite would use no index."""
        return self


@compiles(among, "sqlite")
def _sqlite(element: among, compiler: SQLCompiler, **words: Any) -> str:
    column, listed = (compiler.process(each, **words) for each in (element.column, element.listed))
    return f"{column} IN (SELECT value FROM json_each({listed}))"  # noqa: S608 - both were compiled


@compiles(among, "postgresql")
def _postgresql(element: among, compiler: SQLCompiler, **words: Any) -> str:
    column, listed = (compiler.process(each, **words) for each in (element.column, element.listed))
    return f"{column} = ANY({listed})"

"""How Python values lie in the database's columns, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# SQLite numbers rows by itself only in a column that is called INTEGER (64 bits there anyhow).
Key = BigInteger().with_variant(Integer(), "sqlite")


def storable(text: str | None) -> str | None:
    """Write what a database's text cannot hold as a backslash escape: lone surrogates and NUL.

    SMTPUTF8 hands over invalid bytes as surrogates, and PostgreSQL takes no U+0000. Without this
    one such character would make an arrival unstorable for ever, and its sender would try again
    for ever. The raw bytes and the event's body are blobs and are never touched, and a message's
    text comes back as it was (`ExactText`).
    """
    if text is None:
        return None
    # Of a StrEnum's member its value is what the drivers should see.
    plain = text if type(text) is str else str(text)
    if plain.isascii() and "\0" not in plain:
        return plain
    return plain.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


_ENCODED: Final = "\x01"  # in front of a text that is stored as JSON


def exactly(text: str | None) -> str | None:
    """Write a text so that `as_it_was` gives back every character; nearly all are stored as is."""
    if text is None or (storable(text) == text and not text.startswith(_ENCODED)):
        return text
    return _ENCODED + json.dumps(text)


def as_it_was(stored: str | None) -> str | None:
    """Undo `exactly`."""
    if stored is None or not stored.startswith(_ENCODED):
        return stored
    return str(json.loads(stored.removeprefix(_ENCODED)))


def microseconds(moment: datetime | None) -> int | None:
    """Count from 1970 to an aware datetime; a naive one raises TypeError."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


class SafeText(TypeDecorator[str]):
    """A text column that takes any Python string; see `storable`."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        """Escape; given to the dialect itself, for it runs 30 times a message."""
        return storable


class ExactText(TypeDecorator[str]):
    """A text column that gives back exactly what was written; see `exactly`."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        """Encode what the database cannot hold."""
        return exactly

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Decode it."""
        return as_it_was(value)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970: sorts, and means the same in every zone.

    A naive datetime is refused (TypeError), never guessed at.
    """

    impl = BigInteger
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        """Count the microseconds."""
        return microseconds

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Strings(TypeDecorator[tuple[str, ...]]):
    """Several strings as a JSON array in ASCII, so that each one comes back exactly as it was."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        """Serialise."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        """Parse."""
        return None if value is None else tuple(json.loads(value))

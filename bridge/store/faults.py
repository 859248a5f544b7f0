"""Turns the drivers' errors into ours, at the one edge where they come in.

The sentences name the database and what to do. They never quote a row: a driver's text about a
bad value may hold a number or a message's words, so only its code is kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from bridge.errors import StoreError, StoreFull, StoreUnavailable, StoreUnusable

_PRIMARY: Final = 0xFF  # SQLite's extended codes carry the primary one in their low byte

_SQLITE_WAITS: Final = {
    sqlite3.SQLITE_BUSY: "another process holds its lock",
    sqlite3.SQLITE_LOCKED: "another connection holds a lock in it",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its folder writable",
    sqlite3.SQLITE_IOERR: "the disk reported an I/O error; see the kernel's log",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look at the folder and its permissions",
    sqlite3.SQLITE_PERM: "access is refused; look at the file's permissions",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_PROTOCOL: "its lock could not be taken",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
}
_SQLITE_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}

_POSTGRES_WAITS: Final = {
    "25006": "it takes no writes now (read-only or a standby)",
    "40001": "two transactions collided",
    "40P01": "two transactions collided",
    "55P03": "another session holds a lock",
    "57014": "a statement took longer than its timeout",
    "57P01": "the server ended the connection",
    "57P02": "the server ended the connection",
    "57P03": "the server is starting up or shutting down",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left",
}
_POSTGRES_FULL: Final = "53100"
_POSTGRES_DAMAGED: Final = {
    "XX001": "the server reports damaged data (XX001); restore it from a backup",
    "XX002": "the server reports a damaged index (XX002); REINDEX it or restore a backup",
    "42501": "the role may not use its tables (42501); grant it the rights or make it the owner",
    "42P01": "tables are missing (42P01); restore it from a backup",
}


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise StoreUnavailable, StoreFull, StoreUnusable or StoreError for a driver's error.

    `name` is what the operator calls the database.
    """
    try:
        yield
    except exc.DBAPIError as error:
        # A driver's text may quote a row, so nothing is chained.
        raise _translate(name, error) from None
    except exc.TimeoutError:
        raise StoreUnavailable(f"{name}: every connection is in use") from None
    except exc.SQLAlchemyError as error:
        raise StoreError(f"{name}: a row cannot be written ({type(error).__name__})") from None


def _translate(name: str, error: exc.DBAPIError) -> StoreError:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return from_sqlite(name, cause)
    state = getattr(cause, "sqlstate", None)
    if state is None or error.connection_invalidated:
        if error.connection_invalidated or type(cause).__name__ in _NO_CONNECTION:
            return StoreUnavailable(
                f"{name}: the server cannot be reached; is it running, and is [store] url right?"
            )
        return _refused(name, cause)
    if state == _POSTGRES_FULL:
        return StoreFull(f"{name}: the server's disk is full; free space on it")
    if state in _POSTGRES_DAMAGED:
        return StoreUnusable(f"{name}: {_POSTGRES_DAMAGED[state]}")
    if state in _POSTGRES_WAITS:
        return StoreUnavailable(f"{name}: {_POSTGRES_WAITS[state]}")
    if state.startswith(("08", "53", "57", "58")):
        return StoreUnavailable(f"{name}: the server cannot work now ({state})")
    if state.startswith(("28", "3D")):
        return StoreUnavailable(f"{name}: the server refuses us ({state}); look at [store] url")
    return _refused(name, cause)


_NO_CONNECTION: Final = {"OperationalError", "ConnectionTimeout", "InterfaceError"}


def from_sqlite(name: str, cause: sqlite3.Error) -> StoreError:
    """Return our error for one of SQLite's driver."""
    code = getattr(cause, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(f"{name}: the disk is full; free space on it")
    if primary in _SQLITE_DAMAGED:
        return StoreUnusable(
            f"{name}: the file is damaged or no SQLite database; move it away and restore a backup"
        )
    if primary in _SQLITE_WAITS:
        return StoreUnavailable(
            f"{name}: {_SQLITE_WAITS[primary]} ({getattr(cause, 'sqlite_errorname', primary)})"
        )
    return _refused(name, cause)


def _refused(name: str, cause: BaseException | None) -> StoreError:
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    known = type(cause).__name__ if code is None else f"{type(cause).__name__} {code}"
    return StoreError(f"{name}: the database refuses a row ({known})")

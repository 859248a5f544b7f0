"""The configured store, opened for a command beside a daemon that may be running on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from bridge.cli.options import require_config
from bridge.config.settings import StoreSettings
from bridge.store import Database


@contextmanager
def opened(settings: StoreSettings) -> Iterator[Database]:
    """Open the store; raises a StoreError with what to do if it is not there or not ours."""
    database = Database.open(settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def reading(config: Path | None) -> Iterator[Connection]:
    """Give a connection that reads one snapshot."""
    with opened(require_config(config).settings.store) as store, store.read() as connection:
        yield connection


@contextmanager
def writing(config: Path | None) -> Iterator[Connection]:
    """Give a connection in a write transaction, committed at the end."""
    with opened(require_config(config).settings.store) as store, store.begin() as connection:
        yield connection

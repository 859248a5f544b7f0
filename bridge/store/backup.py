"""Copies an SQLite database beside a running daemon, and puts a checked copy in its place.

Every copy is one file, private from its first byte on, and complete: the write-ahead log is in it.
PostgreSQL has tools of its own.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ByteSize
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bridge.config.settings import StoreSettings
from bridge.errors import NotPossible, StoreUnusable
from bridge.store import schema
from bridge.store.audit import NOTED, AuditReport, audit
from bridge.store.database import Database
from bridge.store.faults import from_sqlite, translated
from bridge.store.schema import Schema
from bridge.store.sqlite import SqliteFile, engine
from bridge.store.wal import log_is_foreign
from bridge.store.witness import SUFFIX

Progress = Callable[[int, int], None]  # pages done, pages in all

_PRIVATE: Final = 0o600
_PAGES_AT_ONCE: Final = 2000  # 8 MB: progress several times a second
_BESIDE: Final = ("-wal", "-shm", "-journal", SUFFIX)


@dataclass(frozen=True, slots=True)
class Copy:
    """A finished copy; `report` is None if its schema is older, which only `restore` brings up."""

    path: Path
    size: int
    report: AuditReport | None


def database_file(settings: StoreSettings) -> SqliteFile:
    """Return the SQLite file of a config; raises NotPossible for PostgreSQL."""
    try:
        url = make_url(settings.url)
    except (ArgumentError, ValueError):
        raise StoreUnusable("[store] url cannot be read as a database URL") from None
    if url.get_backend_name() != "sqlite":
        raise NotPossible(
            "[store] url is PostgreSQL: back it up and restore it with its own tools, pg_dump and "
            "pg_restore (docs/operating.md)"
        )
    return SqliteFile(url)


def backup(
    settings: StoreSettings, target: Path, clock: Callable[[], datetime], progress: Progress
) -> Copy:
    """Copy the configured database into a new file, checked and audited.

    The copy is one moment of the database, however much is written meanwhile. It appears under its
    name only when it is complete and synced. Raises NotPossible if the file exists, StoreError if
    the database cannot be read or the copy is damaged.
    """
    file = database_file(settings)
    file.prepare(create=False)
    file.check_log(at_rest=False)
    if target.exists():
        raise NotPossible(f"{target} exists already: nothing is overwritten")
    with _partial(target) as partial_file:
        _copy(file.path, partial_file, file.name, progress)
        report = _audit(partial_file, clock, migrate=False)
        with closing(sqlite3.connect(partial_file)) as connection:
            # A database in WAL mode can't be opened on a read-only medium.
            connection.execute("PRAGMA journal_mode=DELETE")
        _put(partial_file, target)
    return Copy(target, target.stat().st_size, report)


def restore(
    settings: StoreSettings,
    source: Path,
    clock: Callable[[], datetime],
    progress: Progress,
    *,
    replace: bool,
) -> tuple[Copy, Path | None]:
    """Put a copy of a backup in the configured database's place; no daemon may run on it.

    The copy is brought up to this program's schema and audited before that; a database that is
    there is kept under another name, which is returned. Raises NotPossible if there is one and
    `replace` is not set, or if the audit fails, other than for what was noted as damaged and is
    noted from then on, too; StoreUnusable if the backup is damaged, newer or
    of another program, or a daemon runs.
    """
    file = database_file(settings)
    if not file.path.parent.is_dir():
        raise NotPossible(f"{file.name}: the folder {file.path.parent} does not exist; make it")
    if not source.is_file():
        raise NotPossible(f"{source}: no such file")
    if source.resolve() == file.path:
        raise NotPossible(f"{source} is the database itself")
    file.lock()
    try:
        if file.path.exists() and not replace:
            raise NotPossible(f"{file.name} exists already: --replace keeps it under another name")
        with _partial(file.path) as partial_file:
            _copy(source, partial_file, f"the backup {source}", progress)
            report = _audit(partial_file, clock, migrate=True)
            # What was noted as damaged stays so; a backup that has it may be the last one there is.
            checks = () if report is None else report.checks
            wrong = [each.name for each in checks if not each.ok and each.name != NOTED]
            if report is None or wrong:
                raise NotPossible(f"{source} fails the audit, so it was not put in place: {wrong}")
            _take_over_owner(partial_file, file.path)
            kept = _set_aside(file, clock()) if file.path.exists() else None
            file.witness.path.unlink(missing_ok=True)  # what the backup lacks is given up knowingly
            _put(partial_file, file.path)
        return Copy(file.path, file.path.stat().st_size, report), kept
    finally:
        file.unlock()


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Give an empty private file beside a target; removed at the end unless it was renamed."""
    path = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _PRIVATE))
        except OSError as error:
            raise NotPossible(f"{path.parent}: {(error.strerror or 'failed').lower()}") from None
        yield path
    finally:
        for suffix in ("", *_BESIDE):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, target: Path, name: str, progress: Progress) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            # One read transaction over all steps, else each write of the daemon would begin the
            # copy anew.
            reading.isolation_level = None
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()

            def report(_status: int, remaining: int, total: int) -> None:
                progress(total - remaining, total)

            reading.backup(writing, pages=_PAGES_AT_ONCE, progress=report)
    except sqlite3.Error as error:
        raise from_sqlite(name, error) from None


def _audit(path: Path, clock: Callable[[], datetime], *, migrate: bool) -> AuditReport | None:
    """Check a copy for damage, and audit it if its schema is this program's."""
    name = f"the copy {path}"
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise from_sqlite(name, error) from None
    if verdict != "ok":
        raise StoreUnusable(f"{name} is damaged, and so is what it was copied from")
    settings = StoreSettings(url=f"sqlite:///{path}", min_free=ByteSize(0))
    with closing(_Looked(settings, name)) as looked:
        if looked.schema is Schema.EMPTY:
            raise StoreUnusable(f"{name}: what it was copied from is empty")
        if looked.schema is Schema.OLDER and not migrate:
            return None
    with closing(Database.open(settings, migrate=migrate)) as database, database.read() as reading:
        return audit(reading, clock())


class _Looked:
    """A database whose schema was looked at, whatever it is."""

    def __init__(self, settings: StoreSettings, name: str) -> None:
        self._engine = engine(database_file(settings), settings.busy_timeout)
        try:
            with translated(name), self._engine.connect() as connection:
                self.schema = schema.look(connection, name)
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _take_over_owner(copy: Path, path: Path) -> None:
    """Give a copy that root made to the owner of what it replaces, or of the folder."""
    if os.geteuid() == 0:
        owner = (path if path.exists() else path.parent).stat()
        os.chown(copy, owner.st_uid, owner.st_gid)


def _set_aside(file: SqliteFile, now: datetime) -> Path:
    """Keep the present database under another name; its log must be in it by then.

    A log that stayed would be replayed into whatever takes the database's place.
    """
    if not log_is_foreign(file.path, at_rest=True):
        # Of a damaged database the log is kept, too, away from the new one.
        with suppress(sqlite3.Error), closing(sqlite3.connect(file.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = file.path.with_name(f"{file.path.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    os.link(file.path, kept)  # so that the rename that follows replaces it in one step
    for suffix in _BESIDE:
        log = file.path.with_name(file.path.name + suffix)
        if log.exists():
            log.rename(kept.with_name(kept.name + suffix))
    return kept


def _put(complete: Path, target: Path) -> None:
    """Sync a complete file and give it its name."""
    _sync(complete)
    complete.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

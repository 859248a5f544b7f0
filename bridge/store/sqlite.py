"""SQLite: its file, its lock, its free space, and the settings that make a commit durable."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, select, text

from bridge.errors import StoreFull, StoreUnavailable, StoreUnusable
from bridge.store.access_tables import metadata
from bridge.store.driver import DriverCursor
from bridge.store.wal import log_is_foreign
from bridge.store.witness import Witness

WRITES: Final = "smsbridge_writes"  # the execution option that asks for BEGIN IMMEDIATE
SYNCED: Final = "smsbridge_synced"  # False: the next commit's sync will do for this one, too
_MAGIC: Final = b"SQLite format 3\0"
_PRIVATE: Final = 0o600  # the texts are private; -wal and -shm take the file's mode
_ANY_WRITE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_FULL_CHECK: Final = 256 * 1024**2  # quick_check reads the whole file: about a second for this
_LOG_SECONDS: Final = 30.0  # until readers have left the log
_SPACE_SECONDS: Final = 1.0  # how long an answer of statvfs is good for


class SqliteFile:
    """The database's file: it is looked after here, so that no write goes where nobody looks."""

    def __init__(self, url: URL, clock: Callable[[], float] = time.monotonic) -> None:
        path = url.database or ""
        if path in {"", ":memory:"} or path.startswith("file:") or url.query:
            raise StoreUnusable("[store] url must name a file, as in sqlite:////var/lib/bridge.db")
        # Resolved: the lock lies beside the file itself, whatever link leads to it.
        self.path = Path(path).resolve()
        self.name = f"the database {self.path}"
        self._clock = clock
        self._identity: tuple[int, int] | None = None
        self._space: tuple[float, int] | None = None
        self._lock: int | None = None
        self.witness = Witness(self.path)

    def prepare(self, *, create: bool) -> None:
        """See that there is a file that we can use, or make an empty, private one.

        Raises StoreUnusable with a sentence that says what stands in the way.
        """
        folder = self.path.parent
        try:
            self._require_folder(folder)
            if not self.path.exists():
                self._create(folder, create=create)
            self._look_at_file(folder)
        except OSError as error:
            raise StoreUnusable(f"{self.name}: {error.strerror}") from None

    def check(self) -> None:
        """Raise StoreUnusable where `prepare` would, but make nothing."""
        folder = self.path.parent
        try:
            self._require_folder(folder)
            if self.path.exists():
                self._look_at_file(folder)
            elif not os.access(folder, os.W_OK | os.X_OK):
                raise self._unwritable(folder)
        except OSError as error:
            raise StoreUnusable(f"{self.name}: {error.strerror}") from None

    @property
    def readable_by_everybody(self) -> bool:
        """Whether other users may read the file; -wal and -shm have its mode."""
        try:
            return bool(self.path.stat().st_mode & stat.S_IROTH)
        except OSError:
            return False

    def _require_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            raise StoreUnusable(f"{self.name}: the folder {folder} does not exist; make it")

    def _unwritable(self, folder: Path) -> StoreUnusable:
        return StoreUnusable(
            f"{self.name}: no file can be made in {folder}; make the folder writable"
        )

    def _create(self, folder: Path, *, create: bool) -> None:
        if not create:
            raise StoreUnusable(f"{self.name} does not exist yet; `smsbridge run` makes it")
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)
        except PermissionError:
            raise self._unwritable(folder) from None
        os.close(descriptor)
        # Without this the file's name itself could be gone after a power cut.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _look_at_file(self, folder: Path) -> None:
        found = self.path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise StoreUnusable(f"{self.name} is no regular file")
        if not os.access(self.path, os.R_OK | os.W_OK) or not found.st_mode & _ANY_WRITE:
            raise StoreUnusable(f"{self.name} cannot be read and written; look at its permissions")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StoreUnusable(
                f"{self.name}: the folder {folder} is not writable; SQLite keeps its log there"
            )
        with self.path.open("rb") as file:
            start = file.read(len(_MAGIC))
        if start and start != _MAGIC:
            raise StoreUnusable(f"{self.name} is no SQLite database; name another file")
        self._identity = (found.st_dev, found.st_ino)

    def check_log(self, *, at_rest: bool) -> None:
        """Refuse a write-ahead log of another file; `at_rest`: nobody has the database open.

        Before SQLite opens the file, since it would replay the log.
        """
        try:
            foreign = log_is_foreign(self.path, at_rest=at_rest)
        except OSError as error:
            raise StoreUnusable(f"{self.name}: {error.strerror}") from None
        if foreign:
            raise StoreUnusable(
                f"{self.name} is another file than the one whose log is beside it "
                f"({self.path.name}-wal), which would overwrite it: put a backup in place with "
                "`smsbridge restore`, or move the log away"
            )

    def check_in_place(self) -> None:
        """Refuse to write unless the file is still where it was, and meant to be written.

        An open descriptor goes on working after the file was deleted, replaced or made
        read-only: what is committed then is lost with it, or against the operator's will.
        """
        try:
            found = self.path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StoreUnavailable(
                f"{self.name} was moved, deleted or replaced while in use; put it back or restart"
            )
        if not found.st_mode & _ANY_WRITE:
            raise StoreUnavailable(f"{self.name} was made read-only; make it writable again")

    def free_bytes(self) -> int:
        """Return the free space on the file's disk, at most a second old."""
        now = self._clock()
        if self._space is None or now - self._space[0] >= _SPACE_SECONDS:
            try:
                disk = os.statvfs(self.path.parent)
            except OSError as error:
                raise StoreUnavailable(f"{self.name}: {error.strerror}") from None
            self._space = (now, disk.f_bavail * disk.f_frsize)
        return self._space[1]

    def require_space(self, least: int) -> None:
        """Raise StoreFull under the low-water mark.

        On a full disk SQLite cannot even delete, so we stop while it still can.
        """
        free = self.free_bytes()
        if free < least:
            raise StoreFull(
                f"{self.name}: only {free // 1024**2} MiB are free, and {least // 1024**2} MiB are "
                "needed ([store] min_free); free space on the disk"
            )

    def lock(self) -> None:
        """Make us the only daemon on this file until `unlock`, or until the process ends."""
        beside = self.path.with_name(self.path.name + ".lock")
        try:
            descriptor = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            raise StoreUnusable(f"{beside}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StoreUnusable(
                f"{self.name}: another smsbridge runs on it (pid {owner or 'unknown'}); stop it "
                "first, or use PostgreSQL for several bridges"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        """Let another daemon in. The lock's file stays, since deleting it would race."""
        self.witness.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _DriverConnection(Protocol):
    """What is used of the driver's connection before SQLAlchemy has it."""

    isolation_level: str | None

    def execute(self, sql: str, /) -> sqlite3.Cursor: ...


def engine(file: SqliteFile, busy_timeout: float) -> Engine:
    """Make the engine: WAL, synced at every commit, and transactions begun by us alone."""
    made = create_engine(
        URL.create("sqlite", database=str(file.path)),
        connect_args={"timeout": busy_timeout},
        hide_parameters=True,
        pool_size=4,
    )

    @event.listens_for(made, "connect")
    def _connect(connection: _DriverConnection, _record: object) -> None:
        # The driver would begin transactions by itself, and late: a read first and a write then
        # is refused as busy without waiting.
        connection.isolation_level = None
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreUnusable(
                f"{file.name}: its file system cannot do write-ahead logging; use a local disk"
            )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_size_limit=67108864")

    @event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        with DriverCursor(connection) as cursor:
            if not options.get(WRITES):
                cursor.execute("BEGIN")
                return
            # NORMAL lost 5 % of what was acknowledged over power cuts, FULL nothing. Said anew each
            # time, so that no connection can be left at less.
            level = "FULL" if options.get(SYNCED, True) else "NORMAL"
            cursor.execute(f"PRAGMA synchronous={level}")
            cursor.execute("BEGIN IMMEDIATE")

    return made


def check_damage(connection: Connection, file: SqliteFile, *, current: bool) -> None:
    """Raise StoreUnusable if the file is damaged.

    Small files are read as a whole; of a large one with our current tables, the last rows.
    """
    if file.path.stat().st_size <= _FULL_CHECK:
        if connection.execute(text("PRAGMA quick_check(1)")).scalar_one() != "ok":
            raise StoreUnusable(
                f"{file.name} is damaged; move it away and restore a backup, or rescue it with "
                "sqlite3's .recover"
            )
    elif current:
        for table in metadata.sorted_tables:
            last = [column.desc() for column in table.primary_key]
            connection.execute(select(table).order_by(*last).limit(1)).all()


def rewrite(file: SqliteFile, busy_timeout: float) -> None:
    """Rewrite the file and empty its log, so that no byte of what was removed is left in either.

    Pages keep what was deleted from them until they are used again, and so does the log. Nobody
    else can write meanwhile. Raises StoreFull without room for a copy, StoreUnavailable if somebody
    keeps the file or its log in use.
    """
    size = file.path.stat().st_size
    if file.free_bytes() < 2 * size:
        raise StoreFull(
            f"{file.name}: rewriting it needs {2 * size // 1024**2} MiB of free disk space; "
            "free some and do it again"
        )
    connection = sqlite3.connect(file.path, timeout=busy_timeout, isolation_level=None)
    with closing(connection):
        connection.execute("VACUUM")
        end = time.monotonic() + _LOG_SECONDS
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > end:
                raise StoreUnavailable(
                    f"{file.name}: another process keeps its log in use, which still has what was "
                    "removed; do it again when no backup and no long command runs"
                )

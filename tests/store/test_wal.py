"""A log that belongs to another file is noticed, and one that a crash left is not."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.errors import StoreUnusable
from bridge.store import Database
from bridge.store.backup import backup
from bridge.store.wal import log_is_foreign
from tests.store.making import Clock, many, opened, sqlite_settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


async def write(path: Path, first: int) -> None:
    async with opened(sqlite_settings(path)) as store:
        for item in many(3, "crm", first=first):
            await store.ingest(item)


async def crash(path: Path, first: int, *, checkpoint: bool = False) -> None:
    """Leave a database as a killed daemon does: with its log."""
    saved = path.with_name("saved"), path.with_name("saved-wal")
    with closing(sqlite3.connect(path)) as kept_open:
        kept_open.execute("SELECT 1 FROM messages").fetchone()
        await write(path, first)
        if checkpoint:  # as SQLite does by itself at 1,000 pages
            kept_open.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        for place, copy in zip((path, path.with_name("bridge.db-wal")), saved, strict=True):
            shutil.copy2(place, copy)
    path.with_name("bridge.db-wal").unlink(missing_ok=True)
    path.with_name("bridge.db-shm").unlink(missing_ok=True)
    saved[0].replace(path)
    saved[1].replace(path.with_name("bridge.db-wal"))


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM messages").fetchone()[0])


@pytest.fixture(params=["smsbridge backup", ".backup"])
def backed_up(request: pytest.FixtureRequest) -> Iterator[object]:
    """Make a backup with either tool."""

    def make(path: Path, target: Path) -> None:
        if request.param == ".backup":
            with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(target)) as new:
                old.backup(new)
        else:
            backup(sqlite_settings(path), target, Clock(), lambda _done, _total: None)

    return make


@pytest.mark.parametrize("checkpoint", [False, True])
async def test_a_log_that_a_crash_left_is_the_files_own(path: Path, checkpoint: bool) -> None:
    """Before a checkpoint and after one; what is in it is there when the database is opened."""
    await write(path, 0)
    await crash(path, 3, checkpoint=checkpoint)
    if checkpoint:
        os.utime(path)  # later than the log
    assert not log_is_foreign(path, at_rest=True)
    Database.open(sqlite_settings(path), lock=True).close()
    assert count(path) == 6


async def test_a_backup_that_was_copied_over_the_database_is_noticed(
    path: Path, backed_up: object
) -> None:
    """The daemon does not start on it: it would replay the log that was left."""
    assert callable(backed_up)
    await write(path, 0)
    target = path.with_name("backup.db")
    backed_up(path, target)
    await crash(path, 3)
    shutil.copyfile(target, path)
    log = path.with_name("bridge.db-wal")
    os.utime(path, ns=(log.stat().st_mtime_ns + 1,) * 2)
    with pytest.raises(StoreUnusable, match="smsbridge restore"):
        Database.open(sqlite_settings(path), lock=True)
    log.unlink()
    Database.open(sqlite_settings(path), lock=True).close()
    assert count(path) == 3


async def test_a_command_notices_our_own_backup_as_well(path: Path) -> None:
    """Also with its time preserved: it is not in WAL mode, which its header says."""
    await write(path, 0)
    target = path.with_name("backup.db")
    backup(sqlite_settings(path), target, Clock(), lambda _done, _total: None)
    await crash(path, 3)
    shutil.copy2(target, path)
    with pytest.raises(StoreUnusable, match="put a backup in place"):
        Database.open(sqlite_settings(path))


async def test_a_log_without_transactions_is_no_reason(path: Path) -> None:
    """Empty, torn in its header, or no log at all."""
    await write(path, 0)
    log = path.with_name("bridge.db-wal")
    for content in (b"", b"\x37\x7f\x06\x82", b"no log" * 100):
        log.write_bytes(content)
        os.utime(log, (0, 0))
        assert not log_is_foreign(path, at_rest=True)
    log.unlink()
    assert not log_is_foreign(path, at_rest=True)

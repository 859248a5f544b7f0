"""The probe notices a full disk, whatever `min_free` is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from bridge.errors import StoreFull
from bridge.store import Database, Store, sqlite
from bridge.store.sqlite import SqliteFile
from tests.store.making import Clock, sqlite_settings


class _FullDisk(SqliteFile):
    """A file on a disk with a few bytes left."""

    def free_bytes(self) -> int:
        return 4096


async def test_a_full_disk_is_unhealthy_with_min_free_0(tmp_path: Path) -> None:
    """A row of a few bytes may still fit where no mail does."""
    settings = sqlite_settings(tmp_path / "bridge.db")
    Database.open(settings, migrate=True).close()
    file = _FullDisk(make_url(settings.url))
    file.prepare(create=False)
    database = Database(sqlite.engine(file, 1.0), file.name, file, settings)
    store = Store(database, owner="us", lease_seconds=1.0, clock=Clock())
    try:
        with pytest.raises(StoreFull, match="free space on the disk"):
            await store.probe()
    finally:
        await store.close()

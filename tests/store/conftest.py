"""The databases that the store's tests run on: a file of SQLite and a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.settings import StoreSettings
from tests.servers.postgres import postgres as postgres
from tests.store.making import Clock, sqlite_settings


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.processes)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    """Name an empty database, of either kind."""
    if request.param == "sqlite":
        return sqlite_settings(tmp_path / "bridge.db")
    return StoreSettings(url=request.getfixturevalue("postgres").create_database())


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still until it is told to move on."""
    return Clock()

"""A store that a benchmark has filled is one that the line could have written."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from bridge.config.settings import StoreSettings
from bridge.store import Database, failing_endpoints
from tests.store.making import audited, sqlite_settings


def test_a_filled_store_passes_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While all of it waits, and when all of it is delivered."""
    filling, settings = _filled(tmp_path, monkeypatch, 30)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["deliveries.pending"] == 30
    filling.deliver(settings)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["deliveries.delivered"] == 30


def test_a_store_after_an_outage_passes_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its endpoint is failing, and each message was tried and waits."""
    filling, settings = _filled(tmp_path, monkeypatch, 30)
    filling.age(settings, 86_400)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["deliveries.pending"] == 30
    assert report.totals["attempts"] > 30
    database = Database.open(settings)
    with database.read() as connection:
        assert failing_endpoints(connection) == {"crm"}
    database.close()


def _filled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> tuple[ModuleType, StoreSettings]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    filling = import_module("filling")
    settings: StoreSettings = sqlite_settings(folder / "bridge.db")
    filling.fill(settings, count)
    return filling, settings

"""A store that a benchmark has filled is one that the line could have written."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from bridge.config.settings import StoreSettings
from tests.store.making import audited, sqlite_settings


def test_a_filled_store_passes_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While all of it waits, and when all of it is delivered."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    filling = import_module("filling")
    settings: StoreSettings = sqlite_settings(tmp_path / "bridge.db")
    filling.fill(settings, 30)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["deliveries.pending"] == 30
    filling.deliver(settings)
    report = audited(settings)
    assert report.ok, report
    assert report.totals["deliveries.delivered"] == 30
